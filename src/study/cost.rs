//! What a prediction costs by the number of samples.

use serde::{Deserialize, Serialize};

/// Times of predictions for the same images, in rounds that go through all numbers of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub images: usize,
    /// 0 for the mean weights, which comes first.
    pub samples: Vec<usize>,
    /// Seconds, `[round][samples]`, from the images on.
    pub rounds: Vec<Vec<f64>>,
}

impl Cost {
    /// In the study's directory.
    pub const FILE: &'static str = "cost.json";
}
