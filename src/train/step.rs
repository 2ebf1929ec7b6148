//! One training step as a plan: input, prefix, gates, suffix, loss, backward, AdamW.

use super::adamw::{Adam, Trainable};
use crate::formats::GateDistribution;
use crate::gpu::{Gpu, GpuError, Plan, Reading, Submission};
use crate::model::{
    self, AdapterSlots, Batch, BatchInput, Cut, DrawnWeights, FrozenNetwork, GateTable, Graph,
    LayoutLayer, Prior, StepValues,
};

/// What a training step computes.
pub struct StepSpec<'a> {
    pub cut: Cut,
    pub input: BatchInput,
    /// Rows; a last partial batch leaves some unused.
    pub batch: usize,
    /// Rows of the prefix at a time.
    pub chunk: usize,
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
        let (layout, rows) = (&trainable.layout, spec.batch);
        let (table, starts, gate_len) = layout.rank_table(rows, spec.kappa);
        let gates_buffer = gpu.storage_with("gates", &vec![1.0f32; gate_len.max(4)]);
        let gate_gradients = gpu.storage("gate gradients", gate_len as u64 * 4);
        let step_buffer = StepValues::buffer(gpu);
        let batch = Batch::new(gpu, spec.input.clone(), rows);
        let labels_buffer = gpu.storage("labels", rows as u64 * 4);
        let statistics_buffer = gpu.storage("statistics", spec.slots as u64 * 16);
        let kl = gpu.storage("kl", table.len() as u64 * 4);
        let losses = gpu.storage("losses", rows as u64 * 8);
        let ranks = gpu.storage_with("ranks", &table);

        let mut graph = Graph::new(gpu, network.kernels);
        let step = graph.builder.buffer("step", &step_buffer);
        let input = batch.prefix_input(&mut graph);
        let gate_table = GateTable {
            step,
            ranks: graph.builder.buffer("ranks", &ranks),
            parameters: graph.builder.buffer("parameters", &trainable.values),
            entries: table.len(),
            rows,
        };
        let gates = graph.builder.buffer("gates", &gates_buffer);
        let drawn = (spec.distribution == GateDistribution::Weights && !table.is_empty())
            .then(|| DrawnWeights::record(&mut graph, layout, &trainable.values, step, spec.kappa));
        if drawn.is_none() && spec.draw_gates && !table.is_empty() {
            let examples = graph.builder.buffer("examples", &batch.examples);
            graph.gates(gate_table, spec.distribution, examples, gates, 1);
        }
        let mut slots = |parameters, gates| {
            AdapterSlots::new(
                &mut graph, layout, spec.scale, parameters, gates, &starts, rows,
            )
        };
        let mut slots_read = slots(&trainable.values, &gates_buffer);
        let slots_written = slots(&trainable.gradients, &gate_gradients);
        if let Some(drawn) = &drawn {
            slots_read = slots_read.with_factors(&mut graph, layout, &drawn.buffer);
        }
        let x = model::prefix(&mut graph, network, spec.cut, input, rows, spec.chunk);
        let activations =
            model::forward(&mut graph, network, spec.cut, layout, &slots_read, x, rows);
        let labels = graph.builder.buffer("labels", &labels_buffer);
        let losses = graph.builder.buffer("losses", &losses);
        let grad = graph.cross_entropy(step, activations.logits, labels, losses);
        model::backward(
            &mut graph,
            network,
            layout,
            &slots_read,
            &slots_written,
            &activations,
            grad,
        );
        let kl = graph.builder.buffer("kl", &kl);
        if let Some(prior) = spec.prior.filter(|_| !table.is_empty()) {
            let gradients = graph.builder.buffer("gradients", &trainable.gradients);
            match &drawn {
                Some(drawn) => graph.weight_noise(drawn.table, gradients, kl),
                None => {
                    let gate_gradients = graph.builder.buffer("gate gradients", &gate_gradients);
                    graph.log_alpha(gate_table, prior, gates, gate_gradients, gradients, kl);
                }
            }
        }
        let statistics = graph.builder.buffer("statistics", &statistics_buffer);
        let kl_entries = drawn.map_or(table.len(), |drawn| drawn.table.entries);
        graph.statistics(step, losses, kl, statistics, rows, kl_entries);
        trainable.record_step(&mut graph, step, spec.adam);
        Ok(Self {
            gpu: gpu.clone(),
            plan: graph.builder.build()?,
            step: step_buffer,
            batch,
            labels: labels_buffer,
            gates: gates_buffer,
            statistics: statistics_buffer,
        })
    }

    /// Runs one step on the batch written before. `examples` are the numbers that key the gates.
    pub fn run(&self, labels: &[u32], examples: &[u32], values: &StepValues) -> Submission {
        self.gpu
            .write(&self.labels, 0, bytemuck::cast_slice(labels));
        self.batch.write_examples(examples);
        values.write(&self.gpu, &self.step);
        self.plan.run()
    }

    /// Statistics of the first `steps` slots: sum of cross-entropies, hits, KL, examples.
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
