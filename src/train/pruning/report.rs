//! What a prune found and did.

use serde::Serialize;

use crate::model::AdapterLayout;
use crate::train::gauge::{Order, Posterior, Ranks};
use crate::train::{PruneEvent, PruneGauge};

/// One cut of the curve. Scores are of the mean weights on the held-out images.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePoint {
    /// Left of all layers.
    pub ranks: usize,
    /// Numbers that the adapter has left.
    pub scalars: usize,
    /// Nats.
    pub nll: f64,
    /// Of the cut model against the uncut one.
    pub nll_change: f64,
    /// Standard error of that change over the images.
    pub nll_change_se: f64,
    /// The NLL as the gates' gradients foretell it: its slope and the KL; null without evidence.
    pub predicted_nll: Option<f64>,
    /// KL of the cut model from the uncut one, nats per image.
    pub kl: f64,
    /// The same as the gates' gradients foretell it, cross terms included; null without evidence.
    pub predicted_kl: Option<f64>,
    /// 0 to 1.
    pub accuracy: f64,
}

/// A cut, what it costs on the held-out images, and what others would.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The basis of the cut.
    pub gauge: PruneGauge,
    /// What ranks were chosen by.
    pub by: Order,
    /// What became of the gates; null where they are as they were.
    pub posterior: Option<Posterior>,
    /// Ranks that may go: at or above the threshold (all, without one), as far as `min-rank` lets them.
    pub candidates: usize,
    /// Ranks and scores before and after.
    #[serde(flatten)]
    pub event: PruneEvent,
    /// Nats, of the mean weights on the held-out images.
    pub nll_before: f64,
    /// The same after the cut.
    pub nll_after: f64,
    /// 0 to 1, of the mean weights on the held-out images.
    pub accuracy_before: f64,
    /// The same after the cut.
    pub accuracy_after: f64,
    /// As the gates' gradients foretell it: the slope of the NLL on the held-out images, and the KL; null without evidence.
    pub predicted_nll: Option<f64>,
    /// KL of the cut model from the uncut one, nats per image.
    pub kl: f64,
    /// The same as the gates' gradients foretell it, cross terms included; null without evidence.
    pub predicted_kl: Option<f64>,
    /// Training images that the evidence is from; null without.
    pub evidence_images: Option<usize>,
    /// sum_i 1/(1 + alpha_i), or the number of ranks without gates; of the turned ranks, uncut.
    pub effective_rank_before: f64,
    /// The same after the cut.
    pub effective_rank_after: f64,
    /// Numbers that the adapter has.
    pub scalars_before: usize,
    /// The same after the cut.
    pub scalars_after: usize,
    /// Every layer's ranks.
    pub layers: Vec<LayerReport>,
    /// Cuts to the usual shares.
    pub curve: Vec<CurvePoint>,
}

/// The ranks of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Its name.
    pub layer: String,
    /// Ranks before the cut.
    pub before: usize,
    /// Ranks after it.
    pub after: usize,
    /// Those left.
    pub kept: Vec<ScoredRank>,
    /// Those gone.
    pub cut: Vec<ScoredRank>,
}

/// A rank, and what it was chosen by.
#[derive(Clone, Debug, Serialize)]
pub struct ScoredRank {
    /// Its number in the basis of the cut: where that is the trained one, its number before any pruning.
    pub rank: u32,
    /// In the unit of the order.
    pub score: f64,
}

impl LayerReport {
    pub(super) fn all(
        ranks: &Ranks,
        scores: &[Vec<f64>],
        kept: &[Vec<usize>],
        by: Order,
    ) -> Vec<Self> {
        let AdapterLayout { layers, .. } = &ranks.turned.layout;
        let layers = layers.iter().zip(scores).zip(kept);
        layers
            .map(|((layer, scores), kept)| {
                let all = (0..layer.rank()).map(|place| ScoredRank {
                    rank: layer.rank_ids[place],
                    score: match by {
                        Order::Alpha => -scores[place],
                        _ => scores[place],
                    },
                });
                let (left, cut): (Vec<_>, Vec<_>) =
                    all.enumerate().partition(|(place, _)| kept.contains(place));
                let ranks =
                    |of: Vec<(usize, ScoredRank)>| of.into_iter().map(|(_, rank)| rank).collect();
                Self {
                    layer: layer.name.clone(),
                    before: layer.rank(),
                    after: kept.len(),
                    kept: ranks(left),
                    cut: ranks(cut),
                }
            })
            .collect()
    }
}
