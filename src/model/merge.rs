//! Adapters folded into the weights that they adapt.

use std::sync::Arc;

use super::{AdapterLayout, AdapterState, Backbone};

impl Backbone {
    /// The same backbone with W + s B A in place of W in every adapted convolution: the mean weights
    /// (z = 1). It has no hash, being no file.
    pub fn merged(&self, layout: &AdapterLayout, state: &AdapterState, scale: f32) -> Self {
        let mut merged = self.clone();
        merged.sha256.clear();
        for (layer, values) in layout.layers.iter().zip(&state.layers) {
            let Some(place) = layer.conv else { continue };
            let (rank, inputs) = (layer.rank(), layer.in_channels * layer.taps());
            let weight = &mut Arc::make_mut(&mut merged.convs[place]).weight;
            for (o, row) in weight.chunks_exact_mut(inputs).enumerate() {
                for i in 0..rank {
                    let b = scale * values.lora_b[o * rank + i];
                    let a = &values.lora_a[i * inputs..][..inputs];
                    for (weight, a) in row.iter_mut().zip(a) {
                        *weight += b * a;
                    }
                }
            }
        }
        merged
    }
}
