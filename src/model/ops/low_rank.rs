//! The adapters' narrow products: down (A * x, B' G, logits), outer (weight gradients), up.

use crate::gpu::{Dispatch, Slot, Value, Variables};
use crate::model::graph::{Graph, Map, Tensor, u};
use crate::model::{ConvSpec, LowRankKernel};

/// The adapter's term of a convolution: s z . low times `up`.
#[derive(Clone, Copy, Debug)]
pub struct LowRank {
    /// h = A * x going forward, q = B' G going back.
    pub low: Slot,
    pub gates: Slot,
    /// B going forward, A going back.
    pub up: Slot,
    pub rank: usize,
    pub scale: f32,
}

/// A weight gradient: sum over positions and rows of (scale z . low) x.
pub struct Outer<'a> {
    pub label: String,
    /// Kernel, stride and padding of the product; `None` for 1x1.
    pub geometry: Option<&'a ConvSpec>,
    pub x: Tensor,
    pub low: Tensor,
    pub gates: Option<Slot>,
    pub scale: f32,
    /// `[rank, tap, channel]`.
    pub grad: Slot,
}

/// `base? + sum_i scale z_i? low_i up[i,:]` on a 1x1 map.
pub struct Up {
    pub label: String,
    pub low: Tensor,
    /// `[rank, channel]`.
    pub up: Slot,
    pub channels: usize,
    /// Rows of the output: those of `low` and `base`, or samples that share them.
    pub rows: usize,
    /// Gates and the scale that goes with them.
    pub gates: Option<(Slot, f32)>,
    pub base: Option<Tensor>,
}

/// Kernel, stride and padding.
fn geometry(spec: Option<&ConvSpec>) -> (usize, usize, usize) {
    spec.map_or((1, 1, 0), |spec| (spec.kernel, spec.stride, spec.pad))
}

/// What `down` and `outer` tell their shaders of the wide operand and the thin one.
fn geometry_params(spec: Option<&ConvSpec>, x: Tensor, low: Tensor) -> Vec<(&'static str, Value)> {
    let (kernel, stride, pad) = geometry(spec);
    vec![
        ("positions", u(low.map.positions())),
        ("batch", u(x.rows)),
        ("in_height", u(x.map.height)),
        ("in_width", u(x.map.width)),
        ("in_quads", u(x.map.quads())),
        ("out_width", u(low.map.width)),
        ("kernel", u(kernel)),
        ("stride", u(stride)),
        ("pad", u(pad)),
        ("rank", u(low.map.channels)),
    ]
}

impl Graph {
    /// low = a * x (+ bias): `[rank]` channels at each output position.
    pub fn down(
        &mut self,
        label: String,
        spec: Option<&ConvSpec>,
        x: Tensor,
        a: Slot,
        rank: usize,
        bias: Option<Slot>,
    ) -> Tensor {
        let side = |side: usize| spec.map_or(side, |spec| spec.out_side(side));
        let map = Map {
            height: side(x.map.height),
            width: side(x.map.width),
            channels: rank,
        };
        let low = self.buffer_tensor(&label, map, x.rows);
        let mut bind = vec![("x", x.slot), ("a", a), ("low", low.slot)];
        bind.extend(bias.map(|bias| ("bias", bias)));
        let mut variables = vec![("biased", u32::from(bias.is_some())), x.textured()];
        let positions = map.positions();
        let (shader, workgroups) = match self.kernels.low_rank {
            LowRankKernel::Plain => (
                "adapter/down_plain",
                (positions * x.rows * map.quads()).div_ceil(64),
            ),
            LowRankKernel::Broadcast => {
                let lanes = self.kernels.lanes().expect("broadcasts need it") as usize;
                let rows = x.rows.div_ceil(lanes).min(DOWN_ROWS);
                variables.extend([("lanes", lanes as u32), ("rows", rows as u32)]);
                let tiles = positions * x.rows.div_ceil(rows * lanes) * rank.div_ceil(8);
                ("adapter/down_broadcast", tiles)
            }
            LowRankKernel::Tiled => {
                const LINES: usize = 8;
                let tiles = (positions * x.rows).div_ceil(LINES) * rank.div_ceil(8);
                ("adapter/down_tiled", tiles)
            }
        };
        let taps = spec.map_or(positions, |spec| spec.taps(x.map, map));
        self.builder.dispatch(Dispatch {
            label,
            kernel: self
                .builder
                .gpu()
                .kernel(shader, Variables::new(&variables)),
            bind: &bind,
            params: &geometry_params(spec, x, low),
            workgroups: workgroups as u64,
            flops: 2 * (taps * x.map.quads() * 4 * rank * x.rows) as u64,
        });
        low
    }

