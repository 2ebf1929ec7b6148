//! The buffers that a batch goes into, the same for every plan.

use std::sync::Arc;

use half::f16;

use super::resident::write_bytes;
use super::{
    Cut, FrozenNetwork, Graph, Map, Piece, PrefixInput, ResidentFeatures, ResidentImages, Tensor,
    largest_chunk, prefix,
};
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
    /// f16 features at the cut, uploaded with each batch.
    Features { map: Map },
    /// f16 features at the cut that lie on the GPU.
    ResidentFeatures(Arc<ResidentFeatures>),
}

/// How an image is looked at, before resizing: crop offset (x, y), whether it is flipped, and room for
/// the number of the image, or of the features of a view, which the batch fills in.
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
            BatchInput::Features { map } => rows * map.floats() * 2,
            BatchInput::Resident { .. } | BatchInput::ResidentFeatures(_) => 0,
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
        let views = graph.builder.buffer("views", &self.views);
        let own = |graph: &mut Graph| {
            let slot = graph.builder.buffer("input", &self.input);
            let (first, count) = (0, self.rows);
            vec![Piece { slot, first, count }]
        };
        match &self.kind {
            BatchInput::Images { side, size } => PrefixInput::Images {
                images: own(graph),
                views,
                side: *side,
                size: *size,
            },
            BatchInput::Resident { images, size } => PrefixInput::Images {
                images: images.record(graph),
                views,
                side: images.side(),
                size: *size,
            },
            BatchInput::Features { map } => PrefixInput::Features {
                features: own(graph),
                views,
                map: *map,
            },
            BatchInput::ResidentFeatures(features) => PrefixInput::Features {
                features: features.record(graph),
                views,
                map: features.map(),
            },
        }
    }

    /// Records the frozen layers below a cut: the tensor there, of all rows.
    pub fn features(&self, graph: &mut Graph, network: &FrozenNetwork, cut: Cut) -> Tensor {
        let chunk = match &self.kind {
            BatchInput::Images { size, .. } | BatchInput::Resident { size, .. } => {
                largest_chunk(&self.gpu, network, *size)
            }
            // They are computed already.
            BatchInput::Features { .. } | BatchInput::ResidentFeatures(_) => self.rows,
        };
        let input = self.prefix_input(graph);
        prefix(graph, network, cut, input, self.rows, chunk)
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

    /// Uploads features at the cut, `[position, channel]` a row; rows beyond them are zero.
    pub fn write_features(&self, rows: &[&[f16]]) {
        let parts: Vec<&[u8]> = rows.iter().map(|row| bytemuck::cast_slice(row)).collect();
        self.gpu.write_parts(&self.input, &parts);
        let numbers: Vec<usize> = (0..rows.len()).collect();
        self.write_feature_picks(&numbers);
    }

    /// Uploads which of the features on the GPU the rows have; rows beyond them are zero.
    pub fn write_feature_picks(&self, numbers: &[usize]) {
        let [x, y, flip, _] = PLAIN_VIEW;
        let mut views = vec![[x, y, flip, -1]; self.rows];
        for (view, number) in views.iter_mut().zip(numbers) {
            view[3] = *number as i32;
        }
        self.gpu.write(&self.views, 0, bytemuck::cast_slice(&views));
    }

    /// Uploads the examples' numbers, which key their gates.
    pub fn write_examples(&self, examples: &[u32]) {
        self.gpu
            .write(&self.examples, 0, bytemuck::cast_slice(examples));
    }
}
