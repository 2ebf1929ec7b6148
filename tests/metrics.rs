//! Metrics, npy files and `score` against values computed by hand.

use assert_cmd::Command;
use bayeslora::low_level::formats::npy::{read_labels, read_probabilities, write_npy};
use bayeslora::low_level::metrics::*;
use proptest::prelude::*;
use rand::RngExt;
use rand_pcg::Pcg64;

/// Most hand values are decimals that f32 rounds.
#[track_caller]
fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 2e-7,
        "found {found}, expected {expected}"
    );
}

/// Two examples, three classes: one right at .7, one wrong at .6.
const PROBS: [f32; 6] = [0.7, 0.2, 0.1, 0.1, 0.6, 0.3];
const LABELS: [u32; 2] = [0, 2];

#[test]
fn evaluation_by_hand() {
    let predictions = Predictions::new(&PROBS, &LABELS, 3).unwrap();
    let scores = evaluate(&predictions, Some(&[0.1, 0.3]));
    assert_eq!(scores.n, 2);
    close(scores.accuracy, 0.5);
    // Class 0 has one of one, class 2 none of one, class 1 no example.
    close(scores.balanced_accuracy, 0.5);
    close(scores.nll, -(0.7_f64.ln() + 0.3_f64.ln()) / 2.0);
    close(
        scores.brier,
        (0.09 + 0.04 + 0.01 + 0.01 + 0.36 + 0.49) / 2.0,
    );
    close(scores.ece, (0.3 + 0.6) / 2.0);
    close(scores.adaptive_ece, (0.3 + 0.6) / 2.0);
    // Class 0: .7 true, .1 false. Class 1: .2 and .6 false. Class 2: .1 false, .3 true.
    close(
        scores.classwise_ece,
        ((0.3 + 0.1) + (0.2 + 0.6) + (0.1 + 0.7)) / 2.0 / 3.0,
    );
    close(scores.signed_gap, 0.65 - 0.5);
    close(scores.aurc, (0.0 + 0.5) / 2.0);
    let entropy = |p: &[f64]| -> f64 { p.iter().map(|p| -p * p.ln()).sum() };
    close(
        scores.mean_entropy,
        (entropy(&[0.7, 0.2, 0.1]) + entropy(&[0.1, 0.6, 0.3])) / 2.0,
    );
    close(scores.mean_mutual_information, 0.2);
    assert_eq!(evaluate(&predictions, None).mean_mutual_information, 0.0);
}

#[test]
fn classes_count_alike_in_balanced_accuracy() {
    // Three of four images of class 0 are right, none of the one of class 1, and class 2 has none.
    let answers = [0, 0, 0, 2, 0];
    let probs: Vec<f32> = answers
        .iter()
        .flat_map(|answer| (0..3).map(move |class| if class == *answer { 0.8 } else { 0.1 }))
        .collect();
    let predictions = Predictions::new(&probs, &[0, 0, 0, 0, 1], 3).unwrap();
    let scores = evaluate(&predictions, None);
    close(scores.accuracy, 0.6);
    close(scores.balanced_accuracy, (0.75 + 0.0) / 2.0);
}

#[test]
fn evaluation_json_has_the_agreed_names_in_order() {
    let predictions = Predictions::new(&PROBS, &LABELS, 3).unwrap();
    let scores = evaluate(&predictions, None);
    let json = serde_json::to_string(&scores).unwrap();
    let names: Vec<&str> = json.split('"').skip(1).step_by(2).collect();
    assert_eq!(
        names.join(" "),
        "n accuracy balanced_accuracy nll brier ece adaptive_ece classwise_ece signed_gap aurc mean_entropy \
         mean_mutual_information"
    );
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), scores);
}

#[test]
fn all_right_and_all_wrong() {
    let certain = [1.0, 0.0, 0.0, 1.0];
    let right = evaluate(&Predictions::new(&certain, &[0, 1], 2).unwrap(), None);
    assert_eq!(
        (right.accuracy, right.brier, right.ece, right.aurc),
        (1.0, 0.0, 0.0, 0.0)
    );
    assert!(
        right.nll == 0.0 && right.nll.is_sign_positive(),
        "0, not -0"
    );
    assert!(right.mean_entropy == 0.0 && right.mean_entropy.is_sign_positive());

    let wrong = evaluate(&Predictions::new(&certain, &[1, 0], 2).unwrap(), None);
    assert_eq!(
        (wrong.accuracy, wrong.brier, wrong.ece, wrong.aurc),
        (0.0, 2.0, 1.0, 1.0)
    );
    assert_eq!(
        (wrong.adaptive_ece, wrong.classwise_ece, wrong.signed_gap),
        (1.0, 1.0, 1.0)
    );
    close(wrong.nll, -f64::from(f32::MIN_POSITIVE).ln());
}

#[test]
fn a_single_example() {
    let scores = evaluate(&Predictions::new(&[0.25, 0.75], &[1], 2).unwrap(), None);
    assert_eq!(
        (scores.ece, scores.adaptive_ece, scores.classwise_ece),
        (0.25, 0.25, 0.25)
    );
    assert_eq!((scores.signed_gap, scores.aurc), (-0.25, 0.0));
    assert_eq!(
        risk_at_coverage(&[0.75], &[false], 0.0),
        1.0,
        "at least one is answered"
    );
}

#[test]
fn the_first_class_wins_a_tie() {
    let predictions = Predictions::new(&[0.5, 0.5], &[0], 2).unwrap();
    assert_eq!(predictions.correct(), [true]);
}

#[test]
fn bins_are_open_below_and_closed_above() {
    let bin_of = |confidence: f32| {
        let bins = reliability_bins(&[confidence], &[true], 15);
        bins.iter().position(|bin| bin.count == 1).unwrap()
    };
    assert_eq!(bin_of(0.0), 0);
    for edge in 1..=15 {
        let on_edge = (f64::from(edge) / 15.0) as f32;
        assert_eq!(bin_of(on_edge), edge as usize - 1, "{edge}/15");
        assert_eq!(
            bin_of(on_edge.next_up()),
            (edge as usize).min(14),
            "above {edge}/15"
        );
    }
}

