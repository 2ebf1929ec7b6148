//! The backbone on the GPU. Nothing ever writes it; [`FrozenNetwork::is_unchanged`] proves it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::vec::HalfFloatVecExt;
use rayon::prelude::*;

use super::graph::Graph;
use super::int8;
use super::winograd::WinogradTile;
use super::{Backbone, BackboneBits, ConvSpec, ConvWeights, KernelChoice, ResNet};
use crate::gpu::{Gpu, GpuError, Memory, Slot};

/// How a kernel reads a convolution's weights: a matrix `[tap, row, column]` of quads of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WeightLayout {
    /// Transposed, as gradients pass: rows are the output channels.
    pub backward: bool,
    /// In the Winograd domain, where each product of a tile is a tap.
    pub winograd: Option<WinogradTile>,
    pub storage: WeightStorage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightStorage {
    Buffer,
    /// A buffer of f16.
    Half,
    /// A texture of one quad a texel, a row of the matrix a row.
    Texture,
    /// A buffer of 8-bit integers and their scales.
    Int8,
    /// The same in a texture, four quads a texel.
    Int8Texture,
}

/// Weights of one convolution in one layout.
struct Weight {
    layout: WeightLayout,
    memory: Memory,
}

impl Weight {
    fn upload(gpu: &Gpu, label: &str, layout: WeightLayout, columns: usize, bytes: &[u8]) -> Self {
        // Texels have 16 bytes.
        let width = columns / 4;
        let (width, height) = (width as u32, (bytes.len() / 16 / width) as u32);
        let memory = match layout.storage {
            WeightStorage::Buffer | WeightStorage::Half | WeightStorage::Int8 => {
                Memory::Buffer(gpu.storage_with(label, bytes))
            }
            WeightStorage::Texture => {
                let texels = bytemuck::cast_slice(bytes);
                Memory::Texture(gpu.texture_with(label, width, height, texels))
            }
            WeightStorage::Int8Texture => {
                Memory::Texture(gpu.words_with(label, width, height, bytes))
            }
        };
        Self { layout, memory }
    }
}

/// A convolution's weights, uploaded in each layout that a kernel asks for.
pub struct FrozenConv {
    pub spec: ConvSpec,
    gpu: Gpu,
    weights: Arc<ConvWeights>,
    uploaded: Mutex<Vec<Weight>>,
    /// Gains, then biases, each padded to quads.
    pub(super) affine: wgpu::Buffer,
}

impl FrozenConv {
    pub fn new(gpu: &Gpu, spec: &ConvSpec, weights: Arc<ConvWeights>) -> Self {
        let affine = gpu.storage_with(&spec.name, &affine(&weights));
        Self {
            spec: spec.clone(),
            gpu: gpu.clone(),
            weights,
            uploaded: Mutex::default(),
            affine,
        }
    }

    /// Whether the weights lie on the GPU as 8-bit integers.
    pub(super) fn is_int8(&self) -> bool {
        self.weights.scales.is_some()
    }

    /// The weights in a layout, as a plan binds them.
    pub(super) fn weight(&self, graph: &mut Graph, layout: WeightLayout) -> Slot {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = uploaded.iter().position(|weight| weight.layout == layout);
        let index = known.unwrap_or_else(|| {
            let matrix = self.matrix(layout);
            let bytes = self.encode(layout, &matrix);
            let (label, columns) = (&self.spec.name, matrix.columns);
            uploaded.push(Weight::upload(&self.gpu, label, layout, columns, &bytes));
            uploaded.len() - 1
        });
        graph
            .builder
            .memory(&self.spec.name, &uploaded[index].memory)
    }

    fn matrix(&self, layout: WeightLayout) -> Matrix {
        let (inputs, outputs) = (self.spec.in_channels, self.spec.out_channels);
        let filters;
        let (weight, taps) = match layout.winograd {
            None => (&self.weights.weight, self.spec.kernel * self.spec.kernel),
            Some(tile) => {
                filters = tile.transformed_filters(&self.weights.weight, layout.backward);
                (&filters, tile.products())
            }
        };
        let at = |o: usize, i: usize, tap: usize| weight[(o * inputs + i) * taps + tap];
        match layout.backward {
            false => Matrix::new(taps, inputs, outputs, |tap, i, o| at(o, i, tap)),
            true => Matrix::new(taps, outputs, inputs, |tap, o, i| at(o, i, tap)),
        }
    }

