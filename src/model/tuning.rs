//! Which kernels compute a convolution fastest: measured on random data of its shape, each candidate
//! checked against the plain kernel first.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::{
    ConvBackward, ConvForward, ConvKernel, ConvShape, ConvSpec, ConvWeights, FrozenConv, Graph,
    KernelChoice, LowRank, Map,
};
use crate::gpu::{Candidate, Gpu, GpuError, Memory, Plan, Ranking, Slot, compared, ranked};

/// The rank of the adapter that is measured along.
const RANK: usize = 8;

/// Random numbers before they repeat; a prime, so that no two rows of a map begin alike.
const BLOCK: usize = 1_048_573;

/// Measures the kernels that may be fastest for a shape, and compares their results with the plain one's.
///
/// # Errors
/// The GPU fails, or has no memory for it.
pub fn rank_kernels(
    gpu: &Gpu,
    kernels: KernelChoice,
    shape: &ConvShape,
) -> Result<Ranking<ConvKernel>, GpuError> {
    let case = Case::new(gpu, shape);
    let (plan, result) = case.plan(KernelChoice::PLAIN, &case.upload(KernelChoice::PLAIN))?;
    plan.run();
    let expected = compared(&plan, result)?;
    drop(plan);
    let input = case.upload(kernels);
    let candidate = |kernel: ConvKernel| {
        let (plan, result) = case.plan(kernels.with(kernel), &input)?;
        Ok(Candidate {
            kernel,
            plan,
            result,
            tolerance: kernel.tolerance(),
        })
    };
    let candidates = kernels.contenders(gpu, shape).into_iter().map(candidate);
    ranked(gpu, &expected, candidates.collect::<Result<_, _>>()?)
}

/// Random data of a shape.
struct Case<'a> {
    gpu: &'a Gpu,
    shape: &'a ConvShape,
    frozen: FrozenConv,
    input: Vec<f32>,
    low: wgpu::Buffer,
    gates: wgpu::Buffer,
    up: wgpu::Buffer,
}

impl<'a> Case<'a> {
    fn new(gpu: &'a Gpu, shape: &'a ConvShape) -> Self {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut random = |len: usize| -> Vec<f32> {
            let block: Vec<f32> = (0..len.min(BLOCK))
                .map(|_| rng.random_range(-1.0..1.0))
                .collect();
            block.into_iter().cycle().take(len).collect()
        };
        let [[.., from], [.., to]] = [shape.input, shape.output];
        let (in_channels, out_channels) = match shape.backward {
            false => (from, to),
            true => (to, from),
        };
        let spec = ConvSpec {
            name: "tuning".into(),
            norm: String::new(),
            in_channels,
            out_channels,
            kernel: shape.kernel,
            stride: shape.stride,
            pad: shape.pad,
        };
        let taps = shape.kernel * shape.kernel;
        let weights = ConvWeights {
            weight: random(in_channels * out_channels * taps),
            gain: vec![1.0; out_channels],
            bias: vec![0.0; out_channels],
            scales: None,
        };
        let weights = match shape.int8 {
            true => weights.quantised(),
            false => weights,
        };
        let buffer = |data: Vec<f32>| gpu.storage_with("tuning", &data);
        let low_map = Map {
            channels: RANK,
            ..map(match shape.backward {
                false => shape.output,
                true => shape.input,
            })
        };
        Self {
            gpu,
            shape,
            frozen: FrozenConv::new(gpu, &spec, Arc::new(weights)),
            input: zero_padded(
                map(shape.input),
                random(map(shape.input).floats() * shape.rows),
            ),
            low: buffer(random(low_map.floats() * shape.rows)),
            gates: buffer(random(RANK * shape.rows)),
            up: buffer(random(RANK * taps * to.next_multiple_of(4))),
        }
    }

    fn upload(&self, kernels: KernelChoice) -> Memory {
        kernels.upload(self.gpu, "tuning", &self.input)
    }

    fn plan(&self, kernels: KernelChoice, input: &Memory) -> Result<(Plan, Slot), GpuError> {
        let mut graph = Graph::new(self.gpu, kernels);
        let input = graph.uploaded("tuning", map(self.shape.input), self.shape.rows, input);
        let mut slot = |buffer| graph.builder.buffer("tuning", buffer);
        let adapter = self.shape.adapted.then(|| LowRank {
            low: slot(&self.low),
            gates: slot(&self.gates),
            up: slot(&self.up),
            rank: RANK,
            scale: 1.0,
        });
        let frozen = &self.frozen;
        let out = match self.shape.backward {
            false => graph.conv_forward(ConvForward {
                frozen,
                input,
                rows: self.shape.rows,
                adapter,
                residual: None,
                relu: false,
            }),
            true => graph.conv_backward(ConvBackward {
                frozen,
                grad: input,
                map: map(self.shape.output),
                adapter,
                residual: None,
                mask: None,
                gain: None,
            }),
        };
        graph.builder.keep(out.slot);
        Ok((graph.builder.build()?, out.slot))
    }
}

fn map([height, width, channels]: [usize; 3]) -> Map {
    Map {
        height,
        width,
        channels,
    }
}

/// Padding channels hold zero, as in every tensor.
fn zero_padded(map: Map, mut data: Vec<f32>) -> Vec<f32> {
    let wide = map.quads() * 4;
    for channels in data.chunks_mut(wide) {
        channels[map.channels..].fill(0.0);
    }
    data
}
