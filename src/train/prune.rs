//! Which ranks are cut, and what that costs.

use serde::{Deserialize, Serialize};

use crate::model::{AdapterLayout, AdapterState};
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
    let log_alpha = |(layer, place): (usize, usize)| state.layers[layer].log_alpha[place];
    let layers = state.layers.iter();
    let scores = layers.map(|values| values.log_alpha.iter().map(|t| -f64::from(*t)).collect());
    let mut out = weakest(&scores.collect::<Vec<_>>(), min_rank);
    out.retain(|rank| f64::from(log_alpha(*rank)) >= threshold);
    out
}

/// The (layer, place) of every rank, the one with the lowest of `scores` first, without the `min_rank` highest of each
/// layer.
pub fn weakest(scores: &[Vec<f64>], min_rank: usize) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (layer, scores) in scores.iter().enumerate() {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut over = order.split_off(min_rank.min(order.len()));
        over.sort_unstable();
        out.extend(over.into_iter().map(|place| (layer, place)));
    }
    let score = |(layer, place): (usize, usize)| scores[layer][place];
    // Stable, so that equal ranks go in the order of the network.
    out.sort_by(|a, b| score(*a).total_cmp(&score(*b)));
    out
}

/// The farthest of `0..=most` that is good, 0 being so, by bisection. Where what is good does not end at one place this is
/// an end of one run of it, not always the farthest.
///
/// # Errors
/// Those of `is_good`.
pub fn farthest<E>(
    most: usize,
    mut is_good: impl FnMut(usize) -> Result<bool, E>,
) -> Result<usize, E> {
    if most == 0 || is_good(most)? {
        return Ok(most);
    }
    let (mut good, mut bad) = (0, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match is_good(middle)? {
            true => good = middle,
            false => bad = middle,
        }
    }
    Ok(good)
}

/// |a_i| |b_i| of every rank, the Frobenius norm of its part of B A.
pub fn magnitudes(layout: &AdapterLayout, state: &AdapterState) -> Vec<Vec<f64>> {
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        let squares = values.map(|value| f64::from(value).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let layers = layout.layers.iter().zip(&state.layers);
    layers
        .map(|(spec, values)| {
            let inputs = spec.in_channels * spec.taps();
            let of_rank = |place: usize| {
                let a = &values.lora_a[place * inputs..][..inputs];
                let b = values.lora_b.iter().skip(place).step_by(spec.rank());
                norm(&mut a.iter().copied()) * norm(&mut b.copied())
            };
            (0..spec.rank()).map(of_rank).collect()
        })
        .collect()
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
    /// Share of the images, 0 to 1.
    pub accuracy: f64,
    /// Mean negative log likelihood, nats.
    pub nll: f64,
    /// Expected calibration error of 15 bins, 0 to 1.
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

/// The change of the NLL of the same images, in nats per image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NllChange {
    /// Over the images.
    pub mean: f64,
    /// Of that mean, paired over the images.
    pub standard_error: f64,
}

/// One cut, and what it cost before any further training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneEvent {
    /// Of all layers.
    pub ranks_before: usize,
    /// Of all layers.
    pub ranks_after: usize,
    /// `None` without a validation split.
    pub before: Option<HeldOut>,
    /// The same after it.
    pub after: Option<HeldOut>,
    /// Largest change of any log probability on the held-out images.
    pub max_log_prob_change: Option<f64>,
    /// On the held-out images, before and after at the temperature that suits each best: what the cut was chosen by. With
    /// [`auto_rank`](super::TrainConfig::auto_rank) alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tempered_nll_change: Option<NllChange>,
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
            tempered_nll_change: None,
        }
    }
}
