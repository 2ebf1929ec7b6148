//! What the page of a run shows.

use crate::formats::Temperature;
use crate::predict::{Calibration, Held};
use crate::report::{EpochPoint, Study};

/// A run, and what it answered to labelled images that it was not trained on.
#[derive(Clone, Debug, Default)]
pub struct RunResults {
    /// Of its directory.
    pub name: String,
    /// As tables name the method: `BayesLoRA`.
    pub method: String,
    /// The method as a colour: `bayeslora`.
    pub family: String,
    /// What was trained on what, and by which commands; classes by label, and as test images those that are scored.
    pub about: Study,
    /// Which images are scored, as in `the test part of photos, 200 images`.
    pub scored_on: String,
    /// How they are answered, as in `8 samples (seed 1)`.
    pub samples: String,
    /// `[n]`
    pub labels: Vec<u32>,
    /// `[n, classes]`, without temperature.
    pub log_probs: Vec<f32>,
    /// `[n]`, nats.
    pub mutual_information: Vec<f32>,
    /// `[n]`, where each image is, or what else tells it from the others.
    pub places: Vec<String>,
    /// The one that was fitted to these samples.
    pub temperature: Option<Temperature>,
    /// What was promised of these samples, and what became of that.
    pub calibration: Option<(Calibration, Held)>,
    /// In the order of the network; of an ensemble the sums over its members.
    pub layers: Vec<LayerRanks>,
    pub training: Vec<EpochPoint>,
    /// What of the images was not used, and why, in words.
    pub left_out: Vec<String>,
    /// What else is missing, in words.
    pub missing: Vec<String>,
}

/// Ranks of an adapted layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerRanks {
    pub name: String,
    pub initial: usize,
    /// Ranks left.
    pub left: usize,
    /// sum_i 1/(1 + alpha_i) over these.
    pub effective: f64,
}