#[test]
fn expected_calibration_error_by_hand() {
    let (confidence, correct) = ([0.9, 0.3, 0.7, 0.9], [true, false, true, false]);
    let bins = reliability_bins(&confidence, &correct, 5);
    assert_eq!(
        bins.iter().map(|bin| bin.count).collect::<Vec<_>>(),
        [0, 1, 0, 1, 2]
    );
    assert_eq!(
        bins[2],
        ReliabilityBin::default(),
        "an empty bin is all zeros"
    );
    close(bins[4].confidence, 0.9);
    close(bins[4].accuracy, 0.5);
    close(
        expected_calibration_error(&confidence, &correct, 5),
        (2.0 * 0.4 + 0.3 + 0.3) / 4.0,
    );
    close(signed_gap(&confidence, &correct), 0.7 - 0.5);
}

#[test]
fn equal_mass_bins_share_a_tie_that_they_cut() {
    let bins = adaptive_bins(&[0.6, 0.9, 0.3, 0.6], &[true, true, false, false], 2);
    assert_eq!((bins[0].count, bins[1].count), (2, 2));
    close(bins[0].confidence, 0.75);
    close(bins[0].accuracy, (1.0 + 0.5) / 2.0);
    close(bins[1].accuracy, (0.5 + 0.0) / 2.0);
    let error = adaptive_calibration_error(&[0.6, 0.9, 0.3, 0.6], &[true, true, false, false], 2);
    close(error, (0.0 + 0.2) / 2.0);
    let sizes: Vec<usize> = adaptive_bins(&[0.5; 7], &[true; 7], 3)
        .iter()
        .map(|bin| bin.count)
        .collect();
    assert_eq!(sizes, [3, 2, 2]);
}

#[test]
fn selective_risk_by_hand() {
    let (confidence, correct) = ([0.7, 0.9, 0.6, 0.8], [true, true, true, false]);
    let risks: Vec<f64> = risk_coverage(&confidence, &correct)
        .iter()
        .map(|p| p.risk)
        .collect();
    assert_eq!(risks, [0.0, 0.5, 1.0 / 3.0, 0.25]);
    close(aurc(&confidence, &correct), (0.5 + 1.0 / 3.0 + 0.25) / 4.0);
    close(
        e_aurc(&confidence, &correct),
        (0.5 + 1.0 / 3.0 + 0.25) / 4.0 - 0.25 / 4.0,
    );
    assert_eq!(risk_at_coverage(&confidence, &correct, 0.5), 0.5);
    assert_eq!(
        risk_at_coverage(&confidence, &correct, 0.51),
        1.0 / 3.0,
        "at least the coverage"
    );

    let right_first: Vec<bool> = (0..100).map(|i| i < 7).collect();
    let falling: Vec<f32> = (0..100).map(|i| -(i as f32)).collect();
    assert_eq!(
        risk_at_coverage(&falling, &right_first, 0.07),
        0.0,
        "0.07 * 100 > 7 in f64"
    );
}

#[test]
fn tied_confidences_are_taken_in_random_order() {
    // One of two tied answers is wrong: at coverage 2/3 half an error in two answers.
    let by_hand = (0.0 + 0.25 + 1.0 / 3.0) / 3.0;
    close(aurc(&[0.9, 0.5, 0.5], &[true, true, false]), by_hand);
    close(aurc(&[0.9, 0.5, 0.5], &[true, false, true]), by_hand);
    close(aurc(&[0.5; 4], &[true, true, false, true]), 0.25);
}

#[test]
fn out_of_distribution_by_hand() {
    // 2 beats 1, ties 2, loses to 3; 4 beats all.
    close(auroc(&[3.0, 1.0, 2.0], &[4.0, 2.0]), 4.5 / 6.0);
    close(auroc(&[1.0, 1.0], &[1.0]), 0.5);
    let familiar: Vec<f64> = (1..=20).rev().map(f64::from).collect();
    close(fpr95(&familiar, &[5.0, 19.0, 19.5, 30.0]), 0.5);
    close(fpr95(&[1.0], &[0.5, 2.0, 3.0, 4.0]), 0.25);
}

/// Three samples of two examples: the samples split on the first and agree on the second.
const SAMPLED: [f32; 12] = [
    1.0, 0.0, 0.25, 0.75, //
    0.0, 1.0, 0.25, 0.75, //
    0.0, 1.0, 0.25, 0.75,
];

#[test]
fn uncertainty_by_hand() {
    let sampled = SampledProbabilities::new(&SAMPLED, 3, 2, 2).unwrap();
    let third = 1.0_f64 / 3.0;
    let total = -(third * third.ln() + 2.0 * third * (2.0 * third).ln());
    assert_eq!(
        sampled.mean(),
        [third as f32, (2.0 * third) as f32, 0.25, 0.75]
    );
    close(sampled.std()[0].into(), (2.0_f64 / 9.0).sqrt());
    assert_eq!(sampled.std()[2..], [0.0, 0.0]);
    close(sampled.predictive_entropy()[0].into(), total);
    assert_eq!(sampled.expected_entropy()[0], 0.0);
    close(sampled.mutual_information()[0].into(), total);
    assert_eq!(sampled.mutual_information()[1], 0.0);
    assert_eq!(sampled.variation_ratio(), [third as f32, 0.0]);
}

