//! Gates: drawing them, their gradient, log alpha's gradient and KL, the trace of the covariance.

use crate::formats::GateDistribution;
use crate::gpu::Slot;
use crate::model::LayerSlots;
use crate::model::graph::{Graph, Tensor, u};

/// The prior of a gate, as the shader numbers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prior {
    Molchanov,
    EmpiricalBayes,
    Gaussian { variance: f32 },
}

/// What drawing and differentiating gates share.
#[derive(Clone, Copy)]
pub struct GateTable {
    pub step: Slot,
    pub ranks: Slot,
    pub parameters: Slot,
    /// Entries, padding included.
    pub entries: usize,
    pub rows: usize,
}

impl Graph {
    /// Draws every gate for every row.
    ///
    /// # Panics
    /// If the distribution is one of weights, which have no gates.
    pub fn gates(
        &mut self,
        table: GateTable,
        distribution: GateDistribution,
        examples: Slot,
        gates: Slot,
        samples: usize,
    ) {
        let bernoulli = match distribution {
            GateDistribution::Gaussian => 0,
            GateDistribution::Bernoulli => 1,
            GateDistribution::Weights => panic!("there are no gates to draw"),
        };
        let items = table.entries * table.rows;
        self.elementwise(
            "gates".into(),
            "adapter/gates",
            &[("bernoulli", bernoulli)],
            &[
                ("step", table.step),
                ("ranks", table.ranks),
                ("examples", examples),
                ("parameters", table.parameters),
                ("gates", gates),
            ],
            &[
                ("ranks", u(table.entries)),
                ("rows", u(table.rows)),
                ("samples", u(samples)),
            ],
            items,
            0,
        );
    }

    /// dL/dz of one layer.
    pub fn gate_gradient(&mut self, label: String, h: Tensor, q: Tensor, scale: f32, out: Slot) {
        let items = h.rows * h.map.quads();
        self.elementwise(
            label,
            "adapter/gate_gradient",
            &[],
            &[("h", h.slot), ("q", q.slot), ("gate_gradients", out)],
            &[
                ("positions", u(h.map.positions())),
                ("batch", u(h.rows)),
                ("quads", u(h.map.quads())),
                ("scale", scale.into()),
            ],
            items,
            (8 * items * h.map.positions()) as u64,
        );
    }

    /// dL/d log alpha and the KL of every rank.
    pub fn log_alpha(
        &mut self,
        table: GateTable,
        prior: Prior,
        gates: Slot,
        gate_gradients: Slot,
        gradients: Slot,
        kl: Slot,
    ) {
        let mut params = vec![("ranks", u(table.entries)), ("batch", u(table.rows))];
        let number = match prior {
            Prior::Molchanov => 0,
            Prior::EmpiricalBayes => 1,
            Prior::Gaussian { variance } => {
                params.push(("variance", variance.into()));
                2
            }
        };
        self.elementwise(
            "log alpha gradient and KL".into(),
            "adapter/log_alpha",
            &[("prior", number)],
            &[
                ("step", table.step),
                ("ranks", table.ranks),
                ("parameters", table.parameters),
                ("gates", gates),
                ("gate_gradients", gate_gradients),
                ("gradients", gradients),
                ("kl", kl),
            ],
            &params,
            table.entries,
            (4 * table.entries * table.rows) as u64,
        );
    }

    /// Adds the trace of equation (16) of one layer, which has `channels` outputs, to each example's.
    pub fn trace(
        &mut self,
        label: String,
        h: Tensor,
        layer: LayerSlots,
        channels: usize,
        scale: f32,
        trace: Slot,
    ) {
        let (rank, positions) = (h.map.channels, h.map.positions());
        self.elementwise(
            label,
            "adapter/trace",
            &[],
            &[
                ("h", h.slot),
                ("b", layer.b),
                ("log_alpha", layer.log_alpha),
                ("trace", trace),
            ],
            &[
                ("positions", u(positions)),
                ("batch", u(h.rows)),
                ("rank", u(rank)),
                ("out_quads", u(channels.div_ceil(4))),
                ("scale", scale.into()),
            ],
            h.rows,
            (2 * h.rows * rank * (positions + channels)) as u64,
        );
    }
}
