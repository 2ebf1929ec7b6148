//! What stays on the GPU for all steps: images as bytes, or their cached features.

use half::f16;

use super::graph::{Graph, Map};
use super::ops::Piece;
use crate::gpu::{Gpu, GpuError};

/// Items of one size, in as few buffers as the device's bindings allow.
struct Pieces {
    gpu: Gpu,
    label: &'static str,
    buffers: Vec<wgpu::Buffer>,
    /// Items of every buffer but the last.
    capacity: usize,
    items: usize,
    /// Of an item.
    bytes: usize,
}

impl Pieces {
    /// Memory for `items` items of `bytes`; `None` where the device does not have it.
    fn reserve(
        gpu: &Gpu,
        label: &'static str,
        items: usize,
        bytes: usize,
    ) -> Result<Option<Self>, GpuError> {
        gpu.check()?;
        let limits = gpu.limits();
        let largest = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(u64::from(u32::MAX)); // shaders count bytes in 32 bits
        // Buffers are multiples of 16 bytes, writes begin at multiples of 4.
        let whole_words = if bytes.is_multiple_of(4) { 1 } else { 4 };
        let capacity = (largest / 16 * 16) as usize / bytes / whole_words * whole_words;
        if capacity == 0 {
            return Ok(None);
        }
        let buffers = (0..items)
            .step_by(capacity)
            .map(|first| gpu.storage(label, (capacity.min(items - first) * bytes) as u64))
            .collect();
        match gpu.check() {
            Ok(()) => Ok(Some(Self {
                gpu: gpu.clone(),
                label,
                buffers,
                capacity,
                items,
                bytes,
            })),
            Err(GpuError::OutOfMemory { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uploads items from number `first` on, which begins with a whole word.
    fn write(&self, mut first: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let (buffer, place) = (first / self.capacity, first % self.capacity);
            let count = (self.capacity - place).min(data.len() / self.bytes);
            let (part, rest) = data.split_at(count * self.bytes);
            let offset = (place * self.bytes) as u64;
            write_bytes(&self.gpu, &self.buffers[buffer], offset, part);
            (first, data) = (first + count, rest);
        }
    }

    /// As a plan reads them.
    fn record(&self, graph: &mut Graph) -> Vec<Piece> {
        let starts = (0..self.items).step_by(self.capacity);
        let pieces = self
            .buffers
            .iter()
            .zip(starts)
            .map(|(buffer, first)| Piece {
                slot: graph.builder.buffer(self.label, buffer),
                first,
                count: self.capacity.min(self.items - first),
            });
        pieces.collect()
    }
}

/// Square RGB images `[images, side, side, 3]` on the GPU.
pub struct ResidentImages {
    pieces: Pieces,
    side: usize,
}

impl ResidentImages {
    /// Memory for `images` images of `side` pixels; `None` where the device does not have it.
    ///
    /// # Errors
    /// The GPU fails in another way.
    pub fn reserve(gpu: &Gpu, images: usize, side: usize) -> Result<Option<Self>, GpuError> {
        let pieces = Pieces::reserve(gpu, "images", images, side * side * 3)?;
        Ok(pieces.map(|pieces| Self { pieces, side }))
    }

    /// Uploads images from number `first` on, a multiple of four, and waits until the GPU has them:
    /// what is written takes host memory until then.
    ///
    /// # Errors
    /// The device is lost.
    pub fn write(&self, first: usize, pixels: &[u8]) -> Result<(), GpuError> {
        self.pieces.write(first, pixels);
        let gpu = &self.pieces.gpu;
        let submission = gpu.submit(|| "the upload of images".into(), |_| ());
        gpu.wait_for(submission)
    }

    pub fn side(&self) -> usize {
        self.side
    }

    /// The images as a plan reads them.
    pub(super) fn record(&self, graph: &mut Graph) -> Vec<Piece> {
        self.pieces.record(graph)
    }
}

/// f16 features at the cut, `[rows, position, channel]` with channels padded, on the GPU.
pub struct ResidentFeatures {
    pieces: Pieces,
    map: Map,
}

impl ResidentFeatures {
    /// Memory for the features of `rows` rows; `None` where the device does not have it.
    ///
    /// # Errors
    /// The GPU fails in another way.
    pub fn reserve(gpu: &Gpu, map: Map, rows: usize) -> Result<Option<Self>, GpuError> {
        let pieces = Pieces::reserve(gpu, "features", rows, 2 * map.floats())?;
        Ok(pieces.map(|pieces| Self { pieces, map }))
    }

    /// Uploads the features of rows from number `first` on, before whatever is submitted next.
    ///
    /// # Errors
    /// Something since the last look has failed.
    pub fn write(&self, first: usize, features: &[f16]) -> Result<(), GpuError> {
        self.pieces.write(first, bytemuck::cast_slice(features));
        self.pieces.gpu.check()
    }

    pub fn map(&self) -> Map {
        self.map
    }

    /// The features as a plan reads them.
    pub(super) fn record(&self, graph: &mut Graph) -> Vec<Piece> {
        self.pieces.record(graph)
    }
}

/// Writes at a multiple of four; what fills the last word up is zero.
pub(super) fn write_bytes(gpu: &Gpu, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
    let (words, tail) = bytes.split_at(bytes.len() / 4 * 4);
    gpu.write(buffer, offset, words);
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        let end = offset + words.len() as u64;
        gpu.write(buffer, end, &last);
    }
}
