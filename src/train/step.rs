//! One training step as a plan: input, prefix, gates, suffix, loss, backward, AdamW.

use super::adamw::{Adam, Trainable};
use crate::formats::GateDistribution;
use crate::gpu::{Gpu, GpuError, Plan, Reading, Submission};
use crate::model::{
    AdaptedNetwork, Batch, BatchInput, Drawn, ForwardPass, FrozenNetwork, LayoutLayer, Noise,
    Prior, StepValues,
};

/// What a training step computes.
pub struct StepSpec<'a> {
    pub input: BatchInput,
    /// Rows; a last partial batch leaves some unused.
    pub batch: usize,
    /// s = lora_alpha / r_initial
    pub scale: f32,
    pub distribution: GateDistribution,
    /// The KL of the gates; `None` leaves log alpha alone. That of drawn weights is Molchanov's.
    pub prior: Option<Prior>,
    /// The KL multiplicity kappa of a rank of each layer.
    pub kappa: &'a dyn Fn(&LayoutLayer) -> f64,
    /// Steps whose statistics are kept.
    pub slots: usize,
    /// Whether the plan draws its gates, if any; tests inject their own.
    pub draw_gates: bool,
    pub adam: Adam,
}

/// A training step, ready to be replayed, and the buffers a batch goes into.
pub struct TrainStep {
    gpu: Gpu,
    plan: Plan,
    step: wgpu::Buffer,
    pub batch: Batch,
    labels: wgpu::Buffer,
    pub gates: wgpu::Buffer,
    statistics: wgpu::Buffer,
    class_weights: wgpu::Buffer,
}

impl TrainStep {
    /// Builds the plan of a step for these parameters.
    ///
    /// # Errors
    /// A tensor does not fit the device.
    pub fn new(
        network: &FrozenNetwork,
        trainable: &Trainable,
        spec: &StepSpec,
    ) -> Result<Self, GpuError> {
        let gpu = &network.gpu;
        let adapted = AdaptedNetwork {
            network,
            layout: &trainable.layout,
            parameters: &trainable.values,
            scale: spec.scale,
        };
        let noise = Noise {
            distribution: spec.distribution,
            kappa: spec.kappa,
            draw_gates: spec.draw_gates,
        };
        let mut pass = adapted.forward(spec.input.clone(), spec.batch, 1, Some(noise));
        let drawn = pass.drawn;
        let labels_buffer = gpu.storage("labels", spec.batch as u64 * 4);
        let statistics_buffer = gpu.storage("statistics", spec.slots as u64 * 16);
        let class_weights_buffer =
            gpu.storage_with("class weights", &vec![1f32; trainable.layout.classes]);
        let losses = gpu.storage("losses", spec.batch as u64 * 8);
        let kl = gpu.storage("kl", drawn.entries() as u64 * 4);

        let (step_buffer, step) = pass.step.clone();
        let labels = pass.graph.builder.buffer("labels", &labels_buffer);
        let losses = pass.graph.builder.buffer("losses", &losses);
        let logits = pass.activations.logits;
        let weights = pass
            .graph
            .builder
            .buffer("class weights", &class_weights_buffer);
        let grad = pass
            .graph
            .cross_entropy(step, logits, labels, weights, losses);
        let backward = pass.backward(grad, &trainable.gradients);
        let ForwardPass {
            mut graph,
            batch,
            gates: gates_buffer,
            ..
        } = pass;
        let kl = graph.builder.buffer("kl", &kl);
        if let Some(prior) = spec.prior {
            let gradients = graph.builder.buffer("gradients", &trainable.gradients);
            match drawn {
                Drawn::Nothing => (),
                Drawn::Weights(table) => graph.weight_noise(table, gradients, kl),
                Drawn::Gates(table) => {
                    let gates = graph.builder.buffer("gates", &gates_buffer);
                    let gate_gradients = &backward.gate_gradients;
                    let gate_gradients = graph.builder.buffer("gate gradients", gate_gradients);
                    graph.log_alpha(table, prior, gates, gate_gradients, gradients, kl);
                }
            }
        }
        let statistics = graph.builder.buffer("statistics", &statistics_buffer);
        graph.statistics(step, losses, kl, statistics, spec.batch, drawn.entries());
        trainable.record_step(&mut graph, step, spec.adam);
        Ok(Self {
            gpu: gpu.clone(),
            plan: graph.builder.build()?,
            step: step_buffer,
            batch,
            labels: labels_buffer,
            gates: gates_buffer,
            statistics: statistics_buffer,
            class_weights: class_weights_buffer,
        })
    }

    /// From now on the loss of each row is multiplied by the weight of its class, `[classes]`; without, by 1.
    pub fn weigh_classes(&self, weights: &[f32]) {
        self.gpu
            .write(&self.class_weights, 0, bytemuck::cast_slice(weights));
    }

    /// Runs one step on the batch written before. `examples` are the numbers that key the gates.
    pub fn run(&self, labels: &[u32], examples: &[u32], values: &StepValues) -> Submission {
        self.gpu
            .write(&self.labels, 0, bytemuck::cast_slice(labels));
        self.batch.write_examples(examples);
        values.write(&self.gpu, &self.step);
        self.plan.run()
    }

    /// Statistics of the first `steps` slots: sum of weighted cross-entropies, hits, KL, examples.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn statistics(&self, steps: usize) -> Result<Vec<[f32; 4]>, GpuError> {
        self.gpu.read(&self.statistics, 0, steps as u64 * 16)
    }

    /// Statistics of one slot, as the steps submitted so far leave them.
    pub fn statistic(&self, slot: usize) -> Reading<[f32; 4]> {
        self.gpu.read_later(&self.statistics, slot as u64 * 16, 16)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
