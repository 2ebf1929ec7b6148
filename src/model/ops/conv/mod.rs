//! Convolutions with a frozen weight, the adapter's term inside, and a fused epilogue.

mod direct;
mod kernel;
mod product;
mod shape;
mod tile;
mod winograd;

pub use kernel::ProductKernel;
pub use shape::ConvShape;
pub use tile::{MatrixTile, Tile};

use self::product::Epilogue;
use self::winograd::Tiles;
use super::low_rank::LowRank;
use crate::model::graph::{Graph, Map, Tensor, u};
use crate::model::{ConvKernel, FrozenConv};

/// out = relu?(gain . (W * x + s B (z . h)) + bias + residual?)
pub struct ConvForward<'a> {
    pub frozen: &'a FrozenConv,
    pub input: Tensor,
    /// Rows of the output; a multiple of the input's, whose rows are then shared by samples.
    pub rows: usize,
    pub adapter: Option<LowRank>,
    pub residual: Option<Tensor>,
    pub relu: bool,
}

/// out = gain? . mask? (W' * g + A' * (s z . q) + residual?), as a transposed convolution.
pub struct ConvBackward<'a> {
    pub frozen: &'a FrozenConv,
    /// dL/dY, the gain of this layer's BatchNorm already applied.
    pub grad: Tensor,
    /// The map of the layer's input, which is the output here.
    pub map: Map,
    pub adapter: Option<LowRank>,
    pub residual: Option<Tensor>,
    /// The ReLU output whose mask applies.
    pub mask: Option<Tensor>,
    /// The layer below, whose BatchNorm gain applies.
    pub gain: Option<&'a FrozenConv>,
}

impl Graph {
    pub fn conv_forward(&mut self, args: ConvForward) -> Tensor {
        let spec = &args.frozen.spec;
        let map = Map {
            height: spec.out_side(args.input.map.height),
            width: spec.out_side(args.input.map.width),
            channels: spec.out_channels,
        };
        let out = self.tensor(&spec.name, map, args.rows);
        self.conv(Conv {
            label: format!("{} forward", spec.name),
            frozen: args.frozen,
            backward: false,
            input: args.input,
            out,
            adapter: args.adapter,
            epilogue: Epilogue {
                affine: Some(&args.frozen.affine),
                residual: args.residual,
                relu: args.relu,
                ..Default::default()
            },
        });
        out
    }

    pub fn conv_backward(&mut self, args: ConvBackward) -> Tensor {
        let spec = &args.frozen.spec;
        let out = self.tensor(&format!("d {} input", spec.name), args.map, args.grad.rows);
        self.conv(Conv {
            label: format!("{} input gradient", spec.name),
            frozen: args.frozen,
            backward: true,
            input: args.grad,
            out,
            adapter: args.adapter,
            epilogue: Epilogue {
                gain: args.gain.map(|below| &below.affine),
                residual: args.residual,
                mask: args.mask,
                ..Default::default()
            },
        });
        out
    }

    fn conv(&mut self, conv: Conv) {
        // W * x is the same for all samples of an example.
        if conv.share() > 1 {
            return self.in_two_steps(conv);
        }
        let shape = conv.shape();
        match self.kernels.conv(self.builder.gpu(), &shape) {
            ConvKernel::Direct(product) => self.direct(conv, product),
            // The adapter's term is not a 3x3 convolution of x, which is all that these products give.
            ConvKernel::Winograd(..) if shape.adapted => self.in_two_steps(conv),
            ConvKernel::Winograd(tile, product) => {
                let tiles = Tiles {
                    tile,
                    count: shape.winograd_tiles(tile),
                    textured: self
                        .kernels
                        .winograd_textured(self.builder.gpu(), shape.winograd_bytes(tile)),
                };
                self.winograd(conv, tiles, product);
            }
        }
    }

    /// W * x, then the adapter's term and the epilogue.
    fn in_two_steps(&mut self, conv: Conv) {
        let label = format!("{} W * x", conv.frozen.spec.name);
        let base = self.tensor(&label, conv.out.map, conv.input.rows);
        self.conv(Conv {
            label: conv.label.clone(),
            out: base,
            adapter: None,
            epilogue: Epilogue::default(),
            ..conv
        });
        let depth = conv.adapter.map_or(0, |adapter| adapter.rank.div_ceil(4));
        let kernel = self.kernels.product(conv.out.map, conv.out.rows, depth);
        self.adapted(conv, base, kernel);
    }

    /// The gradient with a layer's BatchNorm gain applied: dY = gain . dOut.
    pub fn gain(&mut self, frozen: &FrozenConv, grad: Tensor) -> Tensor {
        let out = self.tensor(&format!("d {}", frozen.spec.name), grad.map, grad.rows);
        let affine = self.builder.buffer("affine", &frozen.affine);
        let quads = grad.map.floats() / 4 * grad.rows;
        self.elementwise(
            format!("{} gain", frozen.spec.name),
            "conv/gain",
            &[grad.textured()],
            &[("grad", grad.slot), ("affine", affine), ("out", out.slot)],
            &[("quads", u(quads)), ("channel_quads", u(grad.map.quads()))],
            quads,
            4 * quads as u64,
        );
        out
    }
}

/// A convolution to be recorded, in either direction.
struct Conv<'a> {
    label: String,
    frozen: &'a FrozenConv,
    backward: bool,
    input: Tensor,
    out: Tensor,
    adapter: Option<LowRank>,
    epilogue: Epilogue<'a>,
}

impl Conv<'_> {
    fn shape(&self) -> ConvShape {
        let spec = &self.frozen.spec;
        let sides = |map: Map| [map.height, map.width, map.channels];
        ConvShape {
            backward: self.backward,
            kernel: spec.kernel,
            stride: spec.stride,
            pad: spec.pad,
            input: sides(self.input.map),
            output: sides(self.out.map),
            rows: self.out.rows,
            adapted: self.adapter.is_some(),
            int8: self.frozen.is_int8(),
        }
    }

    /// Samples of an example: rows written for each that is read.
    fn share(&self) -> usize {
        self.out.rows / self.input.rows
    }

    /// Pairs of positions that a tap connects.
    fn taps(&self) -> usize {
        let spec = &self.frozen.spec;
        match self.backward {
            false => spec.taps(self.input.map, self.out.map),
            true => spec.taps(self.out.map, self.input.map),
        }
    }
}
