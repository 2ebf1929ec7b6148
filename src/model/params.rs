//! An adapter as the engine computes with it, in one value.

use super::{AdapterLayout, AdapterState, ResNet};
use crate::formats::GateDistribution;

/// An adapter on a network: which layers and ranks it has, their parameters, and how they act. Files hold it as an
/// [`Adapter`](crate::formats::Adapter), to and from which [`exchange`](super::exchange) goes.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterParams {
    pub layout: AdapterLayout,
    /// Laid out as `layout` says.
    pub state: AdapterState,
    /// s = lora_alpha / r_initial
    pub scale: f32,
    /// What gates are drawn from; `None` where every gate is 1.
    pub gates: Option<GateDistribution>,
}

impl AdapterParams {
    /// Keeps the given ranks of each layer, by their present places.
    pub fn keep(&mut self, resnet: &ResNet, kept: &[Vec<usize>]) {
        self.state.keep(&self.layout, kept);
        self.layout = self.layout.keep(resnet, kept);
    }
}
