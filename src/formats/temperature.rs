//! Temperatures fitted to an adapter, in a file beside its weights.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FormatError, checksum};

pub(super) const TEMPERATURES: &str = "temperature.json";

const WAY_OUT: &str = "fit it again";

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

/// The file's content.
#[derive(Default, Serialize, Deserialize)]
struct Temperatures {
    adapter_sha256: String,
    temperatures: Vec<Temperature>,
}

impl Temperature {
    /// Those in `dir`, one a number of samples; none if none was fitted. `adapter` is the
    /// [`Adapter::sha256`](super::Adapter::sha256) of what they are to be used with.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or speaks of another adapter.
    pub fn load_all(dir: impl AsRef<Path>, adapter: &str) -> Result<Vec<Self>, FormatError> {
        let path = dir.as_ref().join(TEMPERATURES);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let found: Temperatures = checksum::read_json(&path, "temperatures", WAY_OUT)?;
        match found.adapter_sha256 == adapter {
            true => Ok(found.temperatures),
            false => Err(FormatError::Changed {
                file: path.display().to_string(),
                found: "it was fitted to another adapter than the one that is there now",
                way_out: WAY_OUT,
            }),
        }
    }

    /// Keeps it in `dir`. An earlier one for as many samples goes, and so do those of other adapters.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>, adapter: &str) -> Result<(), FormatError> {
        // What cannot be read is about to be fitted again.
        let mut all = Self::load_all(&dir, adapter).unwrap_or_default();
        all.retain(|other| other.samples != self.samples);
        all.push(self.clone());
        all.sort_by_key(|temperature| temperature.samples);
        let content = Temperatures {
            adapter_sha256: adapter.to_owned(),
            temperatures: all,
        };
        checksum::write_json(&dir.as_ref().join(TEMPERATURES), &content)
    }
}