#[test]
fn averaging_in_log_space_outlives_f32() {
    let log_probs = SAMPLED.map(|p| p.ln());
    let mean = SampledProbabilities::new(&SAMPLED, 3, 2, 2).unwrap().mean();
    for (found, expected) in log_mean_exp(&log_probs, 3).iter().zip(mean) {
        close(f64::from(*found).exp(), expected.into());
    }
    assert_eq!(log_mean_exp(&[-200.0, -200.0], 2), [-200.0]);
    assert_eq!(
        log_mean_exp(&[-2000.0, f32::NEG_INFINITY], 2),
        [-2000.0 - 2.0_f32.ln()]
    );
    assert_eq!(
        log_mean_exp(&[f32::NEG_INFINITY; 2], 2),
        [f32::NEG_INFINITY]
    );

    let from_logs = Predictions::from_log_probs(&[0.0, -200.0], &[1], 2).unwrap();
    assert_eq!(nll(&from_logs), 200.0);
    assert_eq!(from_logs.probs(), [1.0, 0.0]);
    let floored = Predictions::new(&[1.0, 0.0], &[1], 2).unwrap();
    close(nll(&floored), -PROBABILITY_FLOOR.ln());
}

#[test]
fn bad_predictions_are_named() {
    let message = |probs: &[f32], labels: &[u32], classes| {
        Predictions::new(probs, labels, classes)
            .unwrap_err()
            .to_string()
    };
    let good = [0.5, 0.5];
    assert_eq!(
        message(&[], &[], 2),
        "found no examples, expected at least one"
    );
    assert_eq!(
        message(&good, &[0], 0),
        "found zero classes, expected at least one"
    );
    assert_eq!(
        message(&good, &[0, 1], 2),
        "found 2 values, expected 4 (2 labels x 2 classes)"
    );
    assert_eq!(
        message(&[0.5, 0.5, f32::NAN, 1.0], &[0, 0], 2),
        "row 1, class 0: found probability NaN, expected a number of at least 0"
    );
    assert_eq!(
        message(&[1.25, -0.25], &[0], 2),
        "row 0, class 1: found probability -0.25, expected a number of at least 0"
    );
    assert_eq!(
        message(&[0.5, 0.25], &[0], 2),
        "row 0: found probabilities that sum to 0.75, expected 1 within 0.001"
    );
    assert_eq!(
        message(&good, &[2], 2),
        "row 0: found label 2, expected less than 2, the number of classes"
    );
    assert!(
        Predictions::new(&[0.5, 0.5009], &[0], 2).is_ok(),
        "f16 rounding is no error"
    );

    let logs = |row: [f32; 2]| {
        Predictions::from_log_probs(&row, &[1], 2)
            .unwrap_err()
            .to_string()
    };
    assert!(logs([0.0, f32::NEG_INFINITY]).contains("class 1: found -inf, expected a finite"));
    assert!(logs([f32::NAN, 0.0]).contains("class 0: found NaN, expected a log-probability"));
    assert!(logs([0.0, 0.0]).contains("sum to 2"));

    let samples = |samples| SampledProbabilities::new(&good, samples, 1, 2).err();
    assert_eq!(
        samples(0),
        Some(PredictionsError::EmptyAxis { axis: "samples" })
    );
    assert!(matches!(
        samples(usize::MAX),
        Some(PredictionsError::Length { found: 2, .. })
    ));
    assert!(fit_temperature(&[1.0, f32::INFINITY], &[0], 2).is_err());
}

/// Standard normal by Box and Muller.
fn normal(rng: &mut Pcg64) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Normal logits of ten classes, `[n, 10]`, and labels drawn from softmax(logits / temperature): a
/// classifier that is calibrated exactly at that temperature.
fn simulate(n: usize, scale: f64, temperature: f64, seed: u128) -> (Vec<f32>, Vec<u32>) {
    let mut rng = Pcg64::new(seed, 1);
    let logits: Vec<f32> = (0..n * 10)
        .map(|_| (scale * normal(&mut rng)) as f32)
        .collect();
    let labels = tempered_log_probs(&logits, 10, temperature)
        .chunks_exact(10)
        .map(|row| {
            let mut left: f64 = rng.random();
            let drawn = row.iter().position(|&log_p| {
                left -= f64::from(log_p).exp();
                left < 0.0
            });
            drawn.unwrap_or(9) as u32
        })
        .collect();
    (logits, labels)
}

