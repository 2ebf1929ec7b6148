//! What changes from one run of a plan to the next.

use crate::gpu::Gpu;

/// Which gates the adapters get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateMode {
    /// z = 1: the mean weights.
    Mean,
    /// A draw an example: the local reparameterisation.
    PerExample,
    /// One draw for all examples: consistent functions.
    Shared,
}

/// What the draws are for; part of the key, so that the streams never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Train,
    Predict,
}

/// The values of `shaders/common/step.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct StepValues {
    pub seed: u64,
    pub purpose: Purpose,
    /// The optimiser step, or the number of the first Monte Carlo sample.
    pub draw: u32,
    pub gates: GateMode,
    /// Examples of the batch that are real.
    pub count: usize,
    /// Where the statistics go.
    pub slot: usize,
    pub learning_rate: f32,
    pub log_alpha_learning_rate: f32,
    pub weight_decay: f32,
    /// 1 - beta1^t
    pub correction1: f32,
    /// sqrt(1 - beta2^t)
    pub correction2: f32,
    /// beta kl_scale / N
    pub kl_weight: f32,
}

impl StepValues {
    /// Values of a step that trains nothing.
    pub fn prediction(seed: u64, first_sample: u32, gates: GateMode) -> Self {
        Self {
            seed,
            purpose: Purpose::Predict,
            draw: first_sample,
            gates,
            count: 0,
            slot: 0,
            learning_rate: 0.0,
            log_alpha_learning_rate: 0.0,
            weight_decay: 0.0,
            correction1: 1.0,
            correction2: 1.0,
            kl_weight: 0.0,
        }
    }

    const WORDS: usize = 16;

    /// A uniform buffer for them.
    pub fn buffer(gpu: &Gpu) -> wgpu::Buffer {
        gpu.uniform("step", 4 * Self::WORDS as u64)
    }

    /// Writes them; seen by the next submission.
    pub fn write(&self, gpu: &Gpu, buffer: &wgpu::Buffer) {
        let words: [u32; Self::WORDS] = [
            self.seed as u32,
            (self.seed >> 32) as u32,
            self.purpose as u32,
            self.draw,
            self.gates as u32,
            self.count as u32,
            self.slot as u32,
            self.learning_rate.to_bits(),
            self.log_alpha_learning_rate.to_bits(),
            self.weight_decay.to_bits(),
            self.correction1.to_bits(),
            self.correction2.to_bits(),
            self.kl_weight.to_bits(),
            0,
            0,
            0,
        ];
        gpu.write(buffer, 0, bytemuck::cast_slice(&words));
    }
}
