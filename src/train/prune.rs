//! Which ranks go, and what their going costs.

use serde::{Deserialize, Serialize};

use crate::model::AdapterState;

/// The places of the ranks to keep in each layer: log alpha below `threshold`, and at least
/// `min_rank` of them, the least noisy first.
pub fn kept_ranks(state: &AdapterState, threshold: f64, min_rank: usize) -> Vec<Vec<usize>> {
    let layer = |log_alpha: &[f32]| {
        let mut order: Vec<usize> = (0..log_alpha.len()).collect();
        order.sort_by(|a, b| log_alpha[*a].total_cmp(&log_alpha[*b]));
        let below = log_alpha
            .iter()
            .filter(|t| f64::from(**t) < threshold)
            .count();
        order.truncate(below.max(min_rank));
        order.sort_unstable();
        order
    };
    state
        .layers
        .iter()
        .map(|values| layer(&values.log_alpha))
        .collect()
}

/// Scores on held-out images with the mean weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub accuracy: f64,
    pub nll: f64,
    pub ece: f64,
}

/// One cut, and what it cost before any further training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneEvent {
    pub ranks_before: usize,
    pub ranks_after: usize,
    /// `None` without a validation split.
    pub before: Option<HeldOut>,
    pub after: Option<HeldOut>,
    /// Largest change of any log probability on the held-out images.
    pub max_log_prob_change: Option<f64>,
}
