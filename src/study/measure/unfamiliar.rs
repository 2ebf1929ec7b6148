//! Telling images of other kinds from the test set.

use super::detection::{Pair, Sides, detection, histogram};
use super::{Answers, Material};
use crate::metrics::{Bootstrap, uncertainty_scores};
use crate::report::UnfamiliarSet;
use crate::study::runs::SAMPLES;
use crate::study::{FEATURE_SCORES, Place, RunSpec, Stored, StudyError};

/// What tells an unfamiliar image; higher means less familiar. The others are compared with the first.
const SCORES: [&str; 7] = {
    let [energy, mahalanobis, neighbours] = FEATURE_SCORES;
    [
        "max_probability",
        "entropy",
        "mutual_information",
        "covariance_trace",
        energy,
        mahalanobis,
        neighbours,
    ]
};

/// Of these there are histograms: what others are compared with, and what `calibrate` takes unasked.
const SHOWN: [&str; 2] = [SCORES[0], SCORES[5]];

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
        let mut seeds: Vec<Vec<(&str, Sides)>> = Vec::new();
        for seed in 1..=spec.seeds {
            if let Some(scores) = told(material, spec, seed, name)? {
                seeds.push(scores);
            }
        }
        for score in SCORES {
            let pairs = seeds.iter().filter_map(|scores| {
                let (_, ours) = scores.iter().find(|(name, _)| *name == score)?;
                Some((ours, &scores[0].1))
            });
            let pairs: Vec<Pair> = pairs.collect();
            let Some((first, _)) = pairs.first() else {
                continue;
            };
            let [_, unfamiliar] = first;
            set.images = unfamiliar.len();
            let mut found = detection(spec, score, &pairs, bootstrap);
            if score == SCORES[0] {
                found.difference = None;
            }
            set.detections.push(found);
            if SHOWN.contains(&score) {
                set.histograms.push(histogram(spec, score, first));
            }
        }
    }
    Ok(set)
}

/// Scores of one seed of a run by name, [`SCORES`]'s first in front: of test images, and of the unfamiliar ones, of which there are
/// as many or more. `None` where it has not answered them.
fn told(
    material: &Material,
    spec: &RunSpec,
    seed: u64,
    name: &str,
) -> Result<Option<Vec<(&'static str, Sides)>>, StudyError> {
    let gated = spec.config.method.gates().is_some();
    let samples = if gated { SAMPLES } else { 0 };
    let unknown = Stored::samples(name, samples);
    let place = Place::new(material.out, &spec.name, seed);
    if !place.has(&unknown) {
        return Ok(None);
    }
    let unknown = place.read(&unknown)?;
    let unknown = Answers::new(&unknown, &vec![0; unknown.examples])?;
    let test = Stored::samples("test", samples);
    let Some(test) = material.answers(spec, seed, &test, material.test_labels(spec))? else {
        return Ok(None);
    };
    let test = test.first(test.images().min(unknown.images()));
    let both = [("test", test.images()), (name, unknown.images())];
    let [known, unfamiliar] = [uncertainty(&test)?, uncertainty(&unknown)?];
    let sides = known.into_iter().zip(unfamiliar).map(|(a, b)| [a, b]);
    let mut scores: Vec<(&str, Sides)> = SCORES.into_iter().zip(sides).collect();
    if !gated {
        scores.truncate(2);
    }
    if gated && both.iter().all(|(set, _)| place.has_trace(set)) {
        let [known, unfamiliar] = both.map(|(set, n)| place.read_trace(set, n));
        scores.push((SCORES[3], [known?, unfamiliar?]));
    }
    if both.iter().all(|(set, _)| place.has_feature_scores(set)) {
        let [known, unfamiliar] = both.map(|(set, n)| place.read_feature_scores(set, n));
        let columns = known?.into_iter().zip(unfamiliar?);
        for (name, (known, unfamiliar)) in FEATURE_SCORES.into_iter().zip(columns) {
            if let (Some(known), Some(unfamiliar)) = (known, unfamiliar) {
                scores.push((name, [known, unfamiliar]));
            }
        }
    }
    Ok(Some(scores))
}

fn uncertainty(answers: &Answers) -> Result<[Vec<f64>; 3], StudyError> {
    Ok(uncertainty_scores(
        &answers.predictions()?,
        &answers.mutual_information,
    ))
}
