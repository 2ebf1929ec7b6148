//! Weights drawn about their means instead of gates, the paper's authors' additive posterior: every weight of A and
//! B is N(mu, sigma_i^2), sigma_i shared by the weights of a rank, and z = 1.

use super::ops::WeightTable;
use super::{AdapterLayout, Graph, LayoutLayer};
use crate::gpu::Slot;

/// One rank's weights; see `shaders/common/weights.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct WeightEntry {
    pub layer: u32,
    pub id: u32,
    pub rho: u32,
    pub a: u32,
    pub b: u32,
    pub taps: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub kl: f32,
}

impl AdapterLayout {
    /// The ranks of all layers. `kappa` gives each layer's KL multiplicity, which the weights of a rank share.
    pub fn weight_table(&self, kappa: impl Fn(&LayoutLayer) -> f64) -> Vec<WeightEntry> {
        let layers = self.layers.iter();
        let of_layer = |layer: &LayoutLayer| -> Vec<WeightEntry> {
            let quads_of_a = layer.taps() * layer.in_channels.div_ceil(4);
            let quads_of_b = layer.out_channels.div_ceil(4);
            let entry = |(place, id): (usize, &u32)| WeightEntry {
                layer: layer.number(),
                id: *id,
                rho: (layer.log_alpha.start + place) as u32,
                a: (layer.a.start / 4 + place * quads_of_a) as u32,
                b: (layer.b.start / 4 + place * quads_of_b) as u32,
                taps: layer.taps() as u32,
                inputs: layer.in_channels as u32,
                outputs: layer.out_channels as u32,
                kl: (kappa(layer) / layer.params_per_rank() as f64) as f32,
            };
            layer.rank_ids.iter().enumerate().map(entry).collect()
        };
        layers.flat_map(of_layer).collect()
    }
}

/// The weights that a plan draws.
pub struct DrawnWeights {
    pub table: WeightTable,
    /// Laid out as the parameters; A and B alone are written.
    pub buffer: wgpu::Buffer,
}

impl DrawnWeights {
    /// Records the draw of all weights about their means in `parameters`; the layout has ranks.
    pub fn record(
        graph: &mut Graph,
        layout: &AdapterLayout,
        parameters: &wgpu::Buffer,
        step: Slot,
        kappa: impl Fn(&LayoutLayer) -> f64,
    ) -> Self {
        let entries = layout.weight_table(kappa);
        let builder = &mut graph.builder;
        let ranks = builder.gpu().storage_with("weight ranks", &entries);
        let buffer = builder
            .gpu()
            .storage("drawn weights", layout.len as u64 * 4);
        let table = WeightTable {
            step,
            ranks: builder.buffer("weight ranks", &ranks),
            parameters: builder.buffer("parameters", parameters),
            drawn: builder.buffer("drawn weights", &buffer),
            entries: entries.len(),
        };
        graph.draw_weights(table);
        Self { table, buffer }
    }
}
