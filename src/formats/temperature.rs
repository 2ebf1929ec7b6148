//! Temperatures fitted to an adapter, in a file beside its weights.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FormatError;
use super::files::{self, io_error};

const TEMPERATURES: &str = "temperature.json";

/// A temperature T: probabilities proportional to p^(1/T), fitted to held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
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
    /// Those of the adapter in `dir`, one a number of samples; none if none was fitted.
    ///
    /// # Errors
    /// The file cannot be read or is not what [`Temperature::save`] writes.
    pub fn load_all(dir: impl AsRef<Path>) -> Result<Vec<Self>, FormatError> {
        let path = dir.as_ref().join(TEMPERATURES);
        match path.exists() {
            true => files::read_json(&path, "temperatures"),
            false => Ok(Vec::new()),
        }
    }

    /// Keeps it beside the adapter in `dir`, until other weights are saved there. An earlier one for
    /// as many samples goes.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), FormatError> {
        let mut all = Self::load_all(&dir)?;
        all.retain(|other| other.samples != self.samples);
        all.push(self.clone());
        all.sort_by_key(|temperature| temperature.samples);
        files::write_json(&dir.as_ref().join(TEMPERATURES), &all)
    }

    /// Other weights need other temperatures.
    pub(super) fn forget(dir: &Path) -> Result<(), FormatError> {
        let path = dir.join(TEMPERATURES);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}