    /// A matrix as it is stored.
    ///
    /// # Panics
    /// When weights of 8 bits are asked for in another form, or others as these: a bug in this program.
    fn encode<'a>(&self, layout: WeightLayout, matrix: &'a Matrix) -> Cow<'a, [u8]> {
        match (layout.storage, &self.weights.scales) {
            (WeightStorage::Buffer | WeightStorage::Texture, None) => {
                bytemuck::cast_slice(&matrix.data).into()
            }
            (WeightStorage::Half, None) => {
                let halves = Vec::<f16>::from_f32_slice(&matrix.data);
                bytemuck::cast_slice(&halves).to_vec().into()
            }
            (WeightStorage::Int8 | WeightStorage::Int8Texture, Some(scales))
                if layout.winograd.is_none() =>
            {
                let words = int8::packed(matrix, scales, layout.backward);
                bytemuck::cast_slice(&words).to_vec().into()
            }
            (storage, _) => panic!("{}: no {storage:?} of such weights", self.spec.name),
        }
    }

    fn bytes(&self) -> u64 {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        let weights = uploaded.iter().map(|weight| weight.memory.bytes());
        self.affine.size() + weights.sum::<u64>()
    }

    fn is_unchanged(&self) -> Result<bool, GpuError> {
        let expected = affine(&self.weights);
        let found: Vec<f32> = self.gpu.read(&self.affine, 0, 4 * expected.len() as u64)?;
        let mut unchanged = found == expected;
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        for Weight { layout, memory } in uploaded.iter() {
            let matrix = self.matrix(*layout);
            let found: Vec<u8> = memory.read(&self.gpu, 0, memory.bytes())?;
            unchanged &= found == *self.encode(*layout, &matrix);
        }
        Ok(unchanged)
    }
}

fn affine(weights: &ConvWeights) -> Vec<f32> {
    let outputs = weights.gain.len();
    let padded = outputs.next_multiple_of(4);
    let mut affine = vec![0.0; 2 * padded];
    affine[..outputs].copy_from_slice(&weights.gain);
    affine[padded..padded + outputs].copy_from_slice(&weights.bias);
    affine
}

/// `[tap, rows, columns]` with rows and columns padded with zeros to multiples of four.
pub(super) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub data: Vec<f32>,
}

impl Matrix {
    fn new(
        taps: usize,
        rows: usize,
        columns: usize,
        at: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
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
        Self {
            rows: tall,
            columns: wide,
            data,
        }
    }
}

/// All convolutions of a backbone on the GPU.
pub struct FrozenNetwork {
    pub gpu: Gpu,
    pub kernels: KernelChoice,
    pub resnet: ResNet,
    /// Of each weight.
    pub bits: BackboneBits,
    /// In the order of [`ResNet::convs`].
    pub convs: Vec<FrozenConv>,
}

impl FrozenNetwork {
    /// A backbone whose weights are uploaded as plans ask for them.
    pub fn new(gpu: &Gpu, kernels: KernelChoice, backbone: &Backbone) -> Self {
        let gpu = gpu.for_network();
        let layers = backbone.resnet.convs.iter().zip(&backbone.convs);
        Self {
            kernels,
            convs: layers
                .map(|(spec, weights)| FrozenConv::new(&gpu, spec, weights.clone()))
                .collect(),
            gpu,
            resnet: backbone.resnet.clone(),
            bits: backbone.bits(),
        }
    }

    /// Bytes of GPU memory in use so far.
    pub fn bytes(&self) -> u64 {
        self.convs.iter().map(FrozenConv::bytes).sum()
    }

    /// Whether all that lies on the GPU, read back, is what the file holds.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn is_unchanged(&self) -> Result<bool, GpuError> {
        for conv in &self.convs {
            if !conv.is_unchanged()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
