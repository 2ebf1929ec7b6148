//! The product that convolutions come down to: rows times weights, tap by tap, with the adapter's
//! term and the epilogue.

use super::super::low_rank::LowRank;
use super::kernel::ProductKernel;
use super::tile::Area;
use crate::gpu::{Dispatch, Slot, Value, Variables};
use crate::model::graph::{Graph, Map, Tensor, u};

/// What is done to a sum before it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    /// BatchNorm's gains and biases (forward).
    pub affine: Option<&'a wgpu::Buffer>,
    /// Its rows may be shared by samples.
    pub residual: Option<Tensor>,
    pub relu: bool,
    /// The ReLU output whose mask applies (backward).
    pub mask: Option<Tensor>,
    /// BatchNorm's gains of the layer below (backward).
    pub gain: Option<&'a wgpu::Buffer>,
}

/// What a kernel is recorded with.
#[derive(Default)]
pub(super) struct Recorded {
    pub bind: Vec<(&'static str, Slot)>,
    pub params: Vec<(&'static str, Value)>,
    pub variables: Vec<(&'static str, u32)>,
}

impl Epilogue<'_> {
    /// Bindings, parameters and variables of `conv/epilogue`.
    pub fn record(&self, graph: &mut Graph, out: Tensor, into: &mut Recorded) {
        into.bind.push(("out", out.slot));
        into.params
            .extend([("batch", u(out.rows)), ("out_quads", u(out.map.quads()))]);
        if let Some(affine) = self.affine.or(self.gain) {
            into.bind
                .push(("affine", graph.builder.buffer("affine", affine)));
        }
        let mut share = 1;
        if let Some(residual) = self.residual {
            into.bind.push(("residual", residual.slot));
            share = out.rows / residual.rows;
        }
        if share > 1 {
            into.params.push(("residual_share", u(share)));
        }
        if let Some(mask) = self.mask {
            into.bind.push(("activation", mask.slot));
        }
        into.variables.extend([
            out.textured(),
            ("affine", u32::from(self.affine.is_some())),
            ("gain", u32::from(self.gain.is_some())),
            ("residual", u32::from(self.residual.is_some())),
            ("residual_shared", u32::from(share > 1)),
            ("relu", u32::from(self.relu)),
            ("mask", u32::from(self.mask.is_some())),
        ]);
    }
}

/// What a sum begins with.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Rows times weights.
    Weighted {
        input: Tensor,
        weight: Slot,
        /// Each output position has a matrix of its own, and there are no taps.
        per_position: bool,
        /// Whether the weights are 8-bit integers.
        int8: bool,
    },
    /// That product, computed before; its rows may be shared by samples.
    Base(Tensor),
}

pub(super) struct Product<'a> {
    pub label: String,
    pub start: Start,
    pub backward: bool,
    /// Kernel, stride and padding.
    pub geometry: [usize; 3],
    /// The map that taps lead to.
    pub from: Map,
    pub out: Tensor,
    pub adapter: Option<LowRank>,
    pub epilogue: Epilogue<'a>,
    /// Rows of the output for each of the base and of the low-rank activations.
    pub share: usize,
    /// Pairs of positions that a tap connects.
    pub taps: usize,
}

