//! Convolutions with everything that is fused into them.

use std::sync::Arc;

use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::{
    ConvBackward, ConvForward, ConvKernel, ConvShape, ConvSpec, ConvWeights, FrozenConv,
    KernelChoice, LowRank, ProductKernel, Tile,
};

use crate::bench::{self, Bench, ROUNDING, a_lanes, b_lanes, every_variant, everywhere};
use crate::reference::affine::Affine;
use crate::reference::conv::{Geometry, conv2d, conv2d_input_gradient};
use crate::reference::int8::rounded;
use crate::reference::tensor::Tensor;

const SCALE: f32 = 1.75;

/// Channels in and out, kernel, stride, input height and width, output rows, rows that share one
/// input row, rank (0: no adapter); whether the weights have 8 bits.
#[derive(Clone, Copy, Debug)]
struct Shape {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    side: [usize; 2],
    rows: usize,
    share: usize,
    rank: usize,
    int8: bool,
}

const fn shape(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    side: [usize; 2],
    rows: usize,
    share: usize,
    rank: usize,
) -> Shape {
    Shape {
        channels,
        kernel,
        stride,
        side,
        rows,
        share,
        rank,
        int8: false,
    }
}

/// The same with weights of 8 bits.
const fn int8(case: Shape) -> Shape {
    Shape { int8: true, ..case }
}

impl Shape {
    fn spec(&self) -> ConvSpec {
        ConvSpec {
            name: "layer".into(),
            norm: "norm".into(),
            in_channels: self.channels[0],
            out_channels: self.channels[1],
            kernel: self.kernel,
            stride: self.stride,
            pad: self.kernel / 2,
        }
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.stride, self.kernel / 2)
    }

    fn out_side(&self) -> [usize; 2] {
        self.side
            .map(|side| self.geometry().output_size(side, self.kernel))
    }

    /// As a file has it.
    fn stored(&self) -> Tensor {
        let [inputs, outputs] = self.channels;
        Tensor::random(&[outputs, inputs, self.kernel, self.kernel], 1)
    }

    /// As it is multiplied.
    fn weight(&self) -> Tensor {
        match self.int8 {
            true => rounded(&self.stored()),
            false => self.stored(),
        }
    }

    fn affine(&self) -> Affine {
        let part = |seed| Tensor::random(&[self.channels[1]], seed).data;
        Affine {
            g: part(2),
            b: part(3),
        }
    }

    fn upload(&self, bench: &Bench) -> FrozenConv {
        let affine = self.affine();
        let weights = weights(&self.stored(), &affine);
        let weights = match self.int8 {
            true => weights.quantised(),
            false => weights,
        };
        FrozenConv::new(&bench.setup.gpu, &self.spec(), Arc::new(weights))
    }
}

fn weights(weight: &Tensor, affine: &Affine) -> ConvWeights {
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
    ConvWeights {
        weight: weight.to_f32(),
        gain: narrow(&affine.g),
        bias: narrow(&affine.b),
        scales: None,
    }
}

/// Row `n` of the result is row `n / share`.
fn shared(x: &Tensor, share: usize) -> Tensor {
    let mut shape = x.shape.clone();
    let row: usize = shape[1..].iter().product();
    shape[0] *= share;
    Tensor::from_fn(&shape, |i| x.data[i / row / share * row + i % row])
}

/// s z . low
fn gated(low: &Tensor, z: &Tensor) -> Tensor {
    let [_, _, height, width] = low.dims4();
    Tensor::from_fn(&low.shape, |i| {
        f64::from(SCALE) * z.data[i / (height * width)] * low.data[i]
    })
}

fn forward(case: Shape, relu: bool, with_residual: bool) {
    let Shape {
        rows, share, rank, ..
    } = case;
    let ([inputs, outputs], [height, width]) = (case.channels, case.side);
    let [out_height, out_width] = case.out_side();
    let x = Tensor::random(&[rows / share, inputs, height, width], 4);
    let low = Tensor::random(&[rows / share, rank, out_height, out_width], 5);
    let z = Tensor::random(&[rows, rank], 6);
    let b = Tensor::random(&[outputs, rank], 7);
    // The residual's rows are shared too: in the first adapted block it is the block's input.
    let residual = Tensor::random(&[rows / share, outputs, out_height, out_width], 8);

    let mut sum = conv2d(&shared(&x, share), &case.weight(), case.geometry());
    if rank > 0 {
        let low = gated(&shared(&low, share), &z);
        let up = b.reshaped(&[outputs, rank, 1, 1]);
        sum = sum.plus(&conv2d(&low, &up, Geometry::new(1, 0)));
    }
    let wide = shared(&residual, share);
    let expected = case
        .affine()
        .forward(&sum, with_residual.then_some(&wide), relu);

    let name = format!("conv forward {case:?} relu {relu} residual {with_residual}");
    every_variant(&name, 17, |bench| {
        let frozen = case.upload(bench);
        let input = bench.input(&x);
        let adapter = (rank > 0).then(|| LowRank {
            low: bench.buffer_input(&low).slot,
            gates: bench.buffer_input(&z).slot,
            up: bench.lanes(&b_lanes(&b)),
            rank,
            scale: SCALE,
        });
        let residual = with_residual.then(|| bench.input(&residual));
        let out = bench.graph.conv_forward(ConvForward {
            frozen: &frozen,
            input,
            rows,
            adapter,
            residual,
            relu,
        });
        let tolerance = bench.sum();
        bench.expect("out", out, &expected, tolerance);
    });
}

