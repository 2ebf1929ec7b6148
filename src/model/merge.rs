//! Adapters folded into the weights that they adapt.

use std::sync::Arc;

use super::{AdapterLayout, AdapterState, Backbone};
use crate::formats::add_product;

impl Backbone {
    /// The same backbone with W + s B A in place of W in every adapted convolution: the mean weights
    /// (z = 1). It has no hash, being no file, and its weights lie in f32, whatever these had.
    pub fn merged(&self, layout: &AdapterLayout, state: &AdapterState, scale: f32) -> Self {
        let mut merged = self.clone();
        merged.sha256.clear();
        let rounded = merged.convs.iter_mut().filter(|conv| conv.scales.is_some());
        for conv in rounded {
            Arc::make_mut(conv).scales = None;
        }
        for (layer, values) in layout.layers.iter().zip(&state.layers) {
            let Some(place) = layer.conv else { continue };
            let weight = &mut Arc::make_mut(&mut merged.convs[place]).weight;
            add_product(weight, scale, &values.lora_b, &values.lora_a, layer.rank());
        }
        merged
    }
}