impl Graph {
    pub(super) fn product(&mut self, product: Product, kernel: ProductKernel) {
        let Product {
            start,
            backward,
            out,
            taps,
            ..
        } = product;
        let mut recorded = Recorded::default();
        product.epilogue.record(self, out, &mut recorded);
        let Recorded {
            mut bind,
            mut params,
            mut variables,
        } = recorded;
        let [kernel_size, stride, pad] = product.geometry;
        if kernel.roundoff().is_some() {
            // Gradients are those of a batch's mean loss; times the rows they are one example's, far
            // from f16's smallest numbers.
            let lift = match backward {
                true => out.rows.next_power_of_two() as f32,
                false => 1.0,
            };
            params.push(("lift", lift.into()));
        }
        params.extend([
            ("in_height", u(product.from.height)),
            ("in_width", u(product.from.width)),
            ("out_width", u(out.map.width)),
            ("kernel", u(kernel_size)),
            ("stride", u(stride)),
            ("pad", u(pad)),
        ]);
        variables.extend([
            ("backward", u32::from(backward)),
            ("adapter", u32::from(product.adapter.is_some())),
        ]);
        let mut depth = match start {
            Start::Weighted {
                input,
                weight,
                per_position,
                int8,
            } => {
                bind.extend([("x", input.slot), ("weight", weight)]);
                params.push(("in_quads", u(input.map.quads())));
                variables.extend([
                    ("weighted", 1),
                    ("per_position", u32::from(per_position)),
                    ("int8", u32::from(int8)),
                ]);
                taps * input.map.quads() * 4
            }
            Start::Base(base) => {
                bind.push(("base", base.slot));
                variables.extend([("weighted", 0), ("int8", 0)]);
                0
            }
        };
        if let Some(staged) = kernel.depth() {
            let flat = match start {
                Start::Weighted {
                    input,
                    per_position: false,
                    ..
                } => !backward && input.map.quads() < staged as usize,
                _ => false,
            };
            variables.push(("flat", u32::from(flat)));
        }
        variables.push(("shared", u32::from(product.share > 1)));
        if product.share > 1 {
            params.push(("share", u(product.share)));
        }
        if let Some(adapter) = product.adapter {
            bind.extend([
                ("low", adapter.low),
                ("gates", adapter.gates),
                ("up", adapter.up),
            ]);
            params.extend([("rank", u(adapter.rank)), ("scale", adapter.scale.into())]);
            // The adapter adds one 1x1 (forward) or one k x k term.
            let reach = if backward { taps } else { out.map.positions() };
            depth += reach * adapter.rank;
        }
        let (rows, cols, positions) = (out.rows, out.map.quads(), out.map.positions());
        let (shader, workgroups) = match kernel {
            ProductKernel::Plain => {
                const ROWS: usize = 4;
                variables.push(("rows", ROWS as u32));
                params.push(("positions", u(positions)));
                let items = cols * rows.div_ceil(ROWS) * positions;
                ("conv/plain", items.div_ceil(64))
            }
            ProductKernel::Texture { rows: tall, vecs } => {
                let lanes = self.kernels.lanes().expect("maps live in textures");
                variables.extend([("lanes", lanes), ("rows", tall), ("vecs", vecs)]);
                if let Start::Weighted { input, .. } = start {
                    let channels = input.map.channels as u32;
                    variables.push(("narrow", if channels < 4 { channels } else { 0 }));
                }
                let wide = (lanes * vecs) as usize;
                let tiles = cols.div_ceil(wide) * rows.div_ceil(tall as usize) * positions;
                ("conv/texture", tiles)
            }
            ProductKernel::Tiled(tile) | ProductKernel::Half(tile) => {
                variables.extend(tile.variables());
                variables.push(("half", u32::from(kernel.roundoff().is_some())));
                params.push(("positions", u(positions)));
                ("conv/tiled", tiles(tile, start, out))
            }
            ProductKernel::Matrix { size, tile } => {
                let metal = self.builder.gpu().info().backend == wgpu::Backend::Metal;
                variables.extend(tile.variables());
                variables.extend([("size", size), ("scalars", u32::from(metal))]);
                params.push(("positions", u(positions)));
                ("conv/matrix", tiles(tile, start, out))
            }
        };
        let kernel = self
            .builder
            .gpu()
            .kernel(shader, Variables::new(&variables));
        self.builder.dispatch(Dispatch {
            label: product.label,
            kernel,
            bind: &bind,
            params: &params,
            workgroups: workgroups as u64,
            flops: 2 * (depth * cols * 4 * rows) as u64,
        });
    }
}

/// Workgroups that compute a product by tiles of lines, which positions share unless each has a
/// matrix of its own.
fn tiles(tile: impl Area, start: Start, out: Tensor) -> usize {
    let (rows, cols, positions) = (out.rows, out.map.quads(), out.map.positions());
    match start {
        Start::Weighted {
            per_position: true, ..
        } => positions * tile.workgroups(rows, cols),
        _ => tile.workgroups(positions * rows, cols),
    }
}