#[test]
fn forward_without_adapter() {
    forward(shape([3, 4], 7, 2, [9, 9], 1, 1, 0), true, false);
    forward(shape([3, 5], 3, 1, [5, 7], 3, 1, 0), true, false);
    forward(shape([5, 6], 3, 2, [5, 7], 9, 1, 0), true, true);
    forward(shape([5, 6], 3, 1, [4, 6], 9, 1, 0), true, true);
    forward(shape([6, 10], 1, 2, [7, 5], 17, 1, 0), false, false);
    forward(shape([10, 13], 3, 1, [1, 1], 33, 1, 0), true, true);
    forward(shape([6, 10], 3, 1, [2, 2], 17, 1, 0), true, true);
    // More vec4 columns than lanes, and a second tile of rows.
    forward(shape([6, 70], 3, 2, [3, 3], 40, 1, 0), true, false);
    // A layer that a prune has emptied, first in the suffix.
    forward(shape([5, 6], 3, 1, [3, 5], 9, 3, 0), true, true);
}

#[test]
fn forward_with_adapter() {
    forward(shape([3, 5], 7, 2, [5, 7], 3, 1, 8), true, false);
    forward(shape([5, 6], 3, 1, [5, 7], 9, 1, 5), true, true);
    forward(shape([6, 10], 1, 2, [5, 5], 17, 1, 1), false, false);
    forward(shape([13, 3], 3, 2, [7, 5], 33, 1, 3), true, false);
    forward(shape([10, 70], 3, 1, [1, 1], 40, 1, 12), true, true);
    forward(shape([5, 6], 3, 1, [2, 2], 9, 1, 3), true, true);
}

#[test]
fn forward_shares_rows_between_samples() {
    forward(shape([6, 5], 3, 2, [5, 3], 9, 3, 9), true, true);
    forward(shape([5, 13], 3, 1, [3, 3], 40, 8, 3), true, false);
    forward(shape([4, 6], 1, 2, [3, 3], 34, 2, 5), false, false);
    forward(shape([5, 13], 3, 1, [2, 2], 40, 8, 3), true, true);
}

/// Weights of 8 bits, by every kernel; Winograd's, which take none, give way to direct ones.
#[test]
fn forward_of_8_bits() {
    // Three channels of input and five of output, and all taps of the stem's kernel.
    forward(int8(shape([3, 5], 7, 2, [9, 9], 3, 1, 0)), true, false);
    forward(int8(shape([5, 6], 3, 2, [5, 7], 9, 1, 5)), true, true);
    forward(int8(shape([6, 10], 1, 2, [7, 5], 17, 1, 1)), false, false);
    forward(int8(shape([13, 3], 3, 1, [4, 6], 33, 1, 3)), true, true);
    // More columns than lanes, more channels than are staged at once, a second tile of rows.
    forward(int8(shape([70, 70], 3, 2, [3, 3], 40, 1, 12)), true, false);
    // Samples share W * x.
    forward(int8(shape([5, 13], 3, 1, [3, 3], 40, 8, 3)), true, false);
}

#[test]
fn backward_of_8_bits() {
    // More scales than fill a row of the matrix, and fewer.
    backward(
        int8(shape([3, 70], 3, 1, [3, 5], 9, 1, 0)),
        Fused::MaskAndGain,
    );
    backward(
        int8(shape([70, 6], 3, 2, [3, 3], 40, 1, 8)),
        Fused::ResidualAndMask,
    );
    backward(
        int8(shape([5, 6], 3, 1, [5, 7], 9, 1, 5)),
        Fused::MaskAndGain,
    );
    backward(int8(shape([6, 10], 1, 2, [7, 5], 17, 1, 1)), Fused::Nothing);
    backward(
        int8(shape([13, 3], 3, 2, [7, 5], 33, 1, 3)),
        Fused::ResidualAndMask,
    );
    backward_of(
        int8(shape([5, 6], 3, 1, [3, 2], 64, 1, 3)),
        Fused::Nothing,
        1e-6,
    );
}

