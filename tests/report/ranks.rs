//! Ranks: their number, their cuts, their samples.

use bayeslora::report::*;

use super::Draw;

pub fn kappa() -> Vec<KappaPoint> {
    [
        ("unit", 78.0, 0.4744, 0.0262),
        ("5e-8", 74.0, 0.4702, 0.0233),
        ("1.5e-7", 66.0, 0.4649, 0.0181),
        ("5e-7", 43.0, 0.4618, 0.0122),
        ("1.5e-6", 21.0, 0.4761, 0.0101),
    ]
    .map(|(value, rank, nll, ece)| KappaPoint {
        kl_multiplicity: value.into(),
        rank,
        soft_rank: rank * 0.85,
        accuracy: 0.985 - nll * 0.29,
        nll_mean: nll + 0.0031,
        nll,
        ece,
        chosen: value == "5e-7",
    })
    .to_vec()
}

pub fn prunes(draw: &mut Draw) -> Vec<PruneRecord> {
    let mut all = Vec::new();
    for (run, ranks) in [
        ("bayeslora-r8", 80),
        ("bayeslora-r16/samples-8", 160),
        ("bayeslora-r32/samples-8", 320),
    ] {
        for seed in 1..=3 {
            let mut left = ranks;
            for epoch in [4, 7] {
                let after = (left as f64 * 0.62) as usize - seed as usize;
                let accuracy = 0.84 + draw.noise(0.004);
                let nll = 0.47 + draw.noise(0.008);
                all.push(PruneRecord {
                    run: run.into(),
                    seed,
                    epoch,
                    ranks_before: left,
                    ranks_after: after,
                    accuracy_before: accuracy,
                    accuracy_after: accuracy + draw.noise(0.0007),
                    nll_before: nll,
                    nll_after: nll + draw.noise(0.0015),
                });
                left = after;
            }
        }
    }
    all
}

pub fn criteria(draw: &mut Draw) -> Vec<CriterionPoint> {
    let mut all = Vec::new();
    for (criterion, fall) in [("log-alpha", 0.05), ("magnitude", 0.11), ("random", 0.35)] {
        for ranks in [8.0, 16.0, 24.0, 32.0, 40.0, 56.0, 80.0] {
            let lost: f64 = (1.0 - ranks / 80.0f64).powf(2.2) * fall;
            all.push(CriterionPoint {
                criterion: criterion.into(),
                ranks,
                accuracy: draw.score(0.849 - lost, 0.002 + lost * 0.1, 5, None),
                nll: draw.score(0.464 + lost * 3.0, 0.003 + lost * 0.3, 5, None),
            });
        }
    }
    all
}

pub fn sample_counts(draw: &mut Draw) -> Vec<SampleCurve> {
    [
        ("BayesLoRA", "bayeslora", 0.464),
        ("MC dropout", "mc-dropout", 0.471),
        ("Weight noise", "weight-noise", 0.4695),
    ]
    .map(|(title, family, nll)| SampleCurve {
        title: title.into(),
        family: family.into(),
        test_images: 2_000,
        points: [0, 1, 2, 4, 8, 16, 32, 64]
            .map(|samples| {
                let noise = if samples == 0 {
                    0.25
                } else {
                    1.0 / samples as f64
                };
                SamplePoint {
                    samples,
                    accuracy: draw.score(0.85 - 0.012 * noise, 0.0015, 5, None),
                    nll: draw.score(nll - 0.006 + 0.03 * noise, 0.002, 5, None),
                    ece: draw.score(0.010 + 0.012 * noise, 0.001, 5, None),
                    passes: (samples > 0 && family == "bayeslora")
                        .then_some(0.55 * samples as f64 + 0.4),
                }
            })
            .to_vec(),
    })
    .to_vec()
}
