//! The forward pass as a plan: examples x gate samples to log probabilities.

use crate::formats::GateDistribution;
use crate::gpu::{Gpu, GpuError, Plan, Reading, Slot};
use crate::model::{
    self, AdapterLayout, AdapterSlots, Batch, BatchInput, Cut, DrawnWeights, FrozenNetwork,
    GateTable, Graph, StepValues,
};

/// What a forward plan computes.
#[derive(Clone)]
pub struct ForwardSpec {
    pub cut: Cut,
    pub input: BatchInput,
    /// Examples of a batch.
    pub examples: usize,
    /// Gate samples of each example; the prefix runs once for all of them. One where weights are drawn, which all rows
    /// share.
    pub samples: usize,
    /// s = lora_alpha / r_initial
    pub scale: f32,
    pub distribution: GateDistribution,
    /// Whether to compute the trace of equation (16) as well; meant for one sample with z = 1.
    pub trace: bool,
    /// Whether the inputs of the head can be read.
    pub features: bool,
}

/// A forward pass, ready to be replayed.
pub struct ForwardPlan {
    gpu: Gpu,
    plan: Plan,
    spec: ForwardSpec,
    classes: usize,
    step: wgpu::Buffer,
    pub batch: Batch,
    log_probs: wgpu::Buffer,
    trace: wgpu::Buffer,
    pooled: Slot,
}

impl ForwardPlan {
    /// Builds the plan for the adapters in `parameters` (laid out as `layout` says).
    ///
    /// # Errors
    /// A tensor does not fit the device.
    pub fn new(
        network: &FrozenNetwork,
        layout: &AdapterLayout,
        parameters: &wgpu::Buffer,
        spec: ForwardSpec,
    ) -> Result<Self, GpuError> {
        let gpu = &network.gpu;
        let rows = spec.examples * spec.samples;
        let (table, starts, gate_len) = layout.rank_table(rows, |_| 0.0);
        let draws_weights = spec.distribution == GateDistribution::Weights;
        assert!(
            spec.samples == 1 || !draws_weights,
            "one draw of the weights serves all rows"
        );
        let gates_buffer = gpu.storage_with("gates", &vec![1.0f32; gate_len.max(4)]);
        let step_buffer = StepValues::buffer(gpu);
        let batch = Batch::new(gpu, spec.input.clone(), spec.examples);
        let log_probs = gpu.storage("log probabilities", (rows * layout.classes * 4) as u64);
        let trace = gpu.storage("trace", spec.examples as u64 * 4);

        let mut graph = Graph::new(gpu, network.kernels);
        let input = batch.prefix_input(&mut graph);
        let step = graph.builder.buffer("step", &step_buffer);
        let drawn = (draws_weights && !table.is_empty())
            .then(|| DrawnWeights::record(&mut graph, layout, parameters, step, |_| 0.0));
        if drawn.is_none() && !table.is_empty() {
            let ranks = gpu.storage_with("ranks", &table);
            let gate_table = GateTable {
                step,
                ranks: graph.builder.buffer("ranks", &ranks),
                parameters: graph.builder.buffer("parameters", parameters),
                entries: table.len(),
                rows,
            };
            let examples = graph.builder.buffer("examples", &batch.examples);
            let gates = graph.builder.buffer("gates", &gates_buffer);
            graph.gates(gate_table, spec.distribution, examples, gates, spec.samples);
        }
        let mut slots = AdapterSlots::new(
            &mut graph,
            layout,
            spec.scale,
            parameters,
            &gates_buffer,
            &starts,
            rows,
        );
        if let Some(drawn) = &drawn {
            slots = slots.with_factors(&mut graph, layout, &drawn.buffer);
        }
        let chunk = spec.input.chunk(gpu, network, spec.examples);
        let x = model::prefix(&mut graph, network, spec.cut, input, spec.examples, chunk);
        let activations = model::forward(&mut graph, network, spec.cut, layout, &slots, x, rows);
        let out = graph.builder.buffer("log probabilities", &log_probs);
        graph.log_softmax(activations.logits, out);
        let pooled = activations.pooled.slot;
        if spec.features {
            graph.builder.keep(pooled);
        }
        if spec.trace {
            let trace = graph.builder.buffer("trace", &trace);
            for (number, h) in activations.low_rank() {
                let (layer, slots) = (&layout.layers[number], slots.layer(number));
                graph.trace(
                    format!("{} covariance", layer.name),
                    h,
                    slots,
                    layer.out_channels,
                    spec.scale,
                    trace,
                );
            }
        }
        Ok(Self {
            gpu: gpu.clone(),
            plan: graph.builder.build()?,
            spec,
            classes: layout.classes,
            step: step_buffer,
            batch,
            log_probs,
            trace,
            pooled,
        })
    }

    /// Submits the batch written before; log probabilities `[examples, samples, classes]`.
    pub fn submit(&self, examples: &[u32], values: &StepValues) -> Reading<f32> {
        self.batch.write_examples(examples);
        values.write(&self.gpu, &self.step);
        if self.spec.trace {
            let zeros = vec![0; self.trace.size() as usize];
            self.gpu.write(&self.trace, 0, &zeros);
        }
        self.plan.run();
        let floats = examples.len() * self.spec.samples * self.classes;
        self.gpu.read_later(&self.log_probs, 0, floats as u64 * 4)
    }

    /// Runs the batch written before, waiting for its log probabilities.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn run(&self, examples: &[u32], values: &StepValues) -> Result<Vec<f32>, GpuError> {
        self.submit(examples, values).wait()
    }

    /// The trace of each example of the last run.
    pub fn trace(&self, examples: usize) -> Reading<f32> {
        self.gpu.read_later(&self.trace, 0, examples as u64 * 4)
    }

    /// Inputs of the head in the last run, `[examples, samples, features]`, features padded to four.
    ///
    /// # Errors
    /// The GPU fails.
    ///
    /// # Panics
    /// If the spec does not ask for them.
    pub fn features(&self) -> Result<Vec<f32>, GpuError> {
        assert!(self.spec.features, "asked for when the plan was made");
        self.plan.read(self.pooled)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn spec(&self) -> &ForwardSpec {
        &self.spec
    }
}
