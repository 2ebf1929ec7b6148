//! Turning every layer of an adapter, with the moments of its training.

use faer::MatRef;

use super::turn::{factor_a, factor_b};
use super::{GaugeError, Turn, evidence, svd};
use crate::model::{AdapterLayout, AdapterState, LayerState, LayoutLayer, ResNet};
use crate::predict::GateFactors;
use crate::train::{PruneGauge, TrainableState};

/// What `find` gives for every layer from its number, A `[r, in k k]` and B `[out, r]`.
///
/// # Errors
/// A layer holds values that are not finite.
pub fn turns<T>(
    layout: &AdapterLayout,
    state: &AdapterState,
    mut find: impl FnMut(usize, MatRef<f64>, MatRef<f64>) -> Option<T>,
) -> Result<Vec<T>, GaugeError> {
    let layers = layout.layers.iter().zip(&state.layers).enumerate();
    layers
        .map(|(number, (spec, values))| {
            let (a, b) = (factor_a(spec, values), factor_b(spec, values));
            let found = find(number, a.as_ref(), b.as_ref());
            found.ok_or_else(|| GaugeError::NotFinite(spec.name.clone()))
        })
        .collect()
}

/// The turn of every layer into a basis, with what that says of each rank: singular values, evidence, or nothing.
///
/// # Errors
/// A layer holds values that are not finite; the basis of the evidence needs `factors`.
pub fn turns_into(
    gauge: PruneGauge,
    layout: &AdapterLayout,
    state: &AdapterState,
    factors: Option<&GateFactors>,
) -> Result<Vec<(Turn, Vec<f64>)>, GaugeError> {
    match gauge {
        PruneGauge::None => {
            let ranks = layout.layers.iter().map(LayoutLayer::rank);
            Ok(ranks
                .map(|rank| (Turn::identity(rank), Vec::new()))
                .collect())
        }
        PruneGauge::Svd => turns(layout, state, |_, a, b| svd(a, b)),
        PruneGauge::Evidence => {
            let factors = factors.ok_or(GaugeError::NoEvidence)?;
            turns(layout, state, |layer, a, b| {
                let layer = &factors.layers[layer];
                evidence(a, b, layer.moments_h.as_ref(), layer.moments_q.as_ref())
            })
        }
    }
}

/// The layout after a turn: ranks are renumbered from 0, being none of those before.
pub fn turned_layout(layout: &AdapterLayout, resnet: &ResNet, turns: &[Turn]) -> AdapterLayout {
    let ids = turns.iter().map(|turn| (0..turn.rank() as u32).collect());
    layout.with_ranks(resnet, &ids.collect::<Vec<_>>())
}

/// The parameters after a turn of every layer. Gates do not survive it as they are: `log_alpha` says what stands in their
/// place, `[ranks]` of each layer.
pub fn turn(
    layout: &AdapterLayout,
    state: &AdapterState,
    turns: &[Turn],
    log_alpha: &[Vec<f32>],
) -> AdapterState {
    let log_alpha = |layer: usize| log_alpha[layer].clone();
    each(layout, state, turns, |turn, spec, values, layer| {
        turn.values(spec, values, log_alpha(layer))
    })
}

impl TrainableState {
    /// The same after a turn of every layer, so that training goes on from it; `log_alpha` as in [`turn`].
    ///
    /// First moments follow the gradient, R' m_A and m_B R^-T. Second moments are those that it would have were the
    /// gradients of ranks uncorrelated: they cannot be cleared in the middle of a run, since AdamW's correction for
    /// moments that start at zero has long run out, and the next steps would be some thirty times too large. Of log
    /// alpha, a new parameter, the first moment is zero and the second the layer's mean.
    pub fn turn(&mut self, resnet: &ResNet, turns: &[Turn], log_alpha: &[Vec<f32>]) {
        let layout = &self.layout;
        self.values = turn(layout, &self.values, turns, log_alpha);
        self.first_moment = each(
            layout,
            &self.first_moment,
            turns,
            |turn, spec, values, _| turn.gradient(spec, values, vec![0.0; turn.rank()]),
        );
        self.second_moment = each(
            layout,
            &self.second_moment,
            turns,
            |turn, spec, values, _| {
                let mean =
                    values.log_alpha.iter().sum::<f32>() / values.log_alpha.len().max(1) as f32;
                turn.squared_gradient(spec, values, vec![mean; turn.rank()])
            },
        );
        self.layout = turned_layout(layout, resnet, turns);
    }
}

fn each(
    layout: &AdapterLayout,
    state: &AdapterState,
    turns: &[Turn],
    layer: impl Fn(&Turn, &LayoutLayer, &LayerState, usize) -> LayerState,
) -> AdapterState {
    let layers = turns.iter().zip(&layout.layers).zip(&state.layers);
    let layers = layers.enumerate();
    AdapterState {
        layers: layers
            .map(|(number, ((turn, spec), values))| layer(turn, spec, values, number))
            .collect(),
        head_weight: state.head_weight.clone(),
        head_bias: state.head_bias.clone(),
    }
}
