//! Which ranks go, and what their going costs.

use serde::{Deserialize, Serialize};

use crate::model::AdapterState;
use crate::predict::Evaluated;

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

/// The (layer, place) of every rank that [`kept_ranks`] leaves out, the noisiest first.
pub fn noisiest(state: &AdapterState, threshold: f64, min_rank: usize) -> Vec<(usize, usize)> {
    let kept = kept_ranks(state, threshold, min_rank);
    let mut out: Vec<_> = state
        .layers
        .iter()
        .zip(&kept)
        .enumerate()
        .flat_map(|(layer, (values, kept))| {
            let places = (0..values.log_alpha.len()).filter(|place| !kept.contains(place));
            places.map(move |place| (layer, place))
        })
        .collect();
    let log_alpha = |(layer, place): (usize, usize)| state.layers[layer].log_alpha[place];
    // Stable, so that equal ranks go in the order of the network.
    out.sort_by(|a, b| log_alpha(*b).total_cmp(&log_alpha(*a)));
    out
}

/// The places of the ranks to keep in each layer when some (layer, place) go.
pub fn kept_without(state: &AdapterState, gone: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let layers = state.layers.iter().enumerate();
    layers
        .map(|(layer, values)| {
            let places = 0..values.log_alpha.len();
            places
                .filter(|place| !gone.contains(&(layer, *place)))
                .collect()
        })
        .collect()
}

/// Scores on held-out images with the mean weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    pub accuracy: f64,
    pub nll: f64,
    pub ece: f64,
}

impl From<&Evaluated> for HeldOut {
    fn from(evaluated: &Evaluated) -> Self {
        let scores = &evaluated.scores;
        Self {
            accuracy: scores.accuracy,
            nll: scores.nll,
            ece: scores.ece,
        }
    }
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

impl PruneEvent {
    /// Compares the scores of the same images before and after.
    pub fn new(
        ranks_before: usize,
        ranks_after: usize,
        before: Option<&Evaluated>,
        after: Option<&Evaluated>,
    ) -> Self {
        let change = before.zip(after).map(|(before, after)| {
            let pairs = before.log_probs.iter().zip(&after.log_probs);
            pairs
                .map(|(a, b)| f64::from((a - b).abs()))
                .fold(0.0, f64::max)
        });
        Self {
            ranks_before,
            ranks_after,
            before: before.map(HeldOut::from),
            after: after.map(HeldOut::from),
            max_log_prob_change: change,
        }
    }
}