    /// A weight gradient, in two passes where one would leave the device idle.
    pub fn outer(&mut self, outer: Outer) {
        let Outer {
            label,
            geometry: spec,
            x,
            low,
            gates,
            scale,
            grad,
        } = outer;
        let (kernel, ..) = geometry(spec);
        let (rank, positions, quads) = (low.map.channels, low.map.positions(), x.map.quads());
        let columns = kernel * kernel * quads;
        let mut variables = vec![("gated", u32::from(gates.is_some())), x.textured()];
        // Workgroups or invocations of one split, how many are wanted, and the most splits.
        let (shader, per_split, wanted, most) = match self.kernels.low_rank {
            LowRankKernel::Plain => (
                "adapter/outer_plain",
                columns * low.map.quads(),
                PLAIN_INVOCATIONS,
                positions,
            ),
            LowRankKernel::Broadcast => {
                let lanes = self.kernels.lanes().expect("broadcasts need it") as usize;
                variables.push(("lanes", lanes as u32));
                let tiles = kernel * kernel * quads.div_ceil(lanes) * rank.div_ceil(8);
                ("adapter/outer_broadcast", tiles, BROADCAST_TILES, positions)
            }
            LowRankKernel::Tiled => {
                const COLUMNS: usize = 16;
                let tiles = kernel * kernel * quads.div_ceil(COLUMNS) * rank.div_ceil(8);
                let most = (positions * x.rows).div_ceil(SPLIT_LINES);
                ("adapter/outer_tiled", tiles, BUSY_WORKGROUPS, most)
            }
        };
        let splits = wanted.div_ceil(per_split).clamp(1, most);
        let parts = match splits {
            1 => grad,
            _ => self.builder.transient(&label, splits * rank * columns * 4),
        };
        let mut bind = vec![("x", x.slot), ("low", low.slot), ("grad", parts)];
        bind.extend(gates.map(|gates| ("gates", gates)));
        let items = per_split * splits;
        let workgroups = match self.kernels.low_rank {
            LowRankKernel::Plain => items.div_ceil(64),
            LowRankKernel::Broadcast | LowRankKernel::Tiled => items,
        };
        let taps = spec.map_or(positions, |spec| spec.taps(x.map, low.map));
        let mut params = geometry_params(spec, x, low);
        params.extend([("scale", scale.into()), ("splits", u(splits))]);
        self.builder.dispatch(Dispatch {
            label: label.clone(),
            kernel: self
                .builder
                .gpu()
                .kernel(shader, Variables::new(&variables)),
            bind: &bind,
            params: &params,
            workgroups: workgroups as u64,
            flops: 2 * (taps * quads * 4 * rank * x.rows) as u64,
        });
        if splits > 1 {
            let size = rank * columns;
            self.elementwise(
                format!("{label}, sum"),
                "adapter/reduce",
                &[],
                &[("parts", parts), ("grad", grad)],
                &[("quads", u(size)), ("splits", u(splits))],
                size,
                (4 * size * splits) as u64,
            );
        }
    }

    /// A product of [`Up`].
    pub fn up(&mut self, product: Up) -> Tensor {
        let Up {
            label,
            low,
            up,
            channels,
            rows,
            gates,
            base,
        } = product;
        let out = self.buffer_tensor(&label, Map::vector(channels), rows);
        let mut bind = vec![("low", low.slot), ("up", up), ("out", out.slot)];
        bind.extend(gates.map(|(gates, _)| ("gates", gates)));
        bind.extend(base.map(|base| ("base", base.slot)));
        let rank = low.map.channels;
        let items = out.rows * out.map.quads();
        self.elementwise(
            label,
            "adapter/up",
            &[
                ("gated", u32::from(gates.is_some())),
                ("based", u32::from(base.is_some())),
            ],
            &bind,
            &[
                ("batch", u(out.rows)),
                ("share", u(rows / low.rows)),
                ("rank", u(rank)),
                ("out_quads", u(out.map.quads())),
                ("scale", gates.map_or(1.0, |(_, scale)| scale).into()),
            ],
            items,
            (8 * items * rank) as u64,
        );
        out
    }
}

impl Graph {
    /// Sums one vector per row over the rows, in their order.
    pub fn sum_rows(&mut self, label: String, x: Tensor, out: Slot) {
        let quads = x.map.quads();
        self.elementwise(
            label,
            "adapter/reduce",
            &[],
            &[("parts", x.slot), ("grad", out)],
            &[("quads", u(quads)), ("splits", u(x.rows))],
            quads,
            (4 * quads * x.rows) as u64,
        );
    }
}

/// Invocations below which a real GPU would idle during a weight gradient.
const PLAIN_INVOCATIONS: usize = 16 * 1024;

/// Workgroups that hide the latency of a large GPU's memory: some eight a compute unit.
const BUSY_WORKGROUPS: usize = 1024;

/// Rows of positions below which a split would cost more to add than it saves.
const SPLIT_LINES: usize = 64;

/// Rows that a lane of a software adapter computes at most, so that each quad of `a`, which is dear to load, serves many.
const DOWN_ROWS: usize = 4;

/// Tiles that keep the few threads of a software adapter busy.
const BROADCAST_TILES: usize = 16;
