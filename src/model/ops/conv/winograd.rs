//! A 3x3 convolution in the Winograd domain: the input transformed, a product for each value of a tile, the output
//! transformed back.

use super::Conv;
use super::kernel::ProductKernel;
use super::product::{Epilogue, Product, Recorded, Start};
use crate::model::WinogradTile;
use crate::model::frozen::WeightLayout;
use crate::model::graph::{Graph, Map, Tensor, u};

/// The tiles that cover an output.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub tile: WinogradTile,
    /// Height and width.
    pub count: [usize; 2],
    /// Whether tensors in the Winograd domain live in textures.
    pub textured: bool,
}

impl Tiles {
    fn total(self) -> usize {
        let [tall, wide] = self.count;
        tall * wide
    }
}

impl Graph {
    /// A convolution without an adapter; one row out for each row in.
    pub(super) fn winograd(&mut self, conv: Conv, tiles: Tiles, kernel: ProductKernel) {
        let layout = WeightLayout {
            backward: conv.backward,
            winograd: Some(tiles.tile),
            storage: kernel.storage(false),
        };
        let input = self.winograd_input(&conv, tiles);
        let map = Map::square(tiles.tile.side(), conv.out.map.channels);
        let products = self.winograd_tensor("Winograd products", map, input.rows, tiles);
        let start = Start::Weighted {
            input,
            weight: conv.frozen.weight(self, layout),
            per_position: true,
            int8: false,
        };
        self.product(
            Product {
                label: format!("{}, products", conv.label),
                start,
                backward: false,
                geometry: [1, 1, 0],
                from: input.map,
                out: products,
                adapter: None,
                epilogue: Epilogue::default(),
                share: 1,
                taps: tiles.tile.products(),
            },
            kernel,
        );
        self.winograd_output(&conv, products, tiles);
    }

    /// A tensor in the Winograd domain.
    fn winograd_tensor(&mut self, label: &str, map: Map, rows: usize, tiles: Tiles) -> Tensor {
        match tiles.textured {
            true => self.tensor(label, map, rows),
            false => self.buffer_tensor(label, map, rows),
        }
    }

    /// B' x B of each tile of inputs: one row per tile and example, tile by tile; each value of a tile is a map position.
    fn winograd_input(&mut self, conv: &Conv, tiles: Tiles) -> Tensor {
        let input = conv.input;
        let map = Map::square(tiles.tile.side(), input.map.channels);
        let out = self.winograd_tensor("Winograd input", map, tiles.total() * input.rows, tiles);
        let items = out.rows * map.quads();
        let variables = [
            &[input.textured(), domain(out)],
            &tiles.tile.variables()[..],
        ]
        .concat();
        self.elementwise(
            format!("{}, input transform", conv.label),
            "conv/winograd_input",
            &variables,
            &[("x", input.slot), ("out", out.slot)],
            &[
                ("batch", u(input.rows)),
                ("height", u(input.map.height)),
                ("width", u(input.map.width)),
                ("quads", u(map.quads())),
                ("tiles_high", u(tiles.count[0])),
                ("tiles_wide", u(tiles.count[1])),
            ],
            items,
            (tiles.tile.transform_flops()[0] * 4 * items) as u64,
        );
        out
    }

    /// A' p A of each tile of products: its outputs, each through the epilogue.
    fn winograd_output(&mut self, conv: &Conv, products: Tensor, tiles: Tiles) {
        let out = conv.out;
        let mut recorded = Recorded::default();
        conv.epilogue.record(self, out, &mut recorded);
        let Recorded {
            mut bind,
            mut params,
            mut variables,
        } = recorded;
        variables.extend(tiles.tile.variables());
        variables.push(domain(products));
        bind.push(("products", products.slot));
        params.extend([
            ("height", u(out.map.height)),
            ("width", u(out.map.width)),
            ("tiles_high", u(tiles.count[0])),
            ("tiles_wide", u(tiles.count[1])),
        ]);
        let items = tiles.total() * out.rows * out.map.quads();
        self.elementwise(
            format!("{}, output transform", conv.label),
            "conv/winograd_output",
            &variables,
            &bind,
            &params,
            items,
            (tiles.tile.transform_flops()[1] * 4 * items) as u64,
        );
    }
}

/// Where the tensors of the Winograd domain live, as the transforms name it.
fn domain(tensor: Tensor) -> (&'static str, u32) {
    ("domain_textured", u32::from(tensor.textured))
}
