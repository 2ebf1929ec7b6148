//! The backbone on the GPU. Nothing ever writes it; [`FrozenNetwork::sha256`] proves it.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::{Backbone, ConvKernel, ConvSpec, ConvWeights, KernelChoice, ResNet};
use crate::gpu::{Gpu, GpuError, Slot};

/// A matrix `[k, columns]` of convolution weights, in quads of columns.
pub(super) enum Weight {
    Texture(wgpu::Texture),
    Buffer(wgpu::Buffer),
}

impl Weight {
    fn upload(gpu: &Gpu, kernels: KernelChoice, label: &str, columns: usize, data: &[f32]) -> Self {
        match kernels.conv {
            ConvKernel::Plain => Self::Buffer(gpu.storage_with(label, data)),
            ConvKernel::Texture => {
                let width = columns.div_ceil(4);
                let height = data.len() / (width * 4);
                Self::Texture(gpu.texture_with(label, width as u32, height as u32, data))
            }
        }
    }

    pub(super) fn slot(&self, graph: &mut Graph, label: &str) -> Slot {
        match self {
            Self::Texture(texture) => graph.builder.texture(label, texture),
            Self::Buffer(buffer) => graph.builder.buffer(label, buffer),
        }
    }

    fn read(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        match self {
            Self::Texture(texture) => gpu.read_texture(texture),
            Self::Buffer(buffer) => gpu.read(buffer, 0, buffer.size()),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Texture(texture) => u64::from(texture.width()) * u64::from(texture.height()) * 16,
            Self::Buffer(buffer) => buffer.size(),
        }
    }
}

/// A convolution's weights as the kernels read them.
pub struct FrozenConv {
    pub spec: ConvSpec,
    /// `[tap, in, out]`.
    pub(super) forward: Weight,
    /// `[tap, out, in]`, where gradients pass.
    pub(super) backward: Option<Weight>,
    /// Gains, then biases, each padded to quads.
    pub(super) affine: wgpu::Buffer,
}

impl FrozenConv {
    /// Uploads one layer; `backward` also makes what the input gradient reads.
    pub fn upload(
        gpu: &Gpu,
        kernels: KernelChoice,
        spec: &ConvSpec,
        weights: &ConvWeights,
        backward: bool,
    ) -> Self {
        let (inputs, outputs) = (spec.in_channels, spec.out_channels);
        let taps = spec.kernel * spec.kernel;
        let at = |o: usize, i: usize, tap: usize| weights.weight[(o * inputs + i) * taps + tap];
        let forward = matrix(taps, inputs, outputs, |tap, i, o| at(o, i, tap));
        let backward = backward.then(|| {
            let data = matrix(taps, outputs, inputs, |tap, o, i| at(o, i, tap));
            Weight::upload(gpu, kernels, &spec.name, inputs, &data)
        });
        let padded = outputs.next_multiple_of(4);
        let mut affine = vec![0.0; 2 * padded];
        affine[..outputs].copy_from_slice(&weights.gain);
        affine[padded..padded + outputs].copy_from_slice(&weights.bias);
        Self {
            spec: spec.clone(),
            forward: Weight::upload(gpu, kernels, &spec.name, outputs, &forward),
            backward,
            affine: gpu.storage_with(&spec.name, &affine),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.forward).chain(&self.backward)
    }
}

/// `[tap, rows, columns]` with rows and columns padded with zeros to multiples of four.
fn matrix(
    taps: usize,
    rows: usize,
    columns: usize,
    at: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let (tall, wide) = (rows.next_multiple_of(4), columns.next_multiple_of(4));
    let mut data = vec![0.0; taps * tall * wide];
    data.par_chunks_mut(wide)
        .enumerate()
        .for_each(|(line, values)| {
            let (tap, row) = (line / tall, line % tall);
            if row < rows {
                for (column, value) in values[..columns].iter_mut().enumerate() {
                    *value = at(tap, row, column);
                }
            }
        });
    data
}

/// All convolutions of a backbone on the GPU.
pub struct FrozenNetwork {
    pub gpu: Gpu,
    pub kernels: KernelChoice,
    pub resnet: ResNet,
    /// In the order of [`ResNet::convs`].
    pub convs: Vec<FrozenConv>,
}

impl FrozenNetwork {
    /// Uploads a backbone. Gradients can pass the convolutions from place `gradients_from` on.
    pub fn upload(
        gpu: &Gpu,
        kernels: KernelChoice,
        backbone: &Backbone,
        gradients_from: Option<usize>,
    ) -> Self {
        let layers = backbone
            .resnet
            .convs
            .iter()
            .zip(&backbone.convs)
            .enumerate();
        let convs = layers.map(|(place, (spec, weights))| {
            let backward = gradients_from.is_some_and(|from| place >= from);
            FrozenConv::upload(gpu, kernels, spec, weights, backward)
        });
        Self {
            gpu: gpu.clone(),
            kernels,
            convs: convs.collect(),
            resnet: backbone.resnet.clone(),
        }
    }

    /// Bytes of GPU memory.
    pub fn bytes(&self) -> u64 {
        let conv =
            |conv: &FrozenConv| conv.affine.size() + conv.parts().map(Weight::bytes).sum::<u64>();
        self.convs.iter().map(conv).sum()
    }

    /// The hash of all that lies on the GPU, read back: the same before and after training.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn sha256(&self) -> Result<String, GpuError> {
        let mut hash = Sha256::new();
        for conv in &self.convs {
            for part in conv.parts() {
                hash.update(bytemuck::cast_slice(&part.read(&self.gpu)?));
            }
            let affine: Vec<u8> = self.gpu.read(&conv.affine, 0, conv.affine.size())?;
            hash.update(&affine);
        }
        Ok(hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }
}
