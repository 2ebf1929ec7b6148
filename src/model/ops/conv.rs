//! Convolutions with a frozen weight, the adapter's term inside, and a fused epilogue.

use super::low_rank::LowRank;
use crate::gpu::{Dispatch, Variables};
use crate::model::graph::{Graph, Map, Tensor, u};
use crate::model::{ConvKernel, ConvSpec, FrozenConv};

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
            spec,
            weight: &args.frozen.forward,
            affine: Some(&args.frozen.affine),
            backward: false,
            input: args.input,
            out,
            adapter: args.adapter,
            residual: args.residual,
            relu: args.relu,
            mask: None,
            taps: args.frozen.spec.taps(args.input.map, map),
        });
        out
    }

    pub fn conv_backward(&mut self, args: ConvBackward) -> Tensor {
        let spec = &args.frozen.spec;
        let out = self.tensor(&format!("d {} input", spec.name), args.map, args.grad.rows);
        let weight = args.frozen.backward.as_ref();
        self.conv(Conv {
            label: format!("{} input gradient", spec.name),
            spec,
            weight: weight.expect("the network was made for training"),
            affine: args.gain.map(|below| &below.affine),
            backward: true,
            input: args.grad,
            out,
            adapter: args.adapter,
            residual: args.residual,
            relu: false,
            mask: args.mask,
            taps: args.frozen.spec.taps(args.map, args.grad.map),
        });
        out
    }

    fn conv(&mut self, conv: Conv) {
        let Conv {
            spec, input, out, ..
        } = conv;
        let rank = conv.adapter.map_or(0, |adapter| adapter.rank);
        let mut bind = vec![("x", input.slot), ("out", out.slot)];
        let weight = conv.weight.slot(self, &spec.name);
        bind.push(("weight", weight));
        let share = out.rows / input.rows;
        let mut params = vec![
            ("batch", u(out.rows)),
            ("share", u(share)),
            ("in_height", u(input.map.height)),
            ("in_width", u(input.map.width)),
            ("in_quads", u(input.map.quads())),
            ("out_width", u(out.map.width)),
            ("out_quads", u(out.map.quads())),
            ("kernel", u(spec.kernel)),
            ("stride", u(spec.stride)),
            ("pad", u(spec.pad)),
        ];
        if let Some(adapter) = conv.adapter {
            bind.extend([
                ("low", adapter.low),
                ("gates", adapter.gates),
                ("up", adapter.up),
            ]);
            params.extend([("rank", u(rank)), ("scale", adapter.scale.into())]);
        }
        if let Some(affine) = conv.affine {
            bind.push(("affine", self.builder.buffer("affine", affine)));
        }
        if let Some(residual) = conv.residual {
            bind.push(("residual", residual.slot));
            params.push(("residual_share", u(out.rows / residual.rows)));
        }
        if let Some(mask) = conv.mask {
            bind.push(("activation", mask.slot));
        }
        let mut variables = vec![
            ("backward", u32::from(conv.backward)),
            ("adapter", u32::from(conv.adapter.is_some())),
            ("affine", u32::from(conv.affine.is_some() && !conv.backward)),
            ("gain", u32::from(conv.affine.is_some() && conv.backward)),
            ("residual", u32::from(conv.residual.is_some())),
            ("relu", u32::from(conv.relu)),
            ("mask", u32::from(conv.mask.is_some())),
        ];
        let (rows, cols, positions) = (out.rows, out.map.quads(), out.map.positions());
        let (shader, workgroups) = match self.kernels.conv {
            ConvKernel::Plain => {
                const ROWS: usize = 4;
                variables.push(("rows", ROWS as u32));
                params.push(("positions", u(positions)));
                (
                    "conv/plain",
                    (cols * rows.div_ceil(ROWS) * positions).div_ceil(64),
                )
            }
            ConvKernel::Texture => {
                let lanes = self.kernels.lanes as usize;
                let (tile_rows, vecs) = texture_tile(rows, cols, lanes);
                variables.extend([
                    ("lanes", lanes as u32),
                    ("rows", tile_rows as u32),
                    ("vecs", vecs as u32),
                ]);
                let tiles = cols.div_ceil(lanes * vecs) * rows.div_ceil(tile_rows) * positions;
                ("conv/texture", tiles)
            }
        };
        // Each tap meets every channel pair; the adapter adds one 1x1 (forward) or k x k term.
        let base = conv.taps * input.map.quads() * 4;
        let low = if conv.backward { conv.taps } else { positions };
        let multiplications = (base + low * rank) * cols * 4 * rows;
        let kernel = self
            .builder
            .gpu()
            .kernel(shader, Variables::new(&variables));
        self.builder.dispatch(Dispatch {
            label: conv.label,
            kernel,
            bind: &bind,
            params: &params,
            workgroups: workgroups as u64,
            flops: 2 * multiplications as u64,
        });
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

struct Conv<'a> {
    label: String,
    spec: &'a ConvSpec,
    weight: &'a crate::model::frozen::Weight,
    affine: Option<&'a wgpu::Buffer>,
    backward: bool,
    input: Tensor,
    out: Tensor,
    adapter: Option<LowRank>,
    residual: Option<Tensor>,
    relu: bool,
    mask: Option<Tensor>,
    /// Pairs of positions that a tap connects, padding left out.
    taps: usize,
}

/// Rows and vec4 columns of a register tile: as many as there is use for.
fn texture_tile(rows: usize, cols: usize, lanes: usize) -> (usize, usize) {
    let tile_rows = match rows {
        0..=8 => 8,
        9..=16 => 16,
        _ => 32,
    };
    (tile_rows, if cols > lanes { 2 } else { 1 })
}

impl ConvSpec {
    /// Pairs of an output and an input position that a tap connects, padding left out.
    pub(crate) fn taps(&self, input: Map, out: Map) -> usize {
        let along = |input: usize, out: usize| {
            let hits = |o: usize| {
                let reads = |k: &usize| {
                    let at = o * self.stride + k;
                    at >= self.pad && at - self.pad < input
                };
                (0..self.kernel).filter(reads).count()
            };
            (0..out).map(hits).sum::<usize>()
        };
        along(input.height, out.height) * along(input.width, out.width)
    }
}
