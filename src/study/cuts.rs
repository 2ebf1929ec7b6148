//! Cuts of finished adapters: in which basis, in which order, how far.

use serde::{Deserialize, Serialize};

use crate::train::PruneGauge;
use crate::train::gauge::Order;

/// A way to cut ranks: a line of the figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutLine {
    pub gauge: PruneGauge,
    pub order: Order,
}

/// Shares of the ranks that are left.
pub const CUT_SHARES: [f64; 5] = [0.75, 0.5, 0.375, 0.25, 0.125];

/// The share at which the gates are drawn too, besides the mean weights.
pub const SAMPLED_SHARE: f64 = 0.5;

/// What an adapter is cut by: every order in the basis of its training, and the orders of the other bases.
pub fn cut_lines(gated: bool, seed: u64) -> Vec<CutLine> {
    let line = |gauge, order| CutLine { gauge, order };
    let mut lines = vec![
        line(PruneGauge::None, Order::Alpha),
        line(PruneGauge::None, Order::Magnitude),
        line(PruneGauge::None, Order::Random { seed }),
        line(PruneGauge::None, Order::Evidence),
        line(PruneGauge::Svd, Order::SingularValue),
        line(PruneGauge::Svd, Order::Evidence),
        line(PruneGauge::Evidence, Order::Evidence),
    ];
    lines.retain(|line| gated || line.order != Order::Alpha);
    lines
}

impl CutLine {
    /// Where its answers are, `cut-svd-singular-value-0.5`.
    pub fn way(self, share: f64) -> String {
        let Self { gauge, order } = self;
        format!("cut-{}-{}-{share}", gauge.name(), order.name())
    }
}

/// A cut that has a row of its own beside adapters trained with fewer ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutTo {
    pub line: CutLine,
    /// What is left is as many ranks as this one would have in all layers together.
    pub rank: usize,
}

/// Cuts of an adapter with more ranks than each of `ranks`: in the basis of the evidence, and of plain LoRA by its singular
/// values alone as well, which takes no images.
pub fn cuts_to(gated: bool, ranks: &[usize]) -> Vec<CutTo> {
    let lines = [
        (PruneGauge::Evidence, Order::Evidence),
        (PruneGauge::Svd, Order::SingularValue),
    ];
    let lines = &lines[..if gated { 1 } else { 2 }];
    let each = ranks.iter().flat_map(|rank| {
        lines.iter().map(|(gauge, order)| CutTo {
            line: CutLine {
                gauge: *gauge,
                order: *order,
            },
            rank: *rank,
        })
    });
    each.collect()
}

impl CutTo {
    /// Where its answers are, `cut-evidence-evidence-to-rank-8`.
    pub fn way(self) -> String {
        let CutLine { gauge, order } = self.line;
        format!(
            "cut-{}-{}-to-rank-{}",
            gauge.name(),
            order.name(),
            self.rank
        )
    }

    /// As tables name it after the run.
    pub fn in_words(self) -> String {
        let by = match self.line.gauge {
            PruneGauge::Evidence => "evidence",
            PruneGauge::Svd => "SVD",
            PruneGauge::None => "magnitude",
        };
        format!("cut to rank {} by {by}", self.rank)
    }
}

/// What is known of a cut beside its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutRecord {
    pub gauge: String,
    pub order: String,
    /// Of the ranks, what is left: 1 before any cut.
    pub share: f64,
    pub ranks: usize,
    /// Numbers that the adapter has, mixed gates included.
    pub scalars: usize,
    /// As the gates' gradients foretell it for the validation images, in nats per image.
    pub predicted_nll_change: f64,
    pub predicted_kl: f64,
}
