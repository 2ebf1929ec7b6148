//! The buffers that a batch goes into, whatever the plan does with it.

use half::f16;

use super::{Graph, Map, PrefixInput};
use crate::gpu::Gpu;

/// What the rows of a batch are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchInput {
    /// u8 images of `side` x `side`, resized to `size` x `size`.
    Images { side: usize, size: usize },
    /// f16 features at the cut.
    Features { map: Map },
}

/// How an image is looked at: crop offset (x, y) and whether it is flipped, before resizing.
pub type View = [i32; 4];

/// The view that changes nothing.
pub const PLAIN_VIEW: View = [0; 4];

/// The mirrored view.
pub const FLIPPED_VIEW: View = [0, 0, 1, 0];

/// Buffers for the inputs of a batch and the numbers of its examples.
pub struct Batch {
    gpu: Gpu,
    kind: BatchInput,
    input: wgpu::Buffer,
    views: wgpu::Buffer,
    pub examples: wgpu::Buffer,
}

impl Batch {
    pub fn new(gpu: &Gpu, kind: BatchInput, rows: usize) -> Self {
        let bytes = match kind {
            BatchInput::Images { side, .. } => rows * side * side * 3,
            BatchInput::Features { map } => rows * map.floats() * 2,
        };
        Self {
            gpu: gpu.clone(),
            kind,
            input: gpu.storage("input", bytes as u64),
            views: gpu.storage("views", rows as u64 * 16),
            examples: gpu.storage("examples", rows as u64 * 4),
        }
    }

    /// Bytes of GPU memory.
    pub fn bytes(&self) -> u64 {
        self.input.size() + self.views.size() + self.examples.size()
    }

    /// Where a plan starts.
    pub fn prefix_input(&self, graph: &mut Graph) -> PrefixInput {
        let input = graph.builder.buffer("input", &self.input);
        match self.kind {
            BatchInput::Features { map } => PrefixInput::Features { halves: input, map },
            BatchInput::Images { side, size } => {
                let views = graph.builder.buffer("views", &self.views);
                PrefixInput::Images {
                    images: input,
                    views,
                    side,
                    size,
                }
            }
        }
    }

    /// Uploads u8 images `[rows, side, side, 3]` and their views.
    pub fn write_images(&self, images: &[u8], views: &[View]) {
        let mut padded = images.to_vec();
        padded.resize(images.len().next_multiple_of(4), 0);
        let queue = self.gpu.queue();
        queue.write_buffer(&self.input, 0, &padded);
        queue.write_buffer(&self.views, 0, bytemuck::cast_slice(views));
    }

    /// Uploads features at the cut, `[position, row, channel]`.
    pub fn write_features(&self, features: &[f16]) {
        let queue = self.gpu.queue();
        queue.write_buffer(&self.input, 0, bytemuck::cast_slice(features));
    }

    /// Uploads the examples' numbers, which key their gates.
    pub fn write_examples(&self, examples: &[u32]) {
        let queue = self.gpu.queue();
        queue.write_buffer(&self.examples, 0, bytemuck::cast_slice(examples));
    }
}
