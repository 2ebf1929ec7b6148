//! The KL of a gate against its definition, by quadrature, and against the theory of rank survival.

use bayeslora::low_level::train::kl::{KlMultiplicity, KlPrior, soft_effective_rank};
use std::f64::consts::{LN_2, PI};

const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
const PRIORS: [KlPrior; 4] = [
    KlPrior::Molchanov,
    KlPrior::EmpiricalBayes,
    KlPrior::Gaussian { variance: 1.0 },
    KlPrior::Gaussian { variance: 0.3 },
];

/// Composite Simpson; `steps` is even.
fn simpson(from: f64, to: f64, steps: usize, f: impl Fn(f64) -> f64) -> f64 {
    let h = (to - from) / steps as f64;
    let inner: f64 = (1..steps)
        .map(|i| f(from + i as f64 * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    (f(from) + inner + f(to)) * h / 3.0
}

fn normal_density(x: f64, mean: f64, variance: f64) -> f64 {
    (-(x - mean).powi(2) / (2.0 * variance)).exp() / (2.0 * PI * variance).sqrt()
}

/// KL to the log-uniform prior from its definition,
/// `E log|z| - 1/2 log alpha - (its limit at alpha = inf)` = `E log|e + m| - E log|e|`, `m = e^{-t/2}`,
/// `e ~ N(0,1)`. The substitution `y = w^3` removes the logarithm's singularity at `y = 0`.
fn log_uniform_by_definition(t: f64) -> f64 {
    let m = (-t / 2.0).exp();
    let integrand = |w: f64| {
        if w == 0.0 {
            return 0.0;
        }
        3.0 * w * w * (3.0 * w.abs().ln()) * normal_density(w.powi(3), m, 1.0)
    };
    let (from, to) = ((m - 10.0).cbrt(), (m + 10.0).cbrt());
    let expected = if from < 0.0 {
        simpson(from, 0.0, 20_000, integrand) + simpson(0.0, to, 20_000, integrand)
    } else {
        simpson(from, to, 20_000, integrand)
    };
    expected + (EULER_GAMMA + LN_2) / 2.0
}

/// The same by the series `1/2 sum_j Pois(j; 1/(2 alpha)) psi(1/2 + j) + log 2 + gamma/2`.
fn log_uniform_by_series(t: f64) -> f64 {
    let rate = 0.5 * (-t).exp();
    let mut poisson = (-rate).exp();
    let mut digamma = -EULER_GAMMA - 2.0 * LN_2;
    let mut sum = 0.0;
    for j in 0..2_000 {
        sum += poisson * digamma;
        digamma += 1.0 / (0.5 + j as f64);
        poisson *= rate / (j as f64 + 1.0);
    }
    0.5 * sum + LN_2 + EULER_GAMMA / 2.0
}

/// Its exact slope `-x D(x)`, `x = 1/sqrt(2 alpha)`, with `D(x) = int_0^x e^{u^2 - x^2} du`.
fn log_uniform_slope(t: f64) -> f64 {
    let x = (0.5 * (-t).exp()).sqrt();
    -x * simpson(0.0, x, 4_000, |u| (u * u - x * x).exp())
}

fn grid(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..=((to - from) / step).round() as usize).map(move |i| from + i as f64 * step)
}

#[test]
fn the_exact_log_uniform_kl_has_three_agreeing_forms() {
    for t in grid(-5.0, 8.0, 0.5) {
        let (definition, series) = (log_uniform_by_definition(t), log_uniform_by_series(t));
        assert!(
            (definition - series).abs() < 1e-7,
            "t = {t}: {definition} against {series}"
        );
        let h = 1e-4;
        let slope = (log_uniform_by_series(t + h) - log_uniform_by_series(t - h)) / (2.0 * h);
        assert!((slope - log_uniform_slope(t)).abs() < 1e-7, "slope at {t}");
    }
}

#[test]
fn molchanovs_fit_is_as_close_to_the_exact_kl_as_stated() {
    let mut value_error = (0.0, 0.0);
    let mut slope_error: f64 = 0.0;
    for t in grid(-6.0, 8.0, 0.05) {
        let error = (KlPrior::Molchanov.kl(t) - log_uniform_by_series(t)).abs();
        if error > value_error.0 {
            value_error = (error, t);
        }
        slope_error =
            slope_error.max((KlPrior::Molchanov.gradient(t) - log_uniform_slope(t)).abs());
    }
    assert!(
        (0.0090..=0.0094).contains(&value_error.0),
        "{value_error:?}"
    );
    assert!((value_error.1 + 3.5).abs() < 0.2, "{value_error:?}");
    assert!((0.0130..=0.0137).contains(&slope_error), "{slope_error}");
}

/// `KL(N(1, alpha) || N(mean, variance))` by quadrature of its definition.
fn gaussian_by_definition(t: f64, mean: f64, variance: f64) -> f64 {
    let alpha = t.exp();
    let reach = 12.0 * alpha.sqrt();
    simpson(1.0 - reach, 1.0 + reach, 4_000, |z| {
        let log_ratio = 0.5 * (variance / alpha).ln() - (z - 1.0).powi(2) / (2.0 * alpha)
            + (z - mean).powi(2) / (2.0 * variance);
        normal_density(z, 1.0, alpha) * log_ratio
    })
}

#[test]
fn gaussian_priors_match_their_definition() {
    for t in grid(-10.0, 4.0, 0.7) {
        for variance in [1.0, 0.3, 4.0] {
            let want = gaussian_by_definition(t, 1.0, variance);
            let got = KlPrior::Gaussian { variance }.kl(t);
            assert!(
                (got - want).abs() < 1e-9 * (1.0 + want),
                "t = {t}: {got} {want}"
            );
        }
        let best = 1.0 + t.exp();
        let want = gaussian_by_definition(t, 0.0, best);
        let got = KlPrior::EmpiricalBayes.kl(t);
        assert!((got - want).abs() < 1e-9, "eb at {t}: {got} {want}");
        for other in [0.9 * best, 1.1 * best] {
            assert!(
                gaussian_by_definition(t, 0.0, other) > got,
                "s^2 = 1 + alpha is the optimum"
            );
        }
    }
}

#[test]
fn gradients_are_central_differences() {
    let h = 1e-5;
    for prior in PRIORS {
        for t in grid(-10.0, 8.0, 0.37) {
            let want = (prior.kl(t + h) - prior.kl(t - h)) / (2.0 * h);
            let got = prior.gradient(t);
            assert!(
                (got - want).abs() < 1e-7 * (1.0 + want.abs()),
                "{prior} at {t}: {got} against {want}"
            );
        }
    }
}

#[test]
fn limits_at_the_ends_of_the_projected_range() {
    // What is left over is 1/2 e^-10 = 2.3e-5 of the softplus and k1 sig(k2 - 10 k3) = 1.4e-6.
    let molchanov = KlPrior::Molchanov.kl(-10.0);
    assert!((molchanov - (5.0 + 0.63576)).abs() < 3e-5, "{molchanov}");
    let eb = KlPrior::EmpiricalBayes.kl(-10.0);
    assert!((eb - 5.0 - 0.5 * (-10f64).exp()).abs() < 1e-9, "{eb}");
    for prior in [KlPrior::Molchanov, KlPrior::EmpiricalBayes] {
        // Both ARD tails are 1/2 e^-t to leading order, which is what decides rho <= 1. Molchanov's
        // logistic term is still k1 k3 e^{-k2 - 8 k3} = 1e-6 here, .6 % of it.
        let tail = 0.5 * (-8f64).exp();
        assert!((prior.kl(8.0) / tail - 1.0).abs() < 7e-3, "{prior}");
        assert!((prior.gradient(8.0) / -tail - 1.0).abs() < 7e-3, "{prior}");
        assert!((prior.gradient(-10.0) + 0.5).abs() < 3e-5, "{prior}");
    }
    let gaussian = KlPrior::Gaussian { variance: 1.0 };
    assert!((gaussian.kl(-10.0) - 0.5 * ((-10f64).exp() + 9.0)).abs() < 1e-12);
    assert!((gaussian.kl(8.0) - 0.5 * (8f64.exp() - 9.0)).abs() < 1e-9);
    assert_eq!(gaussian.kl(0.0), 0.0);
    assert_eq!(gaussian.gradient(0.0), 0.0);
}

#[test]
fn nothing_overflows_or_goes_negative_far_outside_the_range() {
    for prior in PRIORS {
        for t in [-700.0, -100.0, 100.0, 700.0] {
            let (kl, gradient) = (prior.kl(t), prior.gradient(t));
            assert!(
                kl.is_finite() && kl >= 0.0 && gradient.is_finite(),
                "{prior} at {t}: {kl}, {gradient}"
            );
        }
    }
    for prior in [KlPrior::Molchanov, KlPrior::EmpiricalBayes] {
        assert!((prior.kl(-100.0) - 50.0).abs() < 0.64);
        // Softplus keeps the tail that log(1 + 1/alpha) would round to zero.
        assert!((prior.kl(100.0) / (0.5 * (-100f64).exp()) - 1.0).abs() < 1e-9);
    }
}

/// Where `rho/2 * alpha/(1+alpha) + KL` is smallest, or None if it falls up to `t = 12`. (Further
/// out, its slope at `rho = 1`, `-1/2 e^{-2t}`, drowns in rounding.)
fn best_log_alpha(prior: KlPrior, rho: f64) -> Option<f64> {
    let slope = |t: f64| {
        let keep = 1.0 / (1.0 + t.exp());
        0.5 * rho * keep * (1.0 - keep) + prior.gradient(t)
    };
    let value = |t: f64| 0.5 * rho / (1.0 + (-t).exp()) + prior.kl(t);
    let start = grid(-20.0, 12.0, 0.01).min_by(|&a, &b| value(a).total_cmp(&value(b)))?;
    if start > 11.9 {
        return None;
    }
    let (mut low, mut high) = (start - 0.02, start + 0.02);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if slope(middle) > 0.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(0.5 * (low + high))
}

#[test]
fn empirical_bayes_keeps_a_rank_exactly_when_it_gains_more_than_it_costs() {
    for rho in [1.05, 1.5, 2.0, 5.0, 40.0, 1e4] {
        let t = best_log_alpha(KlPrior::EmpiricalBayes, rho).expect("a surviving rank");
        let want = 1.0 / (rho - 1.0);
        assert!(
            (t.exp() / want - 1.0).abs() < 1e-6,
            "rho = {rho}: {} against {want}",
            t.exp()
        );
    }
    for rho in [0.0, 0.3, 0.9, 1.0] {
        assert_eq!(
            best_log_alpha(KlPrior::EmpiricalBayes, rho),
            None,
            "rho = {rho}"
        );
    }
}

#[test]
fn the_other_priors_keep_what_the_theory_says() {
    for rho in [0.0, 0.5, 1.0] {
        assert_eq!(best_log_alpha(KlPrior::Molchanov, rho), None, "rho = {rho}");
    }
    for rho in [1.5, 2.0, 40.0] {
        assert!(
            best_log_alpha(KlPrior::Molchanov, rho).is_some(),
            "rho = {rho}"
        );
    }
    // Strong ranks: alpha -> 1/rho whatever the ARD prior.
    let strong = best_log_alpha(KlPrior::Molchanov, 1e5).unwrap().exp() * 1e5;
    assert!((strong - 1.0).abs() < 1e-2, "{strong}");
    // A fixed Gaussian stops at alpha = s^2 even when a rank is worth nothing.
    let idle = best_log_alpha(KlPrior::Gaussian { variance: 0.3 }, 0.0).unwrap();
    assert!((idle.exp() - 0.3).abs() < 1e-9);
}

#[test]
fn multiplicities() {
    assert_eq!(KlMultiplicity::Unit.kappa(30), 1.0);
    assert_eq!(KlMultiplicity::Params.kappa(30), 30.0);
    assert_eq!(KlMultiplicity::Value(0.5).kappa(30), 15.0);
}

#[test]
fn soft_rank_counts_keep_probabilities() {
    assert_eq!(soft_effective_rank(&[]), 0.0);
    let got = soft_effective_rank(&[0.0, 3f64.ln(), -100.0, 100.0, f64::INFINITY]);
    assert!((got - 1.75).abs() < 1e-12, "{got}");
}

#[test]
fn text_forms_round_trip_on_the_command_line_and_in_files() {
    for (text, prior) in [
        ("molchanov", KlPrior::Molchanov),
        ("eb", KlPrior::EmpiricalBayes),
        ("gaussian", KlPrior::Gaussian { variance: 1.0 }),
        ("gaussian:0.3", KlPrior::Gaussian { variance: 0.3 }),
    ] {
        assert_eq!(text.parse(), Ok(prior));
        assert_eq!(prior.to_string(), text);
        let json = serde_json::to_string(&prior).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<KlPrior>(&json).unwrap(), prior);
    }
    for (text, json, multiplicity) in [
        ("unit", "\"unit\"", KlMultiplicity::Unit),
        ("params", "\"params\"", KlMultiplicity::Params),
        ("0.005", "0.005", KlMultiplicity::Value(0.005)),
    ] {
        assert_eq!(text.parse(), Ok(multiplicity));
        assert_eq!(multiplicity.to_string(), text);
        assert_eq!(serde_json::to_string(&multiplicity).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<KlMultiplicity>(json).unwrap(),
            multiplicity
        );
    }
    for bad in [
        "",
        "Molchanov",
        "gaussian:",
        "gaussian:0",
        "gaussian:-1",
        "gaussian:nan",
        "gaussian:inf",
    ] {
        assert!(bad.parse::<KlPrior>().is_err(), "{bad}");
        assert!(serde_json::from_str::<KlPrior>(&format!("\"{bad}\"")).is_err());
    }
    for bad in ["", "Unit", "-1", "nan", "inf"] {
        assert!(bad.parse::<KlMultiplicity>().is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<KlMultiplicity>("-2.0").is_err());
    let message = "two".parse::<KlMultiplicity>().unwrap_err().to_string();
    assert!(
        message.contains("`two`") && message.contains("params"),
        "{message}"
    );
}