/// What the engine fuses into an input gradient: all of a block's first convolution, of its second,
/// or nothing of it (downsample).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fused {
    ResidualAndMask,
    MaskAndGain,
    Nothing,
}

fn backward(case: Shape, fused: Fused) {
    backward_of(case, fused, 1.0);
}

/// Gradients up to `size`.
fn backward_of(case: Shape, fused: Fused, size: f64) {
    let Shape { rows, rank, .. } = case;
    let ([inputs, outputs], [height, width]) = (case.channels, case.side);
    let [out_height, out_width] = case.out_side();
    let grad = Tensor::random(&[rows, outputs, out_height, out_width], 4).map(|v| size * v);
    let q = Tensor::random(&[rows, rank, out_height, out_width], 5).map(|v| size * v);
    let z = Tensor::random(&[rows, rank], 6);
    let a = Tensor::random(&[rank, inputs, case.kernel, case.kernel], 7);
    let residual = Tensor::random(&[rows, inputs, height, width], 8);
    let activation = Tensor::random(&residual.shape, 9).map(|value| value.max(0.0));
    let below = Affine {
        g: Tensor::random(&[inputs], 10).data,
        b: Tensor::random(&[inputs], 11).data,
    };

    let back = |grad: &Tensor, w: &Tensor| {
        conv2d_input_gradient(grad, w, [height, width], case.geometry())
    };
    let mut expected = back(&grad, &case.weight());
    if rank > 0 {
        expected = expected.plus(&back(&gated(&q, &z), &a));
    }
    if fused == Fused::ResidualAndMask {
        expected = expected.plus(&residual);
    }
    if fused != Fused::Nothing {
        expected = expected.zip(&activation, |value, y| if y > 0.0 { value } else { 0.0 });
    }
    if fused == Fused::MaskAndGain {
        let zero = Tensor::zeros(&expected.shape);
        (expected, _) = below.backward(&zero, false, &expected);
    }

    let name = format!("conv backward {case:?} {fused:?} of {size}");
    every_variant(&name, 17, |bench| {
        let frozen = case.upload(bench);
        let below_spec = ConvSpec {
            in_channels: 3,
            out_channels: inputs,
            kernel: 1,
            pad: 0,
            ..case.spec()
        };
        let below = weights(&Tensor::zeros(&[inputs, 3, 1, 1]), &below);
        let below = FrozenConv::new(&bench.setup.gpu, &below_spec, Arc::new(below));
        let adapter = (rank > 0).then(|| LowRank {
            low: bench.buffer_input(&q).slot,
            gates: bench.buffer_input(&z).slot,
            up: bench.lanes(&a_lanes(&a)),
            rank,
            scale: SCALE,
        });
        let grad = bench.input(&grad);
        let residual = (fused == Fused::ResidualAndMask).then(|| bench.input(&residual));
        let mask = (fused != Fused::Nothing).then(|| bench.input(&activation));
        let out = bench.graph.conv_backward(ConvBackward {
            frozen: &frozen,
            grad,
            map: bench::map_of(&activation),
            adapter,
            residual,
            mask,
            gain: (fused == Fused::MaskAndGain).then_some(&below),
        });
        let tolerance = bench.sum();
        bench.expect("out", out, &expected, tolerance);
    });
}

#[test]
fn backward_without_adapter() {
    backward(shape([3, 5], 3, 1, [5, 7], 1, 1, 0), Fused::MaskAndGain);
    backward(shape([5, 6], 3, 2, [5, 7], 9, 1, 0), Fused::ResidualAndMask);
    backward(shape([6, 10], 1, 2, [7, 5], 17, 1, 0), Fused::Nothing);
    backward(shape([13, 10], 3, 1, [1, 1], 33, 1, 0), Fused::MaskAndGain);
    backward(shape([6, 10], 3, 1, [2, 2], 17, 1, 0), Fused::MaskAndGain);
    backward(
        shape([70, 6], 3, 2, [3, 3], 40, 1, 0),
        Fused::ResidualAndMask,
    );
}

#[test]
fn backward_with_adapter() {
    backward(shape([3, 5], 3, 1, [5, 7], 3, 1, 8), Fused::MaskAndGain);
    backward(shape([5, 6], 3, 2, [5, 7], 9, 1, 5), Fused::ResidualAndMask);
    backward(shape([6, 10], 1, 2, [5, 5], 17, 1, 1), Fused::Nothing);
    backward(
        shape([13, 3], 3, 2, [7, 5], 33, 1, 3),
        Fused::ResidualAndMask,
    );
    backward(shape([70, 10], 3, 1, [1, 1], 40, 1, 12), Fused::MaskAndGain);
    backward(shape([5, 6], 3, 1, [2, 2], 9, 1, 3), Fused::ResidualAndMask);
    backward(shape([6, 5], 3, 2, [1, 1], 3, 1, 9), Fused::ResidualAndMask);
    // An even side under stride 2: the last row is read by two taps only.
    backward(shape([4, 4], 3, 2, [4, 6], 3, 1, 3), Fused::ResidualAndMask);
    backward(shape([4, 4], 1, 2, [4, 6], 3, 1, 3), Fused::Nothing);
}