#[test]
fn a_calibrated_classifier_has_the_error_of_its_floor() {
    let n = 10_000;
    let errors: Vec<f64> = (0..20)
        .map(|seed| {
            let (logits, labels) = simulate(n, 16.0, 1.0, seed);
            let log_probs = tempered_log_probs(&logits, 10, 1.0);
            evaluate(
                &Predictions::from_log_probs(&log_probs, &labels, 10).unwrap(),
                None,
            )
            .ece
        })
        .collect();
    let mean = errors.iter().sum::<f64>() / 20.0;
    let sd = (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
    assert!((0.004..0.006).contains(&mean), "mean {mean}, sd {sd}");
    assert!((0.0009..0.0024).contains(&sd), "sd {sd}");
}

#[test]
fn the_temperature_is_recovered() {
    // Logits (1, 0), four of five right: sigmoid(1/T) = .8, so T = 1/ln 4.
    let logits = [1.0, 0.0].repeat(5);
    close(
        fit_temperature(&logits, &[0, 0, 0, 0, 1], 2).unwrap(),
        1.0 / 4.0_f64.ln(),
    );
    close(fit_temperature(&[2.0, 2.0], &[0], 2).unwrap(), 1.0);
    assert!(
        fit_temperature(&[3.0, 0.0], &[0], 2).unwrap() <= 0.0101,
        "always right: T -> 0"
    );

    let (logits, labels) = simulate(20_000, 4.0, 2.5, 7);
    let temperature = fit_temperature(&logits, &labels, 10).unwrap();
    assert!((temperature - 2.5).abs() < 0.05, "found {temperature}");
    let log_probs = tempered_log_probs(&logits, 10, 1.0);
    let from_log_probs = fit_temperature(&log_probs, &labels, 10).unwrap();
    assert!(
        (from_log_probs - temperature).abs() < 1e-5,
        "a constant a row changes nothing"
    );

    let nll_at = |t: f64| {
        let log_probs = tempered_log_probs(&logits, 10, t);
        nll(&Predictions::from_log_probs(&log_probs, &labels, 10).unwrap())
    };
    let least = nll_at(temperature);
    assert!(least < nll_at(temperature * 1.01) && least < nll_at(temperature / 1.01));
}

#[test]
fn the_bootstrap_covers() {
    let bootstrap = Bootstrap {
        resamples: 400,
        ..Bootstrap::default()
    };
    let covered = (0..300)
        .filter(|&seed| {
            let mut rng = Pcg64::new(seed, 2);
            let values: Vec<f64> = (0..100).map(|_| 5.0 + normal(&mut rng)).collect();
            let interval = bootstrap.mean(&values);
            (interval.low..interval.high).contains(&5.0)
        })
        .count();
    // 95 % of 300 is 285, with a standard deviation of 4; percentile intervals cover a little less.
    assert!((270..=294).contains(&covered), "covered {covered} of 300");
}

#[test]
fn the_bootstrap_is_seeded_and_pairs() {
    let mut rng = Pcg64::new(3, 3);
    let hard: Vec<f64> = (0..200).map(|_| 10.0 * normal(&mut rng)).collect();
    let easier: Vec<f64> = hard
        .iter()
        .map(|value| value - 1.0 + 0.1 * normal(&mut rng))
        .collect();
    let bootstrap = Bootstrap::default();
    let difference = bootstrap.paired_difference(&hard, &easier);
    assert!(
        difference.low > 0.95 && difference.high < 1.05,
        "{difference:?}"
    );
    assert!(difference.low < difference.estimate && difference.estimate < difference.high);
    assert_eq!(difference, bootstrap.paired_difference(&hard, &easier));
    let other = Bootstrap {
        seed: 1,
        ..bootstrap
    };
    assert_ne!(difference, other.paired_difference(&hard, &easier));

    let three = Bootstrap {
        resamples: 3,
        level: 0.5,
        seed: 0,
    }
    .interval(4, |drawn| {
        // The jackknife leaves one out.
        assert!((3..=4).contains(&drawn.len()));
        drawn.iter().sum::<usize>() as f64
    });
    assert_eq!(three.estimate, 6.0, "the examples as they are");
    let constant = bootstrap.mean(&[2.0; 5]);
    assert_eq!((constant.low, constant.high), (2.0, 2.0));
}

/// The BCa interval of a skewed sample reaches further up than down.
#[test]
fn bca_follows_the_skew() {
    let bootstrap = Bootstrap {
        resamples: 4000,
        ..Bootstrap::default()
    };
    let values: Vec<f64> = (0..50).map(|i| (f64::from(i) / 10.0).exp()).collect();
    let interval = bootstrap.mean(&values);
    let (up, down) = (
        interval.high - interval.estimate,
        interval.estimate - interval.low,
    );
    // Without acceleration it is 1.25.
    assert!((1.4..1.5).contains(&(up / down)), "{up} {down}");
    let generic = bootstrap.interval(50, |drawn| {
        drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64
    });
    // The jackknife of single examples is exact for a mean.
    assert!((generic.low - interval.low).abs() < 1e-9 * interval.low);
    assert!((generic.high - interval.high).abs() < 1e-9 * interval.high);
}

#[test]
fn p_values_agree_with_their_intervals() {
    let p = |estimate: f64, low: f64, high: f64| {
        Interval {
            estimate,
            low,
            high,
        }
        .p_value(0.95)
    };
    // Phi(-1.96) twice, Phi(-2 x 1.96) twice.
    assert!((p(1.0, 0.0, 3.0) - 0.05).abs() < 1e-9);
    assert!((p(-1.0, -2.0, 0.0) - 0.05).abs() < 1e-9);
    assert!((p(1.0, 0.5, 9.0) - 8.857e-5).abs() < 1e-8);
    assert!(p(1.0, -0.001, 9.0) > 0.05 && p(1.0, 0.001, 9.0) < 0.05);
    // An interval that leaves out its own estimate: half of its width.
    assert_eq!(p(1.0, 1.5, 2.5), p(1.0, 0.5, 1.5));
    assert_eq!(p(0.0, 0.0, 0.0), 1.0);
    assert_eq!(p(0.5, 0.5, 0.5), 0.0);
}

/// A predictor's answers at a sharpness of its own, on the same images as others'.
struct Simulated {
    labels: Vec<u32>,
    /// By predictor: probabilities of ten classes.
    probs: Vec<Vec<f32>>,
    /// What the classes' probabilities truly are.
    truth: Vec<f32>,
}

/// Three predictors that divide the logits by 1, 1.1 and 1.3, where the truth divides by `temperature`.
fn predictors(n: usize, temperature: f64, seed: u128) -> Simulated {
    let (logits, labels) = simulate(n, 3.0, temperature, seed);
    let at = |t: f64| -> Vec<f32> {
        let logs = tempered_log_probs(&logits, 10, t);
        logs.iter().map(|value| value.exp()).collect()
    };
    Simulated {
        probs: [1.0, 1.1, 1.3].map(at).to_vec(),
        truth: at(temperature),
        labels,
    }
}

/// The expected calibration error of very many images whose outcomes are not drawn but known: no noise, no bias.
fn true_ece(probs: &[f32], truth: &[f32]) -> f64 {
    let mut gaps = [0.0; 15];
    for (row, truth) in probs.chunks_exact(10).zip(truth.chunks_exact(10)) {
        let top = (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        let bin = ((f64::from(row[top]) * 15.0).ceil() as usize).clamp(1, 15) - 1;
        gaps[bin] += f64::from(row[top]) - f64::from(truth[top]);
    }
    let n = (probs.len() / 10) as f64;
    gaps.iter().map(|gap: &f64| gap.abs() / n).sum()
}

/// How often 95 % intervals from 2,000 images hold the true value. `docs/study.md` has the table that this prints.
#[test]
fn intervals_cover_what_they_aim_at() {
    const STUDIES: usize = 200;
    let bootstrap = Bootstrap {
        resamples: 300,
        ..Bootstrap::default()
    };
    println!(
        "truth divides by | true ECE | ECE, percentile | ECE | its difference | NLL | accuracy"
    );
    for temperature in [1.0, 1.05, 1.1, 1.2, 1.5] {
        let many = predictors(400_000, temperature, 1 << 40);
        let ece = many.probs.iter().map(|probs| true_ece(probs, &many.truth));
        let ece: Vec<f64> = ece.collect();
        // Of the first predictor; its difference is that from the third.
        let scored = Predictions::new(&many.probs[0], &many.labels, 10).unwrap();
        let (true_nll, true_accuracy) = (nll(&scored), accuracy(&scored));
        let mut covered = [0; 5];
        for study in 0..STUDIES {
            let few = predictors(2_000, temperature, study as u128);
            let predictions: Vec<Predictions> = few
                .probs
                .iter()
                .map(|probs| Predictions::new(probs, &few.labels, 10).unwrap())
                .collect();
            let gaps = |place: usize| {
                let predictions: &Predictions = &predictions[place];
                Gaps::expected(&predictions.confidence(), &predictions.correct(), 15)
            };
            let first = gaps(0);
            let mut percentile: Vec<f64> = (0..300)
                .map(|resample| {
                    let mut rng = Pcg64::new(resample, study as u128);
                    let drawn: Vec<usize> =
                        (0..2_000).map(|_| rng.random_range(0..2_000)).collect();
                    first.error(&first.means_of(&drawn))
                })
                .collect();
            percentile.sort_by(f64::total_cmp);
            let correct = predictions[0].correct();
            let hits: Vec<f64> = correct.iter().map(|c| f64::from(u8::from(*c))).collect();
            let found = [
                (
                    quantile(&percentile, 0.025),
                    quantile(&percentile, 0.975),
                    ece[0],
                ),
                ends(bootstrap.calibration(&first), ece[0]),
                ends(
                    bootstrap.calibration(&first.minus(gaps(2))),
                    ece[0] - ece[2],
                ),
                ends(bootstrap.mean(&nll_each(&predictions[0])), true_nll),
                ends(bootstrap.mean(&hits), true_accuracy),
            ];
            for (count, (low, high, truth)) in covered.iter_mut().zip(found) {
                // The truth of a calibrated predictor is 0 but for rounding.
                *count += usize::from(low <= truth + 1e-6 && truth <= high);
            }
        }
        let shares = covered.map(|count| 100.0 * count as f64 / STUDIES as f64);
        println!("{temperature} | {:.4} | {shares:?}", ece[0]);
        assert!(shares[1] >= 83.0, "ECE at {temperature}: {shares:?}");
        assert!(shares[2] >= 80.0, "difference at {temperature}: {shares:?}");
        assert!(
            shares[3..].iter().all(|share| *share >= 91.0),
            "means at {temperature}: {shares:?}"
        );
        if temperature <= 1.05 {
            assert!(
                shares[0] < 10.0,
                "what the percentile interval does: {shares:?}"
            );
        }
    }
}

fn ends(interval: Interval, truth: f64) -> (f64, f64, f64) {
    (interval.low, interval.high, truth)
}

#[test]
fn holm_by_hand() {
    // Holm 1979: sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone.
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        close(*found, expected);
    }
    assert_eq!(holm(&[0.5, 0.9, 0.6]), [1.0, 1.0, 1.0]);
    assert_eq!(holm(&[0.04]), [0.04]);
    assert!(holm(&[]).is_empty());
}

prop_compose! {
    /// Rows made of few small integers, so that ties of all kinds are common.
    fn tied_predictions()(classes in 2_usize..5, n in 1_usize..40)(
        weights in prop::collection::vec(1_u8..4, n * classes),
        labels in prop::collection::vec(0..classes as u32, n),
        order in Just((0..n).collect::<Vec<_>>()).prop_shuffle(),
        classes in Just(classes),
    ) -> (Vec<f32>, Vec<u32>, Vec<usize>, usize) {
        let probs = weights.chunks_exact(classes).flat_map(|row| {
            let sum: f32 = row.iter().map(|&w| f32::from(w)).sum();
            row.iter().map(move |&w| f32::from(w) / sum)
        });
        (probs.collect(), labels, order, classes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_examples_does_not_matter(
        (probs, labels, order, classes) in tied_predictions()
    ) {
        let shuffled: Vec<f32> =
            order.iter().flat_map(|&i| probs[i * classes..][..classes].to_vec()).collect();
        let shuffled_labels: Vec<u32> = order.iter().map(|&i| labels[i]).collect();
        let of = |probs: &[f32], labels: &[u32]| {
            let scores = evaluate(&Predictions::new(probs, labels, classes).unwrap(), None);
            let json = serde_json::to_value(scores).unwrap();
            json.as_object().unwrap().values().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>()
        };
        for (a, b) in of(&probs, &labels).into_iter().zip(of(&shuffled, &shuffled_labels)) {
            prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b);
        }
    }

    #[test]
    fn gaps_are_the_errors((probs, labels, order, classes) in tied_predictions(), bins in 1_usize..20) {
        let predictions = Predictions::new(&probs, &labels, classes).unwrap();
        let (confidence, correct) = (predictions.confidence(), predictions.correct());
        let all = [
            (Gaps::expected(&confidence, &correct, bins), expected_calibration_error(&confidence, &correct, bins)),
            (Gaps::adaptive(&confidence, &correct, bins), adaptive_calibration_error(&confidence, &correct, bins)),
            (Gaps::classwise(&predictions, bins), classwise_calibration_error(&predictions, bins)),
        ];
        for (gaps, error) in &all {
            prop_assert!((gaps.error(&gaps.means()) - error).abs() < 1e-12);
            prop_assert!((gaps.error(&gaps.means_of(&order)) - error).abs() < 1e-12);
        }
        let models = [all[0].0.clone(), all[1].0.clone()];
        let mean = Gaps::mean(&models);
        prop_assert!((mean.error(&mean.means()) - (all[0].1 + all[1].1) / 2.0).abs() < 1e-12);
        let difference = mean.minus(all[2].0.clone());
        let expected = (all[0].1 + all[1].1) / 2.0 - all[2].1;
        prop_assert!((difference.error(&difference.means()) - expected).abs() < 1e-12);
    }

    /// Calibration errors of few or calibrated examples are where percentiles fail.
    #[test]
    fn every_interval_holds_its_estimate((probs, labels, _, classes) in tied_predictions(), seed in 0..50_u64) {
        let bootstrap = Bootstrap { resamples: 60, level: 0.9, seed };
        let predictions = Predictions::new(&probs, &labels, classes).unwrap();
        let (confidence, correct) = (predictions.confidence(), predictions.correct());
        let n = labels.len();
        let pick = |drawn: &[usize]| -> (Vec<f32>, Vec<bool>) {
            drawn.iter().map(|i| (confidence[*i], correct[*i])).unzip()
        };
        let whole = |statistic: fn(&[f32], &[bool]) -> f64| {
            bootstrap.interval(n, |drawn| { let (c, o) = pick(drawn); statistic(&c, &o) })
        };
        let expected = Gaps::expected(&confidence, &correct, 15);
        let classwise = Gaps::classwise(&predictions, 15);
        let hits: Vec<f64> = correct.iter().map(|c| f64::from(u8::from(*c))).collect();
        let intervals = [
            bootstrap.calibration(&expected),
            bootstrap.calibration(&Gaps::adaptive(&confidence, &correct, 15)),
            bootstrap.calibration(&classwise),
            bootstrap.calibration(&expected.minus(classwise)),
            bootstrap.mean(&nll_each(&predictions)),
            bootstrap.mean(&brier_each(&predictions)),
            bootstrap.mean(&hits),
            whole(signed_gap),
            whole(aurc),
            whole(e_aurc),
            whole(|c, o| risk_at_coverage(c, o, 0.8)),
        ];
        for (place, i) in intervals.into_iter().enumerate() {
            prop_assert!(i.low <= i.estimate && i.estimate <= i.high, "{} {:?}", place, i);
            let p = i.p_value(0.9);
            prop_assert!((0.0..=1.0).contains(&p), "{} {:?}", p, i);
        }
    }

    #[test]
    fn mutual_information_is_the_difference_and_vanishes_for_equal_samples(
        (probs, _, _, classes) in tied_predictions(), samples in 1_usize..9
    ) {
        // The rows are taken as samples of one example.
        let varied = SampledProbabilities::new(&probs, probs.len() / classes, 1, classes).unwrap();
        let information = varied.mutual_information()[0];
        let difference = varied.predictive_entropy()[0] - varied.expected_entropy()[0];
        prop_assert!(information >= 0.0 && (information - difference).abs() < 1e-6);

        let copies = probs.repeat(samples);
        let equal =
            SampledProbabilities::new(&copies, samples, probs.len() / classes, classes).unwrap();
        prop_assert!(equal.mutual_information().iter().all(|&information| information == 0.0));
        prop_assert_eq!(equal.mean(), probs);
    }
}

/// A file as `numpy.save` writes it, format 1.0: the header is padded to a multiple of 64 bytes.
fn numpy_file(
    folder: &tempfile::TempDir,
    dtype: &str,
    fortran: bool,
    shape: &str,
    data: &[u8],
) -> std::path::PathBuf {
    let fortran = if fortran { "True" } else { "False" };
    let mut header =
        format!("{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header += "\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    let path = folder.path().join("array.npy");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn probabilities_of_every_dtype_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let c_order: [f32; 6] = [0.5, 0.25, 0.25, 0.125, 0.75, 0.125];
    let fortran: [f32; 6] = [0.5, 0.125, 0.25, 0.75, 0.25, 0.125];
    let f4 = |values: [f32; 6]| values.map(f32::to_le_bytes).concat();
    let files = [
        ("<f4", false, f4(c_order)),
        ("<f4", true, f4(fortran)),
        (">f4", false, c_order.map(f32::to_be_bytes).concat()),
        (
            "<f8",
            true,
            fortran.map(|v| f64::from(v).to_le_bytes()).concat(),
        ),
        (
            "<f2",
            false,
            c_order
                .map(|v| half::f16::from_f32(v).to_le_bytes())
                .concat(),
        ),
    ];
    for (dtype, order, data) in files {
        let read = read_probabilities(numpy_file(&folder, dtype, order, "(2, 3)", &data)).unwrap();
        assert_eq!(read.values, c_order, "{dtype}, Fortran {order}");
        assert_eq!((read.samples, read.examples, read.classes), (1, 2, 3));
    }

    // Three axes, Fortran order: value = 100 s + 10 n + c.
    let mut data = Vec::new();
    for (c, n, s) in (0..4).flat_map(|c| (0..3).flat_map(move |n| (0..2).map(move |s| (c, n, s)))) {
        data.extend(((100 * s + 10 * n + c) as f32).to_le_bytes());
    }
    let read = read_probabilities(numpy_file(&folder, "<f4", true, "(2, 3, 4)", &data)).unwrap();
    assert_eq!((read.samples, read.examples, read.classes), (2, 3, 4));
    assert_eq!(read.values[4..8], [10.0, 11.0, 12.0, 13.0]);
    assert_eq!(read.values[12], 100.0);
}

#[test]
fn labels_of_every_integer_dtype() {
    let folder = tempfile::tempdir().unwrap();
    let labels = [3_u8, 0, 9];
    let of = |dtype: &str, data: Vec<u8>| {
        read_labels(numpy_file(&folder, dtype, false, "(3,)", &data)).unwrap()
    };
    let little = |width: usize| {
        let widen = |l: &u8| u64::from(*l).to_le_bytes()[..width].to_vec();
        labels.iter().flat_map(widen).collect::<Vec<u8>>()
    };
    for (dtype, width) in [
        ("|u1", 1),
        ("|i1", 1),
        ("<u2", 2),
        ("<i2", 2),
        ("<u4", 4),
        ("<i4", 4),
        ("<u8", 8),
        ("<i8", 8),
    ] {
        assert_eq!(of(dtype, little(width)), [3, 0, 9], "{dtype}");
    }
    assert_eq!(
        of(">i8", labels.map(|l| i64::from(l).to_be_bytes()).concat()),
        [3, 0, 9]
    );
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let probs = |dtype: &str, shape: &str, bytes: usize| {
        let path = numpy_file(&folder, dtype, false, shape, &vec![0; bytes]);
        read_probabilities(path).unwrap_err().to_string()
    };
    let ends = |message: String, end: &str| assert!(message.ends_with(end), "{message}");
    ends(
        probs("<f4", "(8,)", 32),
        "array.npy: found shape [8], expected [n, classes] or [samples, n, classes]",
    );
    ends(
        probs("<i4", "(2, 2)", 16),
        "array.npy: found dtype '<i4', expected f2, f4 or f8",
    );
    ends(
        probs("<f4", "(2, 2)", 15),
        "array.npy: found 15 bytes of data, expected 16 for its shape",
    );
    ends(
        probs("<f4", "(1000000, 1000000)", 15),
        "expected 4000000000000 for its shape",
    );

    let labels = |dtype: &str, data: &[u8]| {
        read_labels(numpy_file(&folder, dtype, false, "(2,)", data))
            .unwrap_err()
            .to_string()
    };
    ends(
        labels("|i1", &[1, 255]),
        "array.npy: found label -1 in row 1, expected 0 to 4294967295",
    );
    ends(
        labels("<m8[s]", &[0; 16]),
        "found dtype '<m8[s]', expected an integer",
    );

    let path = folder.path().join("not.npy");
    assert!(
        read_labels(&path)
            .unwrap_err()
            .to_string()
            .contains("not.npy: ")
    );
    std::fs::write(&path, "PK, a zip file").unwrap();
    let message = read_labels(&path).unwrap_err().to_string();
    assert!(
        message.contains("not.npy: found no .npy header"),
        "{message}"
    );
}

#[test]
fn a_written_file_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.npy");
    write_npy(&path, &[3, 2, 2], &SAMPLED).unwrap();
    let read = read_probabilities(&path).unwrap();
    assert_eq!((read.samples, read.examples, read.classes), (3, 2, 2));
    assert_eq!(read.values, SAMPLED);
    assert!(
        write_npy(folder.path(), &[0], &[]).is_err(),
        "a folder is no file"
    );
}

fn score(folder: &tempfile::TempDir, shape: &[usize], probs: &[f32], labels: &[u8]) -> Command {
    let probs_path = folder.path().join("p.npy");
    write_npy(&probs_path, shape, probs).unwrap();
    let labels_path = numpy_file(
        folder,
        "|u1",
        false,
        &format!("({},)", labels.len()),
        labels,
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command
        .arg("score")
        .arg("--probs")
        .arg(probs_path)
        .arg("--labels")
        .arg(labels_path);
    command
}

#[test]
fn score_prints_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let output = score(&folder, &[3, 2, 2], &SAMPLED, &[1, 1])
        .arg("--json")
        .assert()
        .success();
    let scores: Evaluation = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let sampled = SampledProbabilities::new(&SAMPLED, 3, 2, 2).unwrap();
    let mean = sampled.mean();
    let predictions = Predictions::new(&mean, &[1, 1], 2).unwrap();
    assert_eq!(
        scores,
        evaluate(&predictions, Some(&sampled.mutual_information()))
    );
    assert!(scores.mean_mutual_information > 0.0);
}

#[test]
fn score_prints_a_table_and_a_diagram() {
    let folder = tempfile::tempdir().unwrap();
    let output = score(&folder, &[2, 3], &PROBS, &[0, 2]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(
        text.starts_with("2 examples, 3 classes, 1 sample(s)\n"),
        "{text}"
    );
    let line = |name: &str| {
        let starts = |line: &&str| line.trim_start_matches(['│', ' ']).starts_with(name);
        text.lines().find(starts).unwrap()
    };
    let (row, bin) = (line("brier"), line("0.67 .. 0.73"));
    assert!(
        row.contains("0.5000") && row.contains("0.1400 .. 0.8600"),
        "{row}"
    );
    let bar: String = (0..40).map(|i| if i == 28 { '│' } else { '█' }).collect();
    assert!(
        bin.contains(" 1 ") && bin.contains("0.700") && bin.contains(&bar),
        "{bin}"
    );
}

#[test]
fn score_refuses_bad_input_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = score(&folder, &[2, 3], &PROBS, &[0, 3]).assert().code(2);
    let message = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(
        message.contains("p.npy") && message.contains("row 1: found label 3"),
        "{message}"
    );
    assert!(output.get_output().stdout.is_empty());
}

#[test]
fn kl_is_that_of_the_definition() {
    use bayeslora::low_level::metrics::mean_kl;
    let logs = |p: &[f32]| p.iter().map(|p| p.ln()).collect::<Vec<f32>>();
    let (p, q) = (
        logs(&[0.5, 0.5, 0.0, 0.9, 0.1, 0.0]),
        logs(&[0.25, 0.5, 0.25, 0.9, 0.05, 0.05]),
    );
    let expected = (0.5 * 2f64.ln() + 0.1 * 2f64.ln()) / 2.0;
    close(mean_kl(&p, &q, 3), expected);
    close(mean_kl(&p, &p, 3), 0.0);
}

/// Newcombe 1998, table I, method 3.
#[test]
fn wilson_intervals_are_the_published_ones() {
    for (count, of, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ] {
        let interval = Proportion { count, of }.wilson(0.95).unwrap();
        assert!((interval.estimate - count as f64 / of as f64).abs() < 1e-12);
        assert!(
            (interval.low - low).abs() < 5e-5,
            "{count}/{of}: {interval:?}"
        );
        assert!(
            (interval.high - high).abs() < 5e-5,
            "{count}/{of}: {interval:?}"
        );
    }
    // z^2 / (n + z^2) from the far end.
    let all = Proportion { count: 10, of: 10 }.wilson(0.95).unwrap();
    let z2 = 3.841_458_820_694_124;
    close(all.low, 10.0 / (10.0 + z2));
    assert_eq!((all.estimate, all.high), (1.0, 1.0));
    assert_eq!(Proportion { count: 0, of: 0 }.wilson(0.95), None);
}

#[test]
fn a_mean_of_shares_puts_their_intervals_together() {
    let parts = [(1, 29), (0, 0), (81, 263)].map(|(count, of)| Proportion { count, of });
    let mean = mean_proportion(parts, 0.95).unwrap();
    // Distances of .0284 and .0527 below, .1373 and .0582 above.
    close(mean.estimate, (1.0 / 29.0 + 81.0 / 263.0) / 2.0);
    assert!((mean.estimate - mean.low - 0.0299).abs() < 1e-4, "{mean:?}");
    assert!(
        (mean.high - mean.estimate - 0.0746).abs() < 1e-4,
        "{mean:?}"
    );
    let one = Proportion { count: 5, of: 7 };
    let (mean, alone) = (mean_proportion([one], 0.9), one.wilson(0.9));
    close(mean.unwrap().low, alone.unwrap().low);
    close(mean.unwrap().high, alone.unwrap().high);
    assert_eq!(mean_proportion([parts[1]], 0.95), None);
}

/// Rows are labels: 3 images of class 0, 2 of class 1, none of class 2, 1 of class 3.
fn small_confusion() -> Confusion {
    Confusion::new(4, [(0, 0), (0, 1), (0, 1), (1, 1), (1, 0), (3, 2)])
}

#[test]
fn confusions_by_hand() {
    let confusion = small_confusion();
    let share = |count, of| Proportion { count, of };
    assert_eq!(confusion.accuracy(), share(2, 6));
    assert_eq!(
        [0, 1, 2, 3].map(|c| confusion.recall(c)),
        [share(1, 3), share(1, 2), share(0, 0), share(0, 1)]
    );
    assert_eq!(
        [0, 1, 2, 3].map(|c| confusion.precision(c)),
        [share(1, 2), share(1, 3), share(0, 1), share(0, 0)]
    );
    // Of the three classes that have images.
    close(
        confusion.macro_recall(0.95).unwrap().estimate,
        (1.0 / 3.0 + 0.5) / 3.0,
    );
    close(confusion.rate(0, 1), 2.0 / 3.0);
    assert_eq!(confusion.rate(2, 0), 0.0);
    let pair = |classes, counts| ConfusedPair { classes, counts };
    assert_eq!(
        confusion.pairs(),
        [pair([0, 1], [2, 1]), pair([3, 2], [1, 0])]
    );
    assert_eq!(
        [0, 1, 2, 3].map(|c| confusion.most_mistaken_for(c)),
        [Some((1, 2)), Some((0, 1)), None, Some((2, 1))]
    );

    // .7 for class 0, right; .6 for class 1 where it is 2.
    let of = Confusion::of(&Predictions::new(&PROBS, &LABELS, 3).unwrap());
    assert_eq!(of, Confusion::new(3, [(0, 0), (2, 1)]));
}

/// `counts` mistakes from a label to an answer among ten images of each class.
fn ten_each(classes: usize, counts: &[(usize, usize, usize)]) -> Confusion {
    let mut pairs = Vec::new();
    for class in 0..classes {
        let wrong = counts.iter().filter(|(label, ..)| *label == class);
        let before = pairs.len();
        for (label, answer, count) in wrong {
            pairs.extend(std::iter::repeat_n((*label, *answer), *count));
        }
        pairs.resize(before + 10, (class, class));
    }
    Confusion::new(classes, pairs)
}

#[test]
fn classes_that_are_confused_stand_together() {
    let order = |confusion: &Confusion| {
        let classes: Vec<usize> = (0..confusion.classes()).collect();
        confusion_order(confusion, &classes)
    };
    // Nothing is confused.
    assert_eq!(order(&ten_each(4, &[])), [0, 1, 2, 3]);
    // 0 and 2, then 1 and 3; of their ends 2 and 1 are alike.
    let chain = ten_each(4, &[(0, 2, 5), (3, 1, 4), (2, 1, 1)]);
    assert_eq!(order(&chain), [0, 2, 1, 3]);
    // Of 0, 1 and 2, 3 the far ends are alike: both are turned.
    let turned = ten_each(4, &[(0, 1, 6), (2, 3, 5), (3, 0, 2)]);
    assert_eq!(order(&turned), [1, 0, 3, 2]);
    // Three pairs without anything between them, in the order of their first classes.
    let apart = ten_each(6, &[(4, 1, 1), (0, 5, 9), (3, 2, 3)]);
    assert_eq!(order(&apart), [0, 5, 1, 4, 2, 3]);
    // Rates count, not images: half of two is more than three of ten.
    let mut pairs: Vec<_> = (0..10).map(|i| (0, usize::from(i < 3))).collect();
    pairs.extend([(2, 0), (2, 2)]);
    assert_eq!(order(&Confusion::new(3, pairs)), [1, 0, 2]);
    // Average linkage: 2 is more alike to 1 than 3 is, but less to 0 and 1 together, which 3 joins first.
    let average = ten_each(4, &[(0, 1, 9), (2, 1, 5), (3, 0, 3), (3, 1, 3)]);
    assert_eq!(order(&average), [0, 1, 3, 2]);
    // A part of the classes, however it is listed.
    assert_eq!(confusion_order(&chain, &[3, 2, 1]), [2, 1, 3]);
    assert_eq!(confusion_order(&chain, &[]), [0_usize; 0]);
}
