//! What predicting and training cost.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StudyError;
use crate::metrics::quantile;

/// Times of predictions for the same images, in rounds that go through all numbers of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub images: usize,
    /// 0 for the mean weights, which comes first.
    pub samples: Vec<usize>,
    /// Seconds, `[round][samples]`, from the images on.
    pub rounds: Vec<Vec<f64>>,
    /// By the name of the run, with all its ranks and cached features.
    pub steps: Vec<StepCost>,
}

/// Times of training steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    pub run: String,
    /// A step in milliseconds, by round.
    pub milliseconds: Vec<f64>,
}

impl Cost {
    /// In the study's directory.
    pub const FILE: &'static str = "cost.json";

    /// Of the study, where it was measured.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(out: &Path) -> Result<Option<Self>, StudyError> {
        let path = out.join(Self::FILE);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        match serde_json::from_str(&text) {
            Ok(cost) => Ok(Some(cost)),
            Err(source) => Err(StudyError::Json { path, source }),
        }
    }

    /// How much longer than a single pass each number of samples takes. Paired: what disturbs the
    /// machine disturbs the passes of one round alike.
    pub fn passes(&self) -> Vec<(usize, f64)> {
        let ratio = |place: usize| self.rounds.iter().map(move |round| round[place] / round[0]);
        let samples = self.samples.iter().enumerate();
        samples
            .map(|(place, samples)| (*samples, median(ratio(place))))
            .collect()
    }

    /// Median time per image in milliseconds with this many samples.
    pub fn image_milliseconds(&self, samples: usize) -> Option<f64> {
        let place = self.samples.iter().position(|count| *count == samples)?;
        let times = self.rounds.iter().map(|round| round[place]);
        Some(1e3 * median(times) / self.images as f64)
    }

    /// Median time of a run's training step in milliseconds.
    pub fn step_milliseconds(&self, run: &str) -> Option<f64> {
        let found = self.steps.iter().find(|step| step.run == run)?;
        Some(median(found.milliseconds.iter().copied()))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
