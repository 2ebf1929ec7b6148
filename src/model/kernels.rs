//! Which variant of each operation runs on a device.

use crate::gpu::{Gpu, largest_texture};

/// How convolutions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvKernel {
    /// Within WebGPU's default limits.
    Plain,
    /// Weights in textures, activations shared by subgroup broadcasts: for software adapters.
    Texture,
}

/// How the adapters' products run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowRankKernel {
    /// Within WebGPU's default limits.
    Plain,
    /// Operands shared by subgroup broadcasts: for software adapters.
    Broadcast,
}

/// The variants in use; part of a run, since another choice may round differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelChoice {
    pub conv: ConvKernel,
    pub low_rank: LowRankKernel,
    /// The subgroup size where a variant uses subgroups, else 1.
    pub lanes: u32,
}

impl KernelChoice {
    /// The plain variants, which run everywhere.
    pub const PLAIN: Self = Self {
        conv: ConvKernel::Plain,
        low_rank: LowRankKernel::Plain,
        lanes: 1,
    };

    /// What suits a device: broadcasts where loads are dear (software), else the plain variants.
    pub fn for_gpu(gpu: &Gpu) -> Self {
        match gpu.subgroup_size() {
            Some(lanes @ 4..=64) if gpu.is_software() && can_texture(gpu) => Self::broadcast(lanes),
            _ => Self::PLAIN,
        }
    }

    /// The variants for software adapters with this subgroup size.
    pub fn broadcast(lanes: u32) -> Self {
        Self {
            conv: ConvKernel::Texture,
            low_rank: LowRankKernel::Broadcast,
            lanes,
        }
    }

    /// Whether feature maps and frozen weights live in textures.
    pub fn textured(&self) -> bool {
        self.conv == ConvKernel::Texture
    }

    /// Bytes of the largest tensor of a plan.
    pub fn largest_tensor(&self, gpu: &Gpu) -> u64 {
        match self.textured() {
            true => largest_texture(&gpu.limits()),
            false => gpu.limits().max_storage_buffer_binding_size,
        }
    }

    /// As stored with a run and shown by `devices`.
    pub fn describe(&self) -> [(&'static str, String); 2] {
        let lanes = format!("{} lanes", self.lanes);
        [
            (
                "convolution",
                match self.conv {
                    ConvKernel::Plain => "plain".into(),
                    ConvKernel::Texture => format!("texture, {lanes}"),
                },
            ),
            (
                "low-rank",
                match self.low_rank {
                    LowRankKernel::Plain => "plain".into(),
                    LowRankKernel::Broadcast => format!("broadcast, {lanes}"),
                },
            ),
        ]
    }
}

/// Storage textures of a convolution: input, weight, residual, mask, output.
const STORAGE_TEXTURES: u32 = 5;

fn can_texture(gpu: &Gpu) -> bool {
    gpu.limits().max_storage_textures_per_shader_stage >= STORAGE_TEXTURES
}
