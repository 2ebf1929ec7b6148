//! A 3x3 convolution in the Winograd domain: the input transformed, sixteen products, the output
//! transformed back.

use super::kernel::ProductKernel;
use super::product::{Epilogue, Product, Recorded, Start};
use super::{Conv, ConvShape};
use crate::model::frozen::WeightLayout;
use crate::model::graph::{Graph, Map, Tensor, u};

/// Values of a transformed tile of 4x4, one map position each.
const SIDE: usize = 4;

impl Graph {
    /// A convolution without an adapter; one row out for each row in.
    pub(super) fn winograd(&mut self, conv: Conv, shape: &ConvShape, kernel: ProductKernel) {
        let tiles = shape.winograd_tiles();
        let layout = WeightLayout {
            backward: conv.backward,
            winograd: true,
            storage: kernel.storage(false),
        };
        let input = self.winograd_input(&conv, tiles);
        let map = Map::square(SIDE, conv.out.map.channels);
        let products = self.tensor("Winograd products", map, input.rows);
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
                taps: SIDE * SIDE,
            },
            kernel,
        );
        self.winograd_output(&conv, products, tiles);
    }

    /// B' x B of each tile of 4x4 inputs: one row a tile and example, tile by tile.
    fn winograd_input(&mut self, conv: &Conv, [tall, wide]: [usize; 2]) -> Tensor {
        let input = conv.input;
        let map = Map::square(SIDE, input.map.channels);
        let out = self.tensor("Winograd input", map, tall * wide * input.rows);
        let items = out.rows * map.quads();
        self.elementwise(
            format!("{}, input transform", conv.label),
            "conv/winograd_input",
            &[input.textured()],
            &[("x", input.slot), ("out", out.slot)],
            &[
                ("batch", u(input.rows)),
                ("height", u(input.map.height)),
                ("width", u(input.map.width)),
                ("quads", u(map.quads())),
                ("tiles_high", u(tall)),
                ("tiles_wide", u(wide)),
            ],
            items,
            (32 * 4 * items) as u64,
        );
        out
    }

    /// A' m A of each tile: 2x2 outputs, each through the epilogue.
    fn winograd_output(&mut self, conv: &Conv, products: Tensor, [tall, wide]: [usize; 2]) {
        let out = conv.out;
        let mut recorded = Recorded::default();
        conv.epilogue.record(self, out, &mut recorded);
        let Recorded {
            mut bind,
            mut params,
            variables,
        } = recorded;
        bind.push(("products", products.slot));
        params.extend([
            ("height", u(out.map.height)),
            ("width", u(out.map.width)),
            ("tiles_high", u(tall)),
            ("tiles_wide", u(wide)),
        ]);
        let items = tall * wide * out.rows * out.map.quads();
        self.elementwise(
            format!("{}, output transform", conv.label),
            "conv/winograd_output",
            &variables,
            &bind,
            &params,
            items,
            (24 * 4 * items) as u64,
        );
    }
}
