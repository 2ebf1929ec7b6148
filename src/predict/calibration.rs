//! What was promised of an adapter's answers, in a file beside its weights.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{DataError, Dataset};
use crate::formats::{Digest, FormatError, fitted};
use crate::metrics::{PredictionSets, Predictions, RiskControl};

const WHAT: &str = "calibrations";

/// What held-out images promise of the predictive of so many samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Gate samples of the predictive, 0 for the mean weights.
    pub samples: usize,
    /// Of the samples, which are the same for every image. Others are another predictive, of which nothing is promised.
    pub seed: u64,
    /// From which confidence on there is an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_control: Option<RiskControl>,
    /// Sets of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction_sets: Option<PredictionSets>,
}

impl Calibration {
    /// Those in `dir`, one for each predictive; none if nothing was promised. `adapter` is the
    /// [`Adapter::sha256`](crate::formats::Adapter::sha256) of what they are to be used with, `classes` their number.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or speaks of another adapter or of other classes.
    pub fn load_all(
        dir: impl AsRef<Path>,
        adapter: &str,
        classes: usize,
    ) -> Result<Vec<Self>, FormatError> {
        let path = dir.as_ref().join(fitted::CALIBRATIONS);
        let all: Vec<Self> = fitted::load(&path, WHAT, adapter)?;
        let misfit = |one: &Self| {
            let sets = one.prediction_sets.as_ref();
            sets.is_some_and(|sets| ![1, classes].contains(&sets.limits.len()))
        };
        if all.iter().any(misfit) {
            return Err(FormatError::Changed {
                file: path.display().to_string(),
                found: "its sets are of another number of classes",
                way_out: "fit it again",
            });
        }
        Ok(all)
    }

    /// That of them which is of so many samples of this seed, if there is one.
    ///
    /// # Errors
    /// As [`load_all`](Self::load_all).
    pub fn load(
        dir: impl AsRef<Path>,
        adapter: &str,
        (samples, seed): (usize, u64),
        classes: usize,
    ) -> Result<Option<Self>, FormatError> {
        let all = Self::load_all(dir, adapter, classes)?;
        Ok(all.into_iter().find(|one| one.is_of(samples, seed)))
    }

    /// Whether it speaks of the predictive of so many samples of this seed.
    pub fn is_of(&self, samples: usize, seed: u64) -> bool {
        self.predictive() == predictive(samples, seed)
    }

    /// Keeps it in `dir`. An earlier one of the same predictive goes, and so do those of other adapters.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>, adapter: &str) -> Result<(), FormatError> {
        let path = dir.as_ref().join(fitted::CALIBRATIONS);
        fitted::save(&path, WHAT, adapter, self, Self::predictive)
    }

    fn predictive(&self) -> (usize, u64) {
        predictive(self.samples, self.seed)
    }
}

/// What tells predictives of one adapter apart: the mean weights draw nothing.
fn predictive(samples: usize, seed: u64) -> (usize, u64) {
    (samples, if samples == 0 { 0 } else { seed })
}

/// What became of the promises on labelled images that they were not made by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Held {
    /// Images.
    pub images: usize,
    /// Of these, images that are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<usize>,
    /// Of these, answers that are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<usize>,
    /// Images whose set holds the right class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered: Option<usize>,
    /// Classes of a set, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_set_size: Option<f64>,
}

/// What is said of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promise {
    /// Whether the confidence is high enough for the promised risk; `None` where no risk was promised.
    pub answered: Option<bool>,
    /// The labels of its prediction set, the most probable first; `None` where no coverage was promised.
    pub prediction_set: Option<Vec<usize>>,
}

impl Calibration {
    /// Looks at one predictive `[classes]`, before any temperature; `tie` as for [`PredictionSets::fit`].
    pub fn promise(&self, probabilities: &[f32], tie: f64) -> Promise {
        let confidence = probabilities.iter().copied().fold(0.0, f32::max);
        let control = self.risk_control.as_ref();
        let sets = self.prediction_sets.as_ref();
        Promise {
            answered: control.map(|control| control.answers(confidence)),
            prediction_set: sets.map(|sets| sets.of(probabilities, tie)),
        }
    }

    /// Compares them with the labels; `ties` `[n]` as for [`PredictionSets::fit`].
    pub fn held(&self, predictions: &Predictions, ties: &[f64]) -> Held {
        let outcomes = predictions.confidence().into_iter();
        let outcomes: Vec<(f32, bool)> = outcomes.zip(predictions.correct()).collect();
        let answered = self.risk_control.map(|control| {
            let answered = outcomes.iter().filter(|one| control.answers(one.0));
            answered.fold((0, 0), |(all, wrong), (_, correct)| {
                (all + 1, wrong + usize::from(!correct))
            })
        });
        let sets: Option<Vec<Vec<usize>>> = self.prediction_sets.as_ref().map(|sets| {
            let rows = predictions.rows().zip(ties);
            rows.map(|(row, tie)| sets.of(row, *tie)).collect()
        });
        let covered = |sets: &Vec<Vec<usize>>| {
            let pairs = sets.iter().zip(predictions.labels());
            pairs
                .filter(|(set, label)| set.contains(&(**label as usize)))
                .count()
        };
        let size = |sets: &Vec<Vec<usize>>| {
            sets.iter().map(Vec::len).sum::<usize>() as f64 / outcomes.len().max(1) as f64
        };
        Held {
            images: outcomes.len(),
            answered: answered.map(|(answered, _)| answered),
            wrong: answered.map(|(_, wrong)| wrong),
            covered: sets.as_ref().map(covered),
            mean_set_size: sets.as_ref().map(size),
        }
    }
}

/// A number from 0 to 1 for every image of a set, which depends on its pixels alone: what [`PredictionSets`] break ties by.
///
/// # Errors
/// The file of an image has changed.
pub fn ties(images: &Dataset) -> Result<Vec<f64>, DataError> {
    (0..images.len())
        .map(|place| Ok(tie(&images.image(place)?)))
        .collect()
}

/// The same of one image's pixels `[side, side, 3]`.
pub(super) fn tie(pixels: &[u8]) -> f64 {
    Digest::of(pixels).share()
}
