//! What ranks are worth: gate gradients in a basis, and what follows from them.

use faer::Mat;

use super::Turn;
use crate::model::{AdapterLayout, LayoutLayer};
use crate::predict::GateFactors;
use crate::train::LOG_ALPHA_RANGE;
use crate::train::kl::KlMultiplicity;

/// Training images that evidence is taken from by default.
pub const EVIDENCE_IMAGES: usize = 2_000;

/// The gradient of the NLL with respect to every gate, for images with some labels.
pub struct GateGradients {
    /// `[images x labels, ranks]` of each layer.
    layers: Vec<Mat<f64>>,
}

impl GateGradients {
    /// In the basis after `turns`.
    pub fn new(factors: &GateFactors, turns: &[Turn]) -> Self {
        let layers = factors.layers.iter().zip(turns);
        Self {
            layers: layers
                .map(|(layer, turn)| layer.gradients(turn.left.as_ref(), turn.right.as_ref()))
                .collect(),
        }
    }

    /// N E[u_i^2] of every rank for N training images: the curvature of the log likelihood in its gate, twice the nats
    /// that it gains.
    pub fn evidence(&self, images: usize) -> Vec<Vec<f64>> {
        let of_layer = |gradients: &Mat<f64>| {
            let scale = images as f64 / gradients.nrows().max(1) as f64;
            let ranks = gradients.col_iter();
            ranks.map(|rank| scale * rank.squared_norm_l2()).collect()
        };
        self.layers.iter().map(of_layer).collect()
    }

    /// KL of the model without some (layer, place) from the whole one, to second order and with all cross terms:
    /// 1/2 E[(sum of the gradients of what goes)^2], nats per image, where labels were drawn from the model.
    pub fn predicted_kl(&self, gone: &[(usize, usize)]) -> f64 {
        0.5 * self.mean(gone, |sum| sum.powi(2))
    }

    /// The change of the NLL to first order when their gates go from 1 to 0: -E[sum of the gradients of what goes], nats
    /// per image, where labels are the images' own.
    pub fn slope(&self, gone: &[(usize, usize)]) -> f64 {
        -self.mean(gone, |sum| sum)
    }

    /// The mean over images and labels of something of the sum of some gates' gradients.
    fn mean(&self, gates: &[(usize, usize)], of: impl Fn(f64) -> f64) -> f64 {
        // A layer without ranks has no rows.
        let draws = self.layers.iter().map(Mat::nrows).max().unwrap_or(0);
        let sum = |draw: usize| -> f64 {
            let gates = gates.iter();
            gates
                .map(|(layer, place)| self.layers[*layer][(draw, *place)])
                .sum()
        };
        (0..draws).map(|draw| of(sum(draw))).sum::<f64>() / draws.max(1) as f64
    }
}

/// log alpha of every rank for evidence `[ranks]` of each layer, where kappa is `kl_scale` times that of `multiplicity`.
pub fn refitted(
    kl_scale: f64,
    multiplicity: KlMultiplicity,
    layout: &AdapterLayout,
    evidence: &[Vec<f64>],
) -> Vec<Vec<f32>> {
    let layers = layout.layers.iter().zip(evidence);
    let layer = |(layer, evidence): (&LayoutLayer, &Vec<f64>)| {
        let kappa = kl_scale * multiplicity.kappa(layer.params_per_rank());
        let ranks = evidence.iter();
        ranks.map(|e| best_log_alpha(kappa, *e) as f32).collect()
    };
    layers.map(layer).collect()
}

/// log alpha where the ELBO of a rank is highest: alpha (1 + alpha) = kappa / e, within what training projects it to.
pub fn best_log_alpha(kappa: f64, evidence: f64) -> f64 {
    let (low, high) = LOG_ALPHA_RANGE;
    let alpha = ((1.0 + 4.0 * kappa / evidence).sqrt() - 1.0) / 2.0;
    match alpha.is_nan() {
        // Neither prior nor data say anything.
        true => f64::from(low),
        false => alpha.ln().clamp(low.into(), high.into()),
    }
}
