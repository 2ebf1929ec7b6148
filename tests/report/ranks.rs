//! Ranks: their number, their cuts, their samples.

use bayeslora::low_level::report::*;

use super::Draw;

pub fn final_ranks(draw: &mut Draw) -> Vec<FinalRanks> {
    let mut points = Vec::new();
    for (family, series) in [("lora", "LoRA"), ("bayeslora", "BayesLoRA, rank auto")] {
        for initial_rank in [8, 16, 32] {
            points.push(FinalRanks {
                series: series.into(),
                family: family.into(),
                run: format!("{family}-r{initial_rank}"),
                initial_rank,
                ranks: draw.score(70.0, 4.0, 3, None),
                adapter_parameters: 160_000.0,
                test_images: 2000,
                nll: draw.score(0.58, 0.004, 3, Some(0.02)),
                tempered_nll: Some(draw.score(0.56, 0.004, 3, Some(0.02))),
                accuracy: draw.score(0.81, 0.004, 3, Some(0.01)),
            });
        }
    }
    points
}

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

pub fn cuts(draw: &mut Draw) -> Vec<CutPoint> {
    let lines = [
        ("none", "alpha", 0.05),
        ("none", "magnitude", 0.11),
        ("none", "random", 0.35),
        ("none", "evidence", 0.03),
        ("svd", "singular-value", 0.02),
        ("svd", "evidence", 0.02),
        ("evidence", "evidence", 0.01),
    ];
    let mut all = Vec::new();
    for (run, title, family) in [
        ("lora-r8", "LoRA", "lora"),
        ("bayeslora-r8", "BayesLoRA", "bayeslora"),
    ] {
        for (gauge, order, fall) in lines {
            if (family, order) == ("lora", "alpha") {
                continue;
            }
            for share in [1.0, 0.75, 0.5, 0.375, 0.25, 0.125] {
                let lost = f64::powf(1.0 - share, 2.2) * fall;
                let mut score = |mean: f64, half: f64| {
                    draw.score(mean, 0.002 + lost * 0.1, 5, (half > 0.0).then_some(half))
                };
                let mut effect = || CutEffect {
                    images: 2_000,
                    nll: score(0.464 + lost * 3.0, 0.01),
                    nll_change: score(lost * 3.0, 0.002),
                    accuracy: score(0.849 - lost, 0.01),
                    accuracy_change: score(-lost, 0.002),
                    kl: score(lost * 3.0, 0.0),
                };
                let (test, sampled) = (effect(), effect());
                all.push(CutPoint {
                    run: run.into(),
                    title: title.into(),
                    family: family.into(),
                    gauge: gauge.into(),
                    order: order.into(),
                    share: Some(share),
                    ranks: 80.0 * share,
                    scalars: Some(200_000.0 * share),
                    accuracy: score(0.849 - lost, 0.01),
                    nll: score(0.464 + lost * 3.0, 0.01),
                    kl: Some(score(lost * 3.0, 0.0)),
                    predicted_nll: Some(score(0.464 + lost * 2.8, 0.0)),
                    predicted_kl: Some(score(lost * 2.9, 0.0)),
                    test: Some(test),
                    sampled: (family == "bayeslora" && share == 0.5).then_some(sampled),
                });
            }
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
