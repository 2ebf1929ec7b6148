//! What dispatches read and write: buffers, and textures that hold one vec4 per texel.

use super::{Gpu, GpuError};

/// Texels in a row of a texture that holds a tensor; `common/map.wgsl` knows it too.
pub const TEXTURE_WIDTH: u32 = 2048;

/// Rows of a texture that holds a tensor of so many bytes, at most as many as a device takes: no power of two where that can be
/// helped, since llvmpipe compiles a kernel once for textures of such a height and once more for others.
pub fn texture_rows(gpu: &Gpu, bytes: u64) -> u32 {
    let rows = (bytes / 16).div_ceil(u64::from(TEXTURE_WIDTH));
    let rows = u32::try_from(rows).expect("checked when the tensor was recorded");
    no_power_of_two(rows, gpu.limits().max_texture_dimension_2d)
}

/// The least number from `rows` on that is no power of two, where `most` allows one.
fn no_power_of_two(rows: u32, most: u32) -> u32 {
    match rows.is_power_of_two() && rows < most {
        true => rows.max(2) + 1,
        false => rows,
    }
}

/// The guard's own NaN: a NaN computed past the end of a tensor can be told from it.
const GUARD_WORD: u32 = 0x7fc5_a5a5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryKind {
    Buffer,
    Texture,
}

/// A buffer, or a texture read as one vec4 per texel, row by row.
#[derive(Clone, PartialEq, Eq)]
pub enum Memory {
    Buffer(wgpu::Buffer),
    Texture(wgpu::Texture),
}

impl Memory {
    /// Zeroed memory for at least `bytes`.
    pub(super) fn new(gpu: &Gpu, kind: MemoryKind, bytes: u64) -> Self {
        match kind {
            MemoryKind::Buffer => Self::Buffer(gpu.storage("plan", bytes)),
            MemoryKind::Texture => {
                Self::Texture(gpu.texture("plan", TEXTURE_WIDTH, texture_rows(gpu, bytes)))
            }
        }
    }

    pub(super) fn kind(&self) -> MemoryKind {
        match self {
            Self::Buffer(_) => MemoryKind::Buffer,
            Self::Texture(_) => MemoryKind::Texture,
        }
    }

    /// Bytes there are.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Buffer(buffer) => buffer.size(),
            Self::Texture(texture) => u64::from(texture.width()) * u64::from(texture.height()) * 16,
        }
    }

    /// Copies `bytes` from `offset` on to the host, waiting for the work before it.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn read<T: bytemuck::Pod>(
        &self,
        gpu: &Gpu,
        offset: u64,
        bytes: u64,
    ) -> Result<Vec<T>, GpuError> {
        match self {
            Self::Buffer(buffer) => gpu.read(buffer, offset, bytes),
            Self::Texture(texture) => {
                let all = gpu.read_texture(texture)?;
                let range = offset as usize / 4..(offset + bytes) as usize / 4;
                Ok(bytemuck::pod_collect_to_vec(&all[range]))
            }
        }
    }

    /// Fills the first `bytes` with NaN and what is behind them with the guard.
    pub(super) fn poison(&self, gpu: &Gpu, bytes: u64) {
        let mut words = vec![f32::NAN.to_bits(); self.bytes() as usize / 4];
        words[bytes as usize / 4..].fill(GUARD_WORD);
        let floats: &[f32] = bytemuck::cast_slice(&words);
        match self {
            Self::Buffer(buffer) => {
                gpu.write(buffer, 0, bytemuck::cast_slice(floats));
            }
            Self::Texture(texture) => gpu.write_texture(texture, floats),
        }
    }

    /// Whether the guard behind the first `bytes` is as [`Memory::poison`] left it.
    pub(super) fn guard_is_whole(&self, gpu: &Gpu, bytes: u64) -> Result<bool, GpuError> {
        let guard: Vec<u32> = self.read(gpu, bytes, self.bytes() - bytes)?;
        Ok(guard.iter().all(|word| *word == GUARD_WORD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_no_powers_of_two_but_the_tallest() {
        for (rows, height) in [(1, 3), (2, 3), (3, 3), (4, 5), (100, 100), (4096, 4097)] {
            assert_eq!(no_power_of_two(rows, 8192), height);
        }
        assert_eq!(no_power_of_two(8192, 8192), 8192);
    }
}