/// A batch's mean loss has gradients below f16's smallest normal number, 6e-5.
#[test]
fn backward_of_small_gradients() {
    backward_of(shape([5, 6], 3, 1, [3, 2], 64, 1, 3), Fused::Nothing, 1e-6);
}

#[test]
fn gain() {
    for (channels, side, rows) in [(3, [1, 1], 1), (10, [5, 7], 9), (13, [3, 3], 40)] {
        let case = shape([3, channels], 1, 1, side, rows, 1, 0);
        let [height, width] = side;
        let grad = Tensor::random(&[rows, channels, height, width], 4);
        let (expected, _) = case.affine().backward(&grad, false, &grad);
        let name = format!("gain {channels} channels {side:?} {rows} rows");
        everywhere(&name, 5, |bench| {
            let frozen = case.upload(bench);
            let grad = bench.input(&grad);
            let out = bench.graph.gain(&frozen, grad);
            bench.expect("out", out, &expected, ROUNDING);
        });
    }
}

/// Without measurements: large tiles for large shapes, small ones where there are few lines, plain loops
/// where a tile would stay empty.
#[test]
fn unmeasured_choices() {
    let gpu = bench::default_gpu();
    let chosen = |side: usize, channels: [usize; 2], rows: usize| {
        let shape = ConvShape {
            backward: false,
            kernel: 3,
            stride: 1,
            pad: 1,
            input: [side, side, channels[0]],
            output: [side, side, channels[1]],
            rows,
            adapted: false,
            int8: false,
        };
        KernelChoice::TILED.conv(&gpu, &shape)
    };
    let [large, .., small] = Tile::ALL.map(|tile| ConvKernel::Direct(ProductKernel::Tiled(tile)));
    let plain = ConvKernel::Direct(ProductKernel::Plain);
    assert_eq!(chosen(14, [256, 256], 256), large);
    assert_eq!(chosen(2, [512, 512], 32), small);
    assert_eq!(chosen(2, [512, 512], 1), plain);
    assert_eq!(chosen(112, [3, 64], 256), plain);
}

/// All that the tuner may try, on several tiles of lines and columns.
#[test]
fn every_candidate_computes_the_same() {
    for case in [CANDIDATES, int8(CANDIDATES)] {
        every_candidate_computes(case);
    }
}

const CANDIDATES: Shape = shape([18, 140], 3, 2, [5, 5], 40, 1, 0);

fn every_candidate_computes(case: Shape) {
    let x = Tensor::random(&[case.rows, 18, 5, 5], 4);
    let sum = conv2d(&x, &case.weight(), case.geometry());
    let expected = case.affine().forward(&sum, None, true);
    let name = format!("candidates, 8 bits {}", case.int8);
    bench::every_candidate(&name, 9 * case.rows, 35, |bench| {
        let frozen = case.upload(bench);
        let input = bench.input(&x);
        let out = bench.graph.conv_forward(ConvForward {
            frozen: &frozen,
            input,
            rows: case.rows,
            adapter: None,
            residual: None,
            relu: true,
        });
        let tolerance = bench.sum();
        bench.expect("out", out, &expected, tolerance);
    });
}

/// The tuner's list: nothing that the device lacks, no tile that a shape leaves empty.
#[test]
fn candidates() {
    let all = |gpu: &Gpu, lines| ProductKernel::candidates(gpu, false, lines, 128);
    let bare = all(&bench::bare_gpu(), 1024);
    let exact = |kernels: &[ProductKernel]| kernels.iter().all(|k| k.roundoff().is_none());
    assert!(exact(&bare) && bare.len() == 1 + Tile::ALL.len());
    assert_eq!(all(&bench::bare_gpu(), 1), [ProductKernel::Plain]);
    let gpu = bench::default_gpu();
    let halves = gpu.has(bayeslora::wgpu::Features::SHADER_F16);
    assert_eq!(exact(&all(&gpu, 1024)), !halves);
    let matrix = |kernel: &ProductKernel| matches!(kernel, ProductKernel::Matrix { .. });
    let offered = gpu.cooperative_matrix();
    assert_eq!(all(&gpu, 1024).iter().any(matrix), offered.is_some());
    if offered.is_none() {
        println!("skipped here: the adapter has no cooperative matrices that take f16 and add f32");
    }
}
