//! Temperatures fitted to an adapter, in a file beside its weights.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FormatError, fitted};

pub(super) const TEMPERATURES: &str = "temperature.json";

const WHAT: &str = "temperatures";

/// A temperature T: probabilities proportional to p^(1/T), fitted to held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// What logits are divided by.
    pub temperature: f64,
    /// Gate samples of the predictive that it was fitted to, 0 for the mean weights: another number has
    /// another temperature.
    pub samples: usize,
    /// Of the samples.
    pub seed: u64,
    /// Held-out images.
    pub images: usize,
    /// Mean negative log-likelihood of these at T = 1, nats.
    pub nll_before: f64,
    /// The same at `temperature`.
    pub nll_after: f64,
}

impl Temperature {
    /// Those in `dir`, one a number of samples; none if none was fitted. `adapter` is the
    /// [`Adapter::sha256`](super::Adapter::sha256) of what they are to be used with.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or speaks of another adapter.
    pub fn load_all(dir: impl AsRef<Path>, adapter: &str) -> Result<Vec<Self>, FormatError> {
        fitted::load(&dir.as_ref().join(TEMPERATURES), WHAT, adapter)
    }

    /// Keeps it in `dir`. An earlier one for as many samples goes, and so do those of other adapters.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>, adapter: &str) -> Result<(), FormatError> {
        let path = dir.as_ref().join(TEMPERATURES);
        fitted::save(&path, WHAT, adapter, self, |one| one.samples)
    }
}
