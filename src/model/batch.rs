//! The buffers that a batch goes into, whatever the plan does with it.

use std::sync::Arc;

use half::f16;

use super::images::write_bytes;
use super::{Graph, ImageChunk, Map, PrefixInput, ResidentImages};
use crate::gpu::Gpu;

/// What the rows of a batch are.
#[derive(Clone)]
pub enum BatchInput {
    /// u8 images of `side` x `side`, uploaded with each batch, resized to `size` x `size`.
    Images { side: usize, size: usize },
    /// Images that lie on the GPU, resized to `size` x `size`.
    Resident {
        images: Arc<ResidentImages>,
        size: usize,
    },
    /// f16 features at the cut.
    Features { map: Map },
}

/// How an image is looked at, before resizing: crop offset (x, y), whether it is flipped, and room for
/// the number of the image, which the batch fills in.
pub type View = [i32; 4];

/// The view that changes nothing.
pub const PLAIN_VIEW: View = [0; 4];

/// The mirrored view.
pub const FLIPPED_VIEW: View = [0, 0, 1, 0];

/// Buffers for the inputs of a batch and the numbers of its examples.
pub struct Batch {
    gpu: Gpu,
    kind: BatchInput,
    rows: usize,
    input: wgpu::Buffer,
    views: wgpu::Buffer,
    pub examples: wgpu::Buffer,
}

impl Batch {
    pub fn new(gpu: &Gpu, kind: BatchInput, rows: usize) -> Self {
        let bytes = match &kind {
            BatchInput::Images { side, .. } => rows * side * side * 3,
            BatchInput::Resident { .. } => 0,
            BatchInput::Features { map } => rows * map.floats() * 2,
        };
        Self {
            gpu: gpu.clone(),
            kind,
            rows,
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
        let (images, side, size) = match &self.kind {
            BatchInput::Features { map } => {
                let halves = graph.builder.buffer("input", &self.input);
                return PrefixInput::Features { halves, map: *map };
            }
            BatchInput::Images { side, size } => {
                let chunk = ImageChunk {
                    slot: graph.builder.buffer("input", &self.input),
                    first: 0,
                    images: self.rows,
                };
                (vec![chunk], *side, *size)
            }
            BatchInput::Resident { images, size } => (images.chunks(graph), images.side(), *size),
        };
        PrefixInput::Images {
            images,
            views: graph.builder.buffer("views", &self.views),
            side,
            size,
        }
    }

    /// Uploads u8 images `[rows, side, side, 3]` and their views.
    pub fn write_images(&self, images: &[u8], views: &[View]) {
        write_bytes(&self.gpu, &self.input, 0, images);
        self.write_views(0..views.len(), views);
    }

    /// Uploads which of the images on the GPU the rows are, and their views.
    pub fn write_picks(&self, images: &[usize], views: &[View]) {
        self.write_views(images.iter().copied(), views);
    }

    fn write_views(&self, images: impl Iterator<Item = usize>, views: &[View]) {
        let views: Vec<View> = images
            .zip(views)
            .map(|(image, [x, y, flip, _])| [*x, *y, *flip, image as i32])
            .collect();
        self.gpu.write(&self.views, 0, bytemuck::cast_slice(&views));
    }

    /// Uploads features at the cut, `[position, row, channel]`.
    pub fn write_features(&self, features: &[f16]) {
        self.gpu.write(&self.input, 0, bytemuck::cast_slice(features));
    }

    /// Uploads the examples' numbers, which key their gates.
    pub fn write_examples(&self, examples: &[u32]) {
        self.gpu.write(&self.examples, 0, bytemuck::cast_slice(examples));
    }
}
