//! A plan builder that knows maps and kernels; `ops` adds one method per operation.

use super::KernelChoice;
use crate::gpu::{Builder, Gpu, Memory, Slot, Value, Variables};

/// The shape of a feature map. In memory: `[height, width, batch, channels]`, channels padded with
/// zeros to a multiple of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Map {
    pub fn square(side: usize, channels: usize) -> Self {
        Self {
            height: side,
            width: side,
            channels,
        }
    }

    /// A vector an example.
    pub fn vector(channels: usize) -> Self {
        Self::square(1, channels)
    }

    /// After a 3x3 pool of stride 2 and padding 1.
    pub fn pooled(self) -> Self {
        let half = |side: usize| (side - 1) / 2 + 1;
        Self {
            height: half(self.height),
            width: half(self.width),
            ..self
        }
    }

    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Channel quads: vec4s of one position of one example.
    pub fn quads(&self) -> usize {
        self.channels.div_ceil(4)
    }

    /// f32s of one example, padding included.
    pub fn floats(&self) -> usize {
        self.positions() * self.quads() * 4
    }
}

/// A tensor of a plan: where it is, its map and its number of rows (examples, or examples x samples).
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    pub slot: Slot,
    pub map: Map,
    pub rows: usize,
    /// Whether it lives in a texture, not in a buffer.
    pub textured: bool,
}

impl Tensor {
    /// What shaders call it.
    pub fn textured(&self) -> (&'static str, u32) {
        ("textured", u32::from(self.textured))
    }
}

/// Records operations into a plan.
pub struct Graph {
    pub builder: Builder,
    pub kernels: KernelChoice,
}

impl Graph {
    pub fn new(gpu: &Gpu, kernels: KernelChoice) -> Self {
        Self {
            builder: Builder::new(gpu),
            kernels,
        }
    }

    /// A feature map in memory of the plan's own: in a texture where kernels want it there.
    pub fn tensor(&mut self, label: &str, map: Map, rows: usize) -> Tensor {
        if !self.kernels.textured() {
            return self.buffer_tensor(label, map, rows);
        }
        Tensor {
            slot: self.builder.transient_texture(label, map.floats() * rows),
            map,
            rows,
            textured: true,
        }
    }

    /// A feature map of given content, `[position][row][channel]`, in the memory that kernels want it in.
    pub fn constant(&mut self, label: &str, map: Map, rows: usize, data: &[f32]) -> Tensor {
        let content = self.kernels.upload(self.builder.gpu(), label, data);
        self.uploaded(label, map, rows, &content)
    }

    /// A feature map that is on the GPU already, as [`KernelChoice::upload`] has brought it there.
    pub fn uploaded(&mut self, label: &str, map: Map, rows: usize, content: &Memory) -> Tensor {
        Tensor {
            slot: self.builder.memory(label, content),
            map,
            rows,
            textured: matches!(content, Memory::Texture(_)),
        }
    }

    /// A tensor that is in a buffer with all kernels: low-rank activations and vectors.
    pub fn buffer_tensor(&mut self, label: &str, map: Map, rows: usize) -> Tensor {
        Tensor {
            slot: self.builder.transient(label, map.floats() * rows),
            map,
            rows,
            textured: false,
        }
    }

    /// Records an operation of one invocation an item, in workgroups of 64.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call an operation; names would only repeat"
    )]
    pub fn elementwise(
        &mut self,
        label: String,
        shader: &str,
        variables: &[(&'static str, u32)],
        bind: &[(&str, Slot)],
        params: &[(&str, Value)],
        items: usize,
        flops: u64,
    ) {
        let kernel = self.builder.gpu().kernel(shader, Variables::new(variables));
        self.builder.dispatch(crate::gpu::Dispatch {
            label,
            kernel,
            bind,
            params,
            workgroups: items.div_ceil(64) as u64,
            flops,
        });
    }
}

/// A count as a shader parameter. One beyond 32 bits is of a tensor that no device binds, which the
/// builder has refused by then.
pub fn u(value: usize) -> Value {
    Value::U(u32::try_from(value).unwrap_or(u32::MAX))
}
