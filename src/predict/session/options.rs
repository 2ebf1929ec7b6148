//! How a session answers.

use crate::predict::{ClassPrior, PredictError};
use crate::ranges;

/// How a [`Session`](super::Session) answers.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Draws of the gates, the same for every picture, so that what is said of one does not depend on those beside it; 0
    /// for the mean weights.
    pub samples: usize,
    /// The same seed gives the same draws.
    pub seed: u64,
    /// The logits of the predictive are divided by it; `None` takes the temperature that was fitted to a run for as many
    /// samples, and divides by nothing where none was.
    pub temperature: Option<f64>,
    /// How frequent the classes are where the answers are given; `None` for what the adapter was trained for. Where that
    /// changes anything, the probabilities of every draw are [adjusted](crate::predict::PriorShift) before the draws are averaged; the
    /// temperature that was fitted to the run is left out, and nothing is promised: no answer is held back but by the threshold, and
    /// there are no prediction sets. Whether a picture is familiar is said as before, but there may be more false alarms than
    /// were asked for.
    pub class_prior: Option<ClassPrior>,
    /// An answer less probable than this is none: the session abstains.
    pub threshold: f32,
    /// Pictures that are computed at a time; more take turns.
    pub batch: usize,
}

impl Default for SessionOptions {
    /// Eight draws, a temperature only where one was fitted, the classes as in training, an answer for everything.
    fn default() -> Self {
        Self {
            samples: 8,
            seed: 1,
            temperature: None,
            class_prior: None,
            threshold: 0.0,
            batch: 16,
        }
    }
}

impl SessionOptions {
    /// Refuses what no session can do.
    pub(super) fn check(&self) -> Result<(), PredictError> {
        let wrong = |option, found: String, expected: &str| {
            Err(PredictError::Option {
                option,
                found,
                expected: expected.to_owned(),
            })
        };
        if let Some(temperature) = self.temperature
            && !(temperature > 0.0 && temperature.is_finite())
        {
            let found = temperature.to_string();
            return wrong("temperature", found, "a finite number above 0");
        }
        // At 1 nothing is divided.
        if self.class_prior.is_some() && self.temperature.is_some_and(|t| t != 1.0) {
            return Err(PredictError::TemperedPrior);
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            let found = self.threshold.to_string();
            return wrong("threshold", found, "a probability from 0 to 1");
        }
        if self.batch == 0 {
            return wrong("batch", "0".into(), "at least 1");
        }
        match ranges::of_command("predict", "samples") {
            Some(range) if !range.has_whole(self.samples as u64) => {
                wrong("samples", self.samples.to_string(), &range.to_string())
            }
            _ => Ok(()),
        }
    }
}
