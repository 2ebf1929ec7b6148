//! A network with adapters on it: the passes that every plan is made of.

use super::{
    Activations, AdapterFactors, AdapterLayout, AdapterSlots, Batch, BatchInput, DrawnWeights,
    FrozenNetwork, GateTable, Graph, LayoutLayer, StepValues, Tensor, WeightTable, backward,
    forward,
};
use crate::formats::GateDistribution;
use crate::gpu::Slot;

/// What plans compute with: a frozen network, and adapters on it that lie on the device.
#[derive(Clone, Copy)]
pub struct AdaptedNetwork<'a> {
    pub network: &'a FrozenNetwork,
    pub layout: &'a AdapterLayout,
    /// Laid out as `layout` says.
    pub parameters: &'a wgpu::Buffer,
    /// s = lora_alpha / r_initial
    pub scale: f32,
}

/// The noise of a pass.
#[derive(Clone, Copy)]
pub struct Noise<'a> {
    pub distribution: GateDistribution,
    /// The KL multiplicity kappa of a rank of each layer.
    pub kappa: &'a dyn Fn(&LayoutLayer) -> f64,
    /// Whether the plan draws its gates; tests write their own.
    pub draw_gates: bool,
}

/// What a pass multiplies its ranks by.
#[derive(Clone, Copy)]
pub enum Drawn {
    /// z = 1
    Nothing,
    Gates(GateTable),
    Weights(WeightTable),
}

/// A forward pass that has been recorded, and what can be recorded on top of it. Rows are examples x gate samples.
pub struct ForwardPass<'a> {
    of: AdaptedNetwork<'a>,
    pub graph: Graph,
    /// What goes in, one an example.
    pub batch: Batch,
    /// What [`StepValues`] are written to, and where the plan finds them.
    pub step: (wgpu::Buffer, Slot),
    pub gates: wgpu::Buffer,
    pub drawn: Drawn,
    pub activations: Activations,
    slots: AdapterSlots,
    gate_starts: Vec<usize>,
    /// f32s of the gates.
    gate_len: usize,
    rows: usize,
}

/// What a backward pass leaves.
pub struct BackwardPass {
    /// dL/dz, laid out as the gates.
    pub gate_gradients: wgpu::Buffer,
    /// What the adapters' gradients are sums over, in the order of the layout.
    pub factors: Vec<AdapterFactors>,
}

impl<'a> AdaptedNetwork<'a> {
    /// Records the draws, the frozen layers once an example, and the rest once a row. Without `noise` z = 1.
    pub fn forward(
        self,
        input: BatchInput,
        examples: usize,
        samples: usize,
        noise: Option<Noise>,
    ) -> ForwardPass<'a> {
        let Self {
            network,
            layout,
            parameters,
            scale,
        } = self;
        let (gpu, rows) = (&network.gpu, examples * samples);
        let kappa = |layer: &LayoutLayer| noise.map_or(0.0, |noise| (noise.kappa)(layer));
        let (table, gate_starts, gate_len) = layout.rank_table(rows, kappa);
        let gates = gpu.storage_with("gates", &vec![1.0f32; gate_len.max(4)]);
        let batch = Batch::new(gpu, input, examples);
        let step_buffer = StepValues::buffer(gpu);
        let mut graph = Graph::new(gpu, network.kernels);
        let step = graph.builder.buffer("step", &step_buffer);
        let mut slots = AdapterSlots::new(
            &mut graph,
            layout,
            scale,
            parameters,
            &gates,
            &gate_starts,
            rows,
        );
        let drawn = match noise.filter(|_| !table.is_empty()) {
            None => Drawn::Nothing,
            Some(noise) if noise.distribution == GateDistribution::Weights => {
                let drawn = DrawnWeights::record(&mut graph, layout, parameters, step, noise.kappa);
                slots = slots.with_factors(&mut graph, layout, &drawn.buffer);
                Drawn::Weights(drawn.table)
            }
            Some(noise) => {
                let ranks = gpu.storage_with("ranks", &table);
                let table = GateTable {
                    step,
                    ranks: graph.builder.buffer("ranks", &ranks),
                    parameters: graph.builder.buffer("parameters", parameters),
                    entries: table.len(),
                    rows,
                };
                if noise.draw_gates {
                    let examples = graph.builder.buffer("examples", &batch.examples);
                    let gates = graph.builder.buffer("gates", &gates);
                    graph.gates(table, noise.distribution, examples, gates, samples);
                }
                Drawn::Gates(table)
            }
        };
        let cut = layout.cut(&network.resnet);
        let x = batch.features(&mut graph, network, cut);
        let activations = forward(&mut graph, network, cut, layout, &slots, x, rows);
        ForwardPass {
            of: self,
            graph,
            batch,
            step: (step_buffer, step),
            gates,
            drawn,
            activations,
            slots,
            gate_starts,
            gate_len,
            rows,
        }
    }
}

impl Drawn {
    /// Entries of its table.
    pub fn entries(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Gates(table) => table.entries,
            Self::Weights(table) => table.entries,
        }
    }
}

impl ForwardPass<'_> {
    /// Records the logits' softmax: log probabilities `[rows, classes]`.
    pub fn log_probs(&mut self) -> wgpu::Buffer {
        let floats = self.rows * self.of.layout.classes;
        let gpu = &self.of.network.gpu;
        let log_probs = gpu.storage("log probabilities", 4 * floats as u64);
        let out = self.graph.builder.buffer("log probabilities", &log_probs);
        self.graph.log_softmax(self.activations.logits, out);
        log_probs
    }

    /// Records the trace of equation (16) of every example, which is added to what the buffer has; meant for one sample
    /// with z = 1.
    pub fn trace(&mut self, trace: &wgpu::Buffer) {
        let trace = self.graph.builder.buffer("trace", trace);
        for (number, h) in self.activations.low_rank() {
            let (layer, slots) = (&self.of.layout.layers[number], self.slots.layer(number));
            self.graph.trace(
                format!("{} covariance", layer.name),
                h,
                slots,
                layer.out_channels,
                self.of.scale,
                trace,
            );
        }
    }

    /// f32s of a buffer with something for every logit of every row, classes padded to four.
    pub fn logit_floats(&self) -> usize {
        self.rows * self.activations.logits.map.floats()
    }

    /// dL/dlogits `[rows, classes]`, classes padded to four, as a buffer has it.
    pub fn logit_gradients(&mut self, buffer: &wgpu::Buffer) -> Tensor {
        Tensor {
            slot: self.graph.builder.buffer("d logits", buffer),
            textured: false,
            ..self.activations.logits
        }
    }

    /// Records the backward pass from dL/dlogits. The parameters' gradients, summed over the rows, go to `gradients`, laid
    /// out as the parameters.
    pub fn backward(&mut self, grad: Tensor, gradients: &wgpu::Buffer) -> BackwardPass {
        let AdaptedNetwork {
            network,
            layout,
            scale,
            ..
        } = self.of;
        let graph = &mut self.graph;
        let gate_gradients = (network.gpu).storage("gate gradients", 4 * self.gate_len as u64);
        let into = AdapterSlots::new(
            graph,
            layout,
            scale,
            gradients,
            &gate_gradients,
            &self.gate_starts,
            self.rows,
        );
        let mut factors = backward(
            graph,
            network,
            layout,
            &self.slots,
            &into,
            &self.activations,
            grad,
        );
        factors.sort_by_key(|factors| factors.number);
        BackwardPass {
            gate_gradients,
            factors,
        }
    }
}
