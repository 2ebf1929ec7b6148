//! Rows of the table and their comparisons.

use std::collections::BTreeMap;

use bayeslora::low_level::metrics::{Interval, ReliabilityBin, RiskCoverage};
use bayeslora::low_level::report::*;

use super::{Draw, LAYERS, Method};

pub fn row(draw: &mut Draw, method: &Method) -> Row {
    let &(name, title, family, headline, nll, accuracy, ece, rank, trained) = method;
    let (seeds, test_images) = if headline { (5, 10_000) } else { (3, 2_000) };
    let half = 1.0 / (test_images as f64).sqrt();
    let mut scores = BTreeMap::new();
    let mut add = |draw: &mut Draw, name: &str, mean: f64, sd: f64, share: f64| {
        let score = draw.score(mean, sd, seeds, Some(half * share));
        scores.insert(name.to_owned(), score);
    };
    add(draw, "nll", nll, 0.003, 1.6);
    add(draw, "accuracy", accuracy, 0.0025, 0.7);
    add(draw, "ece", ece, 0.002, 0.5);
    add(draw, "brier", nll * 0.47, 0.0012, 0.6);
    add(draw, "aurc", 0.031 + (nll - 0.46) * 0.2, 0.0007, 0.12);
    add(draw, "e_aurc", 0.019 + (nll - 0.46) * 0.1, 0.0006, 0.11);
    add(draw, "adaptive_ece", ece * 0.96, 0.002, 0.5);
    add(draw, "classwise_ece", ece * 0.42, 0.0006, 0.1);
    add(draw, "signed_gap", ece * 0.8 - 0.007, 0.003, 0.5);
    for (name, risk) in [("risk_80", 0.065), ("risk_90", 0.099), ("risk_95", 0.122)] {
        add(draw, name, risk, 0.002, 0.5);
    }
    if title.contains("temperature") {
        scores.insert("temperature".into(), draw.score(1.13, 0.02, seeds, None));
    }
    if family == "laplace" {
        scores.insert("prior_precision".into(), draw.score(41.0, 6.0, seeds, None));
    }
    Row {
        name: name.into(),
        title: title.into(),
        family: family.into(),
        headline,
        seeds: (1..=seeds as u64).collect(),
        test_images,
        scores,
        best_in: Vec::new(),
        rank: draw.score(
            rank,
            if family == "bayeslora" { 2.0 } else { 0.0 },
            seeds,
            None,
        ),
        soft_rank: draw.score(rank * 0.84, 1.5, seeds, None),
        adapter_parameters: 2_842.6 * rank,
        step_milliseconds: trained.then_some(76.4 + draw.noise(2.0)),
        image_milliseconds: Some(if title.contains("8 samples") {
            8.8
        } else {
            2.4
        }),
        reliability: reliability(draw, ece, test_images * seeds),
        risk_coverage: risk_coverage(nll),
        training: match trained {
            true => training(draw, family, nll, accuracy, ece, rank, seeds),
            false => Vec::new(),
        },
    }
}

pub fn reliability(draw: &mut Draw, ece: f64, images: usize) -> Vec<ReliabilityBin> {
    let weight = |bin: f64| (bin / 14.0).powi(3) + 0.02;
    let all: f64 = (1..15).map(|bin| weight(f64::from(bin))).sum();
    let bin = |bin: u32| {
        let confidence = (f64::from(bin) + 0.5) / 15.0;
        let gap = ece * 2.2 * (1.0 - confidence) * 2.0;
        ReliabilityBin {
            count: match bin {
                0 => 0,
                _ => (images as f64 * weight(f64::from(bin)) / all) as usize,
            },
            confidence,
            accuracy: (confidence - gap + draw.noise(0.02)).clamp(0.0, 1.0),
        }
    };
    (0..15).map(bin).collect()
}

pub fn risk_coverage(nll: f64) -> Vec<RiskCoverage> {
    (1..=100)
        .map(|percent| f64::from(percent) / 100.0)
        .map(|coverage| RiskCoverage {
            coverage,
            risk: 0.004 + nll * 0.31 * coverage.powf(2.3),
        })
        .collect()
}

pub fn training(
    draw: &mut Draw,
    family: &str,
    nll: f64,
    accuracy: f64,
    ece: f64,
    rank: f64,
    seeds: usize,
) -> Vec<EpochPoint> {
    let first = match family {
        "bayeslora" => (rank / 0.55 / 80.0).ceil() * 80.0,
        _ => rank,
    };
    (1..=8)
        .map(|epoch| {
            let far = (-0.6 * epoch as f64).exp();
            let left = match epoch {
                0..=3 => first,
                4..=6 => (first + rank) / 2.0,
                _ => rank,
            };
            let per_layer = left / LAYERS.len() as f64;
            let slope = if family == "bayeslora" && epoch > 3 {
                0.12
            } else {
                0.0
            };
            EpochPoint {
                epoch,
                accuracy: draw.score(accuracy - 0.12 * far, 0.004, seeds, None),
                nll: draw.score(nll + 0.4 * far, 0.006, seeds, None),
                ece: draw.score(ece + 0.02 * far, 0.003, seeds, None),
                train_accuracy: draw.score(accuracy + 0.02 - 0.15 * far, 0.004, seeds, None),
                rank: draw.score(left, if slope > 0.0 { 1.5 } else { 0.0 }, seeds, None),
                soft_rank: draw.score(left * (0.85 + 0.15 * far), 1.0, seeds, None),
                ranks: LAYERS
                    .iter()
                    .enumerate()
                    .map(|(layer, name)| {
                        let share = 1.0 + slope * (4.5 - layer as f64);
                        (name.to_string(), (per_layer * share * 5.0).round() / 5.0)
                    })
                    .collect(),
            }
        })
        .collect()
}

/// By the means of the rows: decided where they are farther apart than their pairs would scatter.
pub fn comparisons(rows: &[Row]) -> Vec<Comparison> {
    let pairs = [
        ("bayeslora-r8/samples-8", "lora-r8"),
        ("bayeslora-r8/samples-8", "lora-r8/temperature"),
        ("bayeslora-r8", "lora-r8"),
        ("bayeslora-r8/samples-8/temperature", "lora-r8/temperature"),
        ("ensemble-r8", "bayeslora-r8/samples-8"),
        ("bayeslora-r8/samples-8", "laplace-kronecker"),
        ("lora-r8/temperature", "lora-r8"),
    ];
    let score = |name: &str, measure: &str| {
        let row = rows.iter().find(|row| row.name == name);
        row.expect("a row").scores[measure].mean
    };
    let mut all = Vec::new();
    for (row, baseline) in pairs {
        for (measure, half) in [
            ("nll", 0.0025),
            ("accuracy", 0.004),
            ("ece", 0.004),
            ("brier", 0.0015),
            ("aurc", 0.0009),
        ] {
            let estimate = score(row, measure) - score(baseline, measure);
            let higher = measure == "accuracy";
            all.push(Comparison {
                row: row.into(),
                baseline: baseline.into(),
                measure: measure.into(),
                difference: Some(Interval {
                    estimate,
                    low: estimate - half,
                    high: estimate + half,
                }),
                by_seed: vec![estimate; 3],
                verdict: match estimate.abs() > half {
                    false => Verdict::Undecided,
                    true if (estimate > 0.0) == higher => Verdict::Better,
                    true => Verdict::Worse,
                },
            });
        }
    }
    all
}
