//! Telling images of other kinds from the test set.

use super::scores::over_seeds;
use super::{Answers, Material};
use crate::metrics::{Bootstrap, auroc, drawn_scores, fpr95, uncertainty_scores};
use crate::report::{Detection, Histogram, Score, UnfamiliarSet};
use crate::study::runs::SAMPLES;
use crate::study::{Place, RunSpec, Stored, StudyError};

/// Bins of a histogram.
const BINS: usize = 30;

/// What tells an unfamiliar image; higher means less familiar.
const SCORES: [&str; 4] = [
    "max_probability",
    "entropy",
    "mutual_information",
    "covariance_trace",
];

/// Detection of every set that there are answers for.
pub fn sets(material: &Material, bootstrap: &Bootstrap) -> Result<Vec<UnfamiliarSet>, StudyError> {
    let without: Vec<&RunSpec> = material
        .runs
        .iter()
        .filter(|spec| spec.without_classes)
        .collect();
    let held_out = material.held_out.join(" and ");
    let mut sets = vec![set(
        material,
        "held-out-classes",
        &format!("{held_out}, held out of training"),
        &without,
        bootstrap,
    )?];
    let headline = material.headline();
    for name in material.unfamiliar {
        sets.push(set(material, name, title(name), &headline, bootstrap)?);
    }
    sets.retain(|set| !set.detections.is_empty());
    Ok(sets)
}

/// As reports name the sets that are known.
fn title(name: &str) -> &str {
    match name {
        "fashion-mnist" => "Fashion-MNIST",
        "cifar-10" => "CIFAR-10",
        "cifar-100" => "CIFAR-100",
        "tiny-imagenet" => "Tiny-ImageNet",
        "svhn" => "SVHN",
        "noise" => "Uniform noise",
        other => other,
    }
}

/// What the embedded backbone was trained on.
fn is_like_pretraining(material: &Material, name: &str) -> bool {
    material.study.backbone == "embedded" && ["cifar-100", "tiny-imagenet"].contains(&name)
}

fn set(
    material: &Material,
    name: &str,
    title: &str,
    specs: &[&RunSpec],
    bootstrap: &Bootstrap,
) -> Result<UnfamiliarSet, StudyError> {
    let mut set = UnfamiliarSet {
        name: name.into(),
        title: title.into(),
        like_pretraining: is_like_pretraining(material, name),
        ..UnfamiliarSet::default()
    };
    for spec in specs {
        let gated = spec.config.method.gates().is_some();
        let samples = if gated { SAMPLES } else { 0 };
        // [score][seed]
        let mut by_score: Vec<Vec<(Vec<f64>, Vec<f64>)>> = vec![Vec::new(); SCORES.len()];
        for seed in 1..=spec.seeds {
            let labels = material.test_labels(spec);
            let unknown = Stored::samples(name, samples);
            let place = Place::new(material.out, &spec.name, seed);
            if !place.has(&unknown) {
                continue;
            }
            let unknown = place.read(&unknown)?;
            let unknown = Answers::new(&unknown, &vec![0; unknown.examples])?;
            let test = Stored::samples("test", samples);
            let Some(test) = material.answers(spec, seed, &test, labels)? else {
                continue;
            };
            set.images = unknown.images();
            let test = test.first(test.images().min(unknown.images()));
            let mut scored: Vec<_> = scored(&test)?.into_iter().zip(scored(&unknown)?).collect();
            if gated && place.has_trace("test") && place.has_trace(name) {
                let trace = |set, n| -> Result<Vec<f64>, StudyError> {
                    let all = place.read_trace(set)?;
                    Ok(all.iter().take(n).map(|value| f64::from(*value)).collect())
                };
                scored.push((
                    trace("test", test.images())?,
                    trace(name, unknown.images())?,
                ));
            }
            let kept = if gated { scored.len() } else { 2 };
            for (score, pair) in scored.into_iter().take(kept).enumerate() {
                by_score[score].push(pair);
            }
        }
        for (score, seeds) in SCORES.into_iter().zip(&by_score) {
            if let Some(first) = seeds.first() {
                set.detections
                    .push(detection(spec, score, seeds, bootstrap));
                set.histograms.push(histogram(spec, score, first));
            }
        }
    }
    Ok(set)
}

fn scored(answers: &Answers) -> Result<[Vec<f64>; 3], StudyError> {
    Ok(uncertainty_scores(
        &answers.predictions()?,
        &answers.mutual_information,
    ))
}

fn detection(
    spec: &RunSpec,
    score: &str,
    seeds: &[(Vec<f64>, Vec<f64>)],
    bootstrap: &Bootstrap,
) -> Detection {
    let both: Vec<[f64; 2]> = seeds
        .iter()
        .map(|(familiar, unfamiliar)| [auroc(familiar, unfamiliar), fpr95(familiar, unfamiliar)])
        .collect();
    let all = seeds[0].0.len() + seeds[0].1.len();
    let intervals = bootstrap.intervals(all, |drawn| {
        let found =
            seeds.iter().map(
                |(known, unknown)| match drawn_scores(drawn, known, unknown) {
                    None => [0.5, 1.0],
                    Some([known, unknown]) => [auroc(&known, &unknown), fpr95(&known, &unknown)],
                },
            );
        super::scores::mean_of(found, seeds.len())
    });
    let over = |place: usize| Score {
        interval: Some(intervals[place]),
        ..over_seeds(both.iter().map(|values| values[place]).collect())
    };
    Detection {
        row: spec.name.clone(),
        title: spec.title.clone(),
        family: spec.config.method.name().into(),
        score: score.into(),
        auroc: over(0),
        fpr95: over(1),
    }
}

fn histogram(spec: &RunSpec, score: &str, (known, unknown): &(Vec<f64>, Vec<f64>)) -> Histogram {
    let all = || known.iter().chain(unknown).copied();
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(f64::NEG_INFINITY, f64::max);
    let width = ((high - low) / BINS as f64).max(f64::MIN_POSITIVE);
    let count = |values: &[f64]| {
        let mut counts = vec![0; BINS];
        for value in values {
            counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
        }
        counts
    };
    Histogram {
        row: spec.name.clone(),
        title: spec.title.clone(),
        score: score.into(),
        edges: (0..=BINS).map(|bin| low + width * bin as f64).collect(),
        familiar: count(known),
        unfamiliar: count(unknown),
    }
}
