//! AdamW over all trainable parameters, and where they and their moments live.

use crate::gpu::{Gpu, GpuError, Reading, Slot};
use crate::model::{AdapterLayout, AdapterState, Graph, ResNet, u};

/// AdamW's constants (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// What log alpha, or what stands in its place, is projected to after each step.
    pub log_alpha_range: (i32, i32),
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            log_alpha_range: LOG_ALPHA_RANGE,
        }
    }
}

impl Adam {
    /// The bias corrections of step `t` (from 1): 1 - beta1^t and sqrt(1 - beta2^t).
    pub fn corrections(&self, t: u64) -> (f32, f32) {
        let power = |beta: f64| beta.powf(t as f64);
        (
            (1.0 - power(self.beta1)) as f32,
            (1.0 - power(self.beta2)).sqrt() as f32,
        )
    }
}

/// log alpha is projected to this range after each step (Molchanov et al. 2017 clip at +-8).
pub const LOG_ALPHA_RANGE: (i32, i32) = (-10, 8);

/// log sigma^2 of drawn weights likewise; the authors clamp it to this range going forward.
pub const LOG_VARIANCE_RANGE: (i32, i32) = (-20, 2);

/// The trainable parameters on the GPU, their gradients and both moments; separate buffers, since
/// a dispatch may not read a buffer that it writes.
pub struct Trainable {
    pub layout: AdapterLayout,
    pub values: wgpu::Buffer,
    pub gradients: wgpu::Buffer,
    pub first_moment: wgpu::Buffer,
    pub second_moment: wgpu::Buffer,
    groups: wgpu::Buffer,
    /// The first step with a number that is not finite, and which it was; see `optimizer/adamw.wgsl`.
    unsound: wgpu::Buffer,
}

/// A number that is not finite, or a second moment below zero, and the first step that met one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    /// The optimiser step, from 0.
    pub step: u64,
    /// As in "the gradient of layer4.0.conv1.lora_A".
    pub what: String,
}

/// What [`Trainable::look`] waits for.
pub struct Look<'a> {
    layout: &'a AdapterLayout,
    reading: Reading<u32>,
}

impl Look<'_> {
    /// The first number that was not finite in the steps before the look, if any.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn wait(self) -> Result<Option<Unsound>, GpuError> {
        let words = self.reading.wait()?;
        let [step, found] = [words[0], words[1]];
        if found == u32::MAX {
            return Ok(None);
        }
        let part =
            ["parameter", "first moment", "second moment", "gradient"][(found >> 29) as usize];
        let place = self.layout.name_of((found & 0x1fff_ffff) as usize);
        Ok(Some(Unsound {
            step: step.into(),
            what: format!("the {part} of {place}"),
        }))
    }
}

/// Parameters and moments on the host, each laid out as `layout` says.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainableState {
    pub layout: AdapterLayout,
    pub values: AdapterState,
    pub first_moment: AdapterState,
    pub second_moment: AdapterState,
}

impl TrainableState {
    /// Fresh moments.
    pub fn new(layout: AdapterLayout, values: AdapterState) -> Self {
        let zeros = layout.unpack(&vec![0.0; layout.len]);
        Self {
            layout,
            values,
            first_moment: zeros.clone(),
            second_moment: zeros,
        }
    }

    /// Keeps the given ranks of each layer, by their present places; the moments follow.
    pub fn keep(&mut self, resnet: &ResNet, kept: &[Vec<usize>]) {
        for state in [
            &mut self.values,
            &mut self.first_moment,
            &mut self.second_moment,
        ] {
            state.keep(&self.layout, kept);
        }
        self.layout = self.layout.keep(resnet, kept);
    }
}

impl Trainable {
    pub fn upload(gpu: &Gpu, state: &TrainableState) -> Self {
        let layout = state.layout.clone();
        Self {
            values: gpu.storage_with("parameters", &layout.pack(&state.values)),
            gradients: gpu.storage("gradients", layout.len as u64 * 4),
            first_moment: gpu.storage_with("first moment", &layout.pack(&state.first_moment)),
            second_moment: gpu.storage_with("second moment", &layout.pack(&state.second_moment)),
            groups: gpu.storage_with("groups", &layout.groups()),
            unsound: gpu.storage_with("unsound", &[u32::MAX; 2]),
            layout,
        }
    }

    /// Starts to look for numbers that are not finite in the steps submitted so far.
    pub fn look(&self, gpu: &Gpu) -> Look<'_> {
        Look {
            layout: &self.layout,
            reading: gpu.read_later(&self.unsound, 0, 8),
        }
    }

    /// Copies everything back.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn read(&self, gpu: &Gpu) -> Result<TrainableState, GpuError> {
        Ok(TrainableState {
            layout: self.layout.clone(),
            values: self.read_buffer(gpu, &self.values)?,
            first_moment: self.read_buffer(gpu, &self.first_moment)?,
            second_moment: self.read_buffer(gpu, &self.second_moment)?,
        })
    }

    /// Copies the parameters back.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn read_values(&self, gpu: &Gpu) -> Result<AdapterState, GpuError> {
        self.read_buffer(gpu, &self.values)
    }

    /// Copies the gradients of the last step back.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn read_gradients(&self, gpu: &Gpu) -> Result<AdapterState, GpuError> {
        self.read_buffer(gpu, &self.gradients)
    }

    fn read_buffer(&self, gpu: &Gpu, buffer: &wgpu::Buffer) -> Result<AdapterState, GpuError> {
        Ok(self
            .layout
            .unpack(&gpu.read(buffer, 0, self.layout.len as u64 * 4)?))
    }

    /// Records the update, one dispatch for all parameters.
    pub fn record_step(&self, graph: &mut Graph, step: Slot, adam: Adam) {
        let builder = &mut graph.builder;
        let bind = [
            ("step", step),
            ("gradients", builder.buffer("gradients", &self.gradients)),
            ("groups_of", builder.buffer("groups", &self.groups)),
            ("parameters", builder.buffer("parameters", &self.values)),
            ("first", builder.buffer("first moment", &self.first_moment)),
            (
                "second",
                builder.buffer("second moment", &self.second_moment),
            ),
            ("unsound", builder.buffer("unsound", &self.unsound)),
        ];
        graph.elementwise(
            "AdamW".into(),
            "optimizer/adamw",
            &[],
            &bind,
            &[
                ("quads", u(self.layout.len / 4)),
                ("beta1", (adam.beta1 as f32).into()),
                ("beta2", (adam.beta2 as f32).into()),
                ("rest1", ((1.0 - adam.beta1) as f32).into()),
                ("rest2", ((1.0 - adam.beta2) as f32).into()),
                ("epsilon", (adam.epsilon as f32).into()),
                ("low", (adam.log_alpha_range.0 as f32).into()),
                ("high", (adam.log_alpha_range.1 as f32).into()),
            ],
            self.layout.len / 4,
            14 * self.layout.len as u64,
        );
    }
}
