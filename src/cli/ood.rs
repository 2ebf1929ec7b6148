//! Images that look like nothing a run was trained on: fitting what tells them, and how well it does.

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::predict::ood::{OodDetector, OodScore, training_images};
use bayeslora::low_level::predict::{PredictError, Predictor, Source};
use serde::Serialize;

use super::context::Bar;
use super::location::Location;
use super::output;
use super::promised::percent;
use super::run::Run;
use super::run_images::Changed;

/// What was fitted.
#[derive(Serialize)]
pub struct Fitted {
    score: OodScore,
    /// Of familiar images, the share that is called unfamiliar, at most.
    false_alarms: f64,
    training_images: usize,
    /// Images that the alarm was set by.
    held_out_images: usize,
}

/// Before anything long starts.
pub fn check(run: &Run, false_alarms: f64, held_out: usize) -> Result<()> {
    run.refuse_ensemble("--false-alarms")?;
    let least = OodDetector::least_images(false_alarms);
    ensure!(
        held_out >= least,
        "--false-alarms {false_alarms} needs {least} validation images at least, and the run has {held_out}; take a higher one, \
         or train with a larger --validation"
    );
    Ok(())
}

/// A detector of a run, fitted to its training images with the alarm set by `held_out` ones.
pub fn fit(
    run: &Run,
    gpu: &Gpu,
    data: &Location,
    held_out: &Source,
    (score, false_alarms): (OodScore, f64),
    bar: &Bar,
) -> Result<(OodDetector, Fitted)> {
    let [train] = run.own(data, Changed::Say)?.open([Part::Train], bar)?;
    let train = Source::images(run.align(train)?, run.adapter.resolution);
    let predictor = Predictor::new(gpu, &run.backbone, &run.adapter)?;
    let (features, labels) = training_features(&predictor, &train, bar)?;
    let held_out = features_of(&predictor, held_out, bar)?;
    let detector = OodDetector::fit(score, (&features, &labels), &held_out, false_alarms);
    let detector = detector.context(
        "--false-alarms: the training images look all alike to this adapter, so nothing can be unlike them",
    )?;
    let fitted = Fitted {
        score: detector.score(),
        false_alarms,
        training_images: labels.len(),
        held_out_images: detector.images(),
    };
    Ok((detector, fitted))
}

/// Features of the training images that scores are fitted to, `[n, features]`, and their labels.
pub fn training_features(
    predictor: &Predictor,
    train: &Source,
    bar: &Bar,
) -> Result<(Vec<f32>, Vec<u32>), PredictError> {
    let images = training_images(train.dataset.len());
    let mut progress = |done| bar.show("looking at training images", done, images.len());
    let features = predictor.features_of(train, &images, &mut progress)?;
    let labels = images.iter().map(|image| train.dataset.labels[*image]);
    Ok((features, labels.collect()))
}

/// Features of all images of a set, `[n, features]`.
pub fn features_of(
    predictor: &Predictor,
    source: &Source,
    bar: &Bar,
) -> Result<Vec<f32>, PredictError> {
    let total = source.dataset.len();
    let mut progress = |done| bar.show("looking at images", done, total);
    predictor.features(source, &mut progress)
}

/// What a run has; nothing, with a warning, where it cannot be read or was of another adapter.
pub fn kept(run: &Run) -> Result<Option<OodDetector>> {
    if !run.members.is_empty() {
        return Ok(None);
    }
    let width = run.backbone.resnet.features();
    let found = OodDetector::load(run.fitted_dir(), &run.sha256()?, width);
    Ok(found.unwrap_or_else(|error| {
        output::note(&format!(
            "warning: {error} (`bayeslora calibrate --false-alarms`); no image is called unfamiliar"
        ));
        None
    }))
}

impl Fitted {
    pub fn in_words(&self) -> String {
        let measure = match self.score {
            OodScore::Mahalanobis => "Mahalanobis distance",
            OodScore::Neighbours => "distance to the nearest ones",
        };
        format!(
            "unlike anything it was trained on: images further from {} training images, by the {measure} of features, than {} of \
             familiar ones\n  the limit comes from {} validation images",
            self.training_images,
            percent(1.0 - self.false_alarms),
            self.held_out_images,
        )
    }
}
