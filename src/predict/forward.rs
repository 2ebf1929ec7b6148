//! The forward pass as a plan: examples x gate samples to log probabilities.

use crate::formats::GateDistribution;
use crate::gpu::{Gpu, GpuError, Plan, Reading, Slot};
use crate::model::{AdaptedNetwork, Batch, BatchInput, Noise, StepValues, Tensor};

/// What a forward plan computes.
#[derive(Clone)]
pub struct ForwardSpec {
    pub input: BatchInput,
    /// Examples of a batch.
    pub examples: usize,
    /// Gate samples of each example; the prefix runs once for all of them. One where weights are drawn, which all rows
    /// share.
    pub samples: usize,
    pub distribution: GateDistribution,
    /// Whether to compute the trace of equation (16) as well; meant for one sample with z = 1.
    pub trace: bool,
    /// Whether the inputs of the head can be read.
    pub features: bool,
    /// Whether the map that they are pooled from can be read.
    pub last_map: bool,
}

/// A forward pass, ready to be replayed.
pub struct ForwardPlan {
    gpu: Gpu,
    plan: Plan,
    spec: ForwardSpec,
    classes: usize,
    features: usize,
    step: wgpu::Buffer,
    pub batch: Batch,
    log_probs: wgpu::Buffer,
    trace: wgpu::Buffer,
    pooled: Slot,
    last: Tensor,
}

impl ForwardPlan {
    /// Builds the plan for a network with adapters.
    ///
    /// # Errors
    /// A tensor does not fit the device.
    pub fn new(adapted: AdaptedNetwork, spec: ForwardSpec) -> Result<Self, GpuError> {
        assert!(
            spec.samples == 1 || spec.distribution != GateDistribution::Weights,
            "one draw of the weights serves all rows"
        );
        let gpu = &adapted.network.gpu;
        let noise = Noise {
            distribution: spec.distribution,
            kappa: &|_| 0.0,
            draw_gates: true,
        };
        let (input, examples) = (spec.input.clone(), spec.examples);
        let mut pass = adapted.forward(input, examples, spec.samples, Some(noise));
        let log_probs = pass.log_probs();
        let pooled = pass.activations.pooled.slot;
        if spec.features {
            pass.graph.builder.keep(pooled);
        }
        let last = pass.activations.last;
        if spec.last_map {
            pass.graph.builder.keep(last.slot);
        }
        let trace = gpu.storage("trace", examples as u64 * 4);
        if spec.trace {
            pass.trace(&trace);
        }
        Ok(Self {
            gpu: gpu.clone(),
            plan: pass.graph.builder.build()?,
            spec,
            classes: adapted.layout.classes,
            features: adapted.layout.features,
            step: pass.step.0,
            batch: pass.batch,
            log_probs,
            trace,
            pooled,
            last,
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

    /// Inputs of the head for the first rows of the last run, `[rows, features]`; rows are examples, and their samples.
    ///
    /// # Errors
    /// The GPU fails.
    ///
    /// # Panics
    /// If the spec does not ask for them.
    pub fn pooled(&self, rows: usize) -> Result<Vec<f32>, GpuError> {
        assert!(self.spec.features, "asked for when the plan was made");
        let padded = self.plan.read(self.pooled)?;
        let found = padded.chunks_exact(self.features.next_multiple_of(4));
        let found = found.take(rows).flat_map(|row| &row[..self.features]);
        Ok(found.copied().collect())
    }

    /// The map that the features are pooled from in the last run, and its values `[positions, rows, channels]`, channels padded to
    /// four.
    ///
    /// # Errors
    /// The GPU fails.
    ///
    /// # Panics
    /// If the spec does not ask for it.
    pub fn last_map(&self) -> Result<(Tensor, Vec<f32>), GpuError> {
        assert!(self.spec.last_map, "asked for when the plan was made");
        Ok((self.last, self.plan.read(self.last.slot)?))
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn spec(&self) -> &ForwardSpec {
        &self.spec
    }
}
