//! Images that stay on the GPU as bytes.

use super::graph::Graph;
use super::ops::ImageChunk;
use crate::gpu::{Gpu, GpuError};

/// Square RGB images `[images, side, side, 3]` on the GPU, in as few buffers as its bindings allow.
pub struct ResidentImages {
    gpu: Gpu,
    buffers: Vec<wgpu::Buffer>,
    /// Images of every buffer but the last.
    capacity: usize,
    images: usize,
    side: usize,
}

impl ResidentImages {
    /// Memory for `images` images of `side` pixels; `None` where the device does not have it.
    ///
    /// # Errors
    /// The GPU fails in another way.
    pub fn reserve(gpu: &Gpu, images: usize, side: usize) -> Result<Option<Self>, GpuError> {
        gpu.check()?;
        let bytes = side * side * 3;
        let limits = gpu.limits();
        let largest = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(u64::from(u32::MAX)); // the shader counts bytes in 32 bits
        // Buffers are multiples of 16 bytes, writes begin at multiples of 4.
        let capacity = (largest / 16 * 16) as usize / bytes / 4 * 4;
        if capacity == 0 {
            return Ok(None);
        }
        let buffers = (0..images)
            .step_by(capacity)
            .map(|first| gpu.storage("images", (capacity.min(images - first) * bytes) as u64))
            .collect();
        match gpu.check() {
            Ok(()) => Ok(Some(Self {
                gpu: gpu.clone(),
                buffers,
                capacity,
                images,
                side,
            })),
            Err(GpuError::OutOfMemory { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uploads images from number `first` on, a multiple of four, and waits until the GPU has them:
    /// what is written takes host memory until then.
    ///
    /// # Errors
    /// The device is lost.
    pub fn write(&self, first: usize, pixels: &[u8]) -> Result<(), GpuError> {
        let bytes = self.side * self.side * 3;
        let mut first = first;
        let mut pixels = pixels;
        while !pixels.is_empty() {
            let (buffer, place) = (first / self.capacity, first % self.capacity);
            let count = (self.capacity - place).min(pixels.len() / bytes);
            let (part, rest) = pixels.split_at(count * bytes);
            write_bytes(
                &self.gpu,
                &self.buffers[buffer],
                (place * bytes) as u64,
                part,
            );
            (first, pixels) = (first + count, rest);
        }
        let submission = self.gpu.submit(|| "the upload of images".into(), |_| ());
        self.gpu.wait_for(submission)
    }

    pub fn side(&self) -> usize {
        self.side
    }

    /// The images as a plan reads them.
    pub(super) fn chunks(&self, graph: &mut Graph) -> Vec<ImageChunk> {
        let starts = (0..self.images).step_by(self.capacity);
        let chunks = self
            .buffers
            .iter()
            .zip(starts)
            .map(|(buffer, first)| ImageChunk {
                slot: graph.builder.buffer("images", buffer),
                first,
                images: self.capacity.min(self.images - first),
            });
        chunks.collect()
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
