//! How many ranks the held-out images let go.

use super::{NllChange, TrainError};
use crate::metrics::mean_and_error;
use crate::predict::{Evaluated, Samples};

/// Nats that one prune with [`auto_rank`](super::TrainConfig::auto_rank) may raise the held-out NLL by, its standard error
/// included. Training goes on after it. A choice, not a measured optimum.
const NLL_INCREASE: f64 = 2e-3;

/// The NLL of each held-out image at the temperature that suits them all best. Without one, a cut looks better than it is:
/// fewer ranks are less overconfident, and that hides what they were worth.
pub(super) struct TemperedNll(Vec<f64>);

impl TemperedNll {
    /// # Errors
    /// An answer is not finite.
    pub fn new(evaluated: &Evaluated, labels: &[u32]) -> Result<Self, TrainError> {
        let fitted = evaluated.fit_temperature(labels, Samples::MEAN)?;
        let tempered = evaluated.at_temperature(labels, fitted.temperature)?;
        Ok(Self(tempered.nll_each(labels)))
    }

    /// Of the same images from `before` to this.
    pub fn change(&self, before: &Self) -> NllChange {
        let changes: Vec<f64> = self.0.iter().zip(&before.0).map(|(a, b)| a - b).collect();
        let (mean, standard_error) = mean_and_error(&changes);
        NllChange {
            mean,
            standard_error,
        }
    }
}

impl NllChange {
    /// Whether the images vouch for a cut that did this: a rise of at most .002 nats, a standard error included. So few
    /// images let few ranks go.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.mean + self.standard_error <= NLL_INCREASE
    }
}
