//! Buffers on their way back to the host.

use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Gpu, GpuError, Submission};

/// A copy of a buffer that the GPU has been told to make; [`wait`](Self::wait) takes it. Work that is
/// submitted later does not change it, and it is not waited for.
pub struct Reading<T> {
    gpu: Gpu,
    staging: wgpu::Buffer,
    submission: Submission,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
    kind: PhantomData<T>,
}

/// The longest that a buffer whose contents are there may take to be mapped.
const MAPPING: Duration = Duration::from_secs(60);

impl Gpu {
    /// Starts to copy `bytes` of a buffer from `offset` on, as they are after the work submitted
    /// before.
    pub fn read_later<T: bytemuck::Pod>(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Reading<T> {
        self.read_through(bytes, |encoder, staging| {
            encoder.copy_buffer_to_buffer(buffer, offset, staging, 0, bytes);
        })
    }

    /// Copies `bytes` of a buffer from `offset` on to the host, waiting for the work before it.
    pub fn read<T: bytemuck::Pod>(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Result<Vec<T>, GpuError> {
        self.read_later(buffer, offset, bytes).wait()
    }

    /// Copies a texture made by [`Gpu::texture_with`] back to the host.
    pub fn read_texture(&self, texture: &wgpu::Texture) -> Result<Vec<f32>, GpuError> {
        let padded = self.read_texture_later(texture).wait()?;
        let rows = padded.chunks_exact(pitch(texture) as usize / 4);
        Ok(rows
            .flat_map(|texels| &texels[..texture.width() as usize * 4])
            .copied()
            .collect())
    }

    /// Starts to copy such a texture, row by row, each padded to a copy's alignment.
    pub(super) fn read_texture_later(&self, texture: &wgpu::Texture) -> Reading<f32> {
        let pitch = pitch(texture);
        let bytes = u64::from(pitch) * u64::from(texture.height());
        self.read_through(bytes, |encoder, buffer| {
            encoder.copy_texture_to_buffer(
                texture.as_image_copy(),
                wgpu::TexelCopyBufferInfo {
                    buffer,
                    layout: wgpu::TexelCopyBufferLayout {
                        offset: 0,
                        bytes_per_row: Some(pitch),
                        rows_per_image: None,
                    },
                },
                texture.size(),
            );
        })
    }

    fn read_through<T>(
        &self,
        bytes: u64,
        copy: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer),
    ) -> Reading<T> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.create_buffer("read back", bytes, usage);
        let submission = self.submit(
            || "a copy to the host".into(),
            |encoder| copy(encoder, &staging),
        );
        let (sender, mapped) = channel();
        self.during(
            || "reading results".into(),
            bytes,
            || {
                staging.map_async(wgpu::MapMode::Read, .., move |result| {
                    // A reading that is no longer waited for is dropped.
                    let _ = sender.send(result);
                });
            },
        );
        Reading {
            gpu: self.clone(),
            staging,
            submission,
            mapped,
            kind: PhantomData,
        }
    }
}

/// Bytes from row to row of a copy of a texture.
fn pitch(texture: &wgpu::Texture) -> u32 {
    (texture.width() * 16).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT)
}

impl<T: bytemuck::Pod> Reading<T> {
    /// Waits for the copy.
    ///
    /// # Errors
    /// The device is lost, or something since the last look has failed.
    pub fn wait(self) -> Result<Vec<T>, GpuError> {
        let failed = |reason: String| GpuError::Failed {
            during: "reading results".into(),
            reason,
        };
        self.gpu.wait_for(self.submission)?;
        // Mapped while the submission was waited for, here or in another thread.
        let mapped = self.mapped.recv_timeout(MAPPING);
        self.gpu.check()?;
        let mapped = mapped.map_err(|error| failed(error.to_string()))?;
        mapped.map_err(|error| failed(error.to_string()))?;
        let view = self
            .staging
            .get_mapped_range(..)
            .map_err(|error| failed(error.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}
