//! Pooling, forward and back.

use crate::model::graph::{Graph, Map, Tensor, u};

impl Graph {
    /// Max-pool 3x3, stride 2, padding 1.
    pub fn max_pool(&mut self, x: Tensor) -> Tensor {
        let map = x.map.pooled();
        let out = self.tensor("max pool", map, x.rows);
        let items = map.floats() / 4 * x.rows;
        self.elementwise(
            "max pool".into(),
            "pool/max",
            &[x.textured()],
            &[("x", x.slot), ("out", out.slot)],
            &window(x, map),
            items,
            (36 * items) as u64,
        );
        out
    }

    /// Its gradient, masked by the ReLU that made `x`.
    pub fn max_pool_backward(&mut self, x: Tensor, grad: Tensor) -> Tensor {
        let out = self.tensor("d max pool", x.map, x.rows);
        let items = x.map.floats() / 4 * x.rows;
        self.elementwise(
            "max pool gradient".into(),
            "pool/max_backward",
            &[x.textured()],
            &[("x", x.slot), ("grad", grad.slot), ("out", out.slot)],
            &window(x, grad.map),
            items,
            (36 * items) as u64,
        );
        out
    }

    /// Global average pool.
    pub fn average_pool(&mut self, x: Tensor) -> Tensor {
        let out = self.buffer_tensor("pooled", Map::vector(x.map.channels), x.rows);
        let items = x.map.quads() * x.rows;
        self.elementwise(
            "average pool".into(),
            "pool/average",
            &[x.textured()],
            &[("x", x.slot), ("out", out.slot)],
            &[("positions", u(x.map.positions())), ("row_quads", u(items))],
            items,
            (4 * items * x.map.positions()) as u64,
        );
        out
    }

    /// Its gradient, masked by the ReLU that made `x`.
    pub fn average_pool_backward(&mut self, x: Tensor, grad: Tensor) -> Tensor {
        let out = self.tensor("d features", x.map, x.rows);
        let row_quads = x.map.quads() * x.rows;
        self.elementwise(
            "average pool gradient".into(),
            "pool/average_backward",
            &[x.textured()],
            &[("x", x.slot), ("grad", grad.slot), ("out", out.slot)],
            &[
                ("positions", u(x.map.positions())),
                ("row_quads", u(row_quads)),
            ],
            row_quads * x.map.positions(),
            (4 * row_quads * x.map.positions()) as u64,
        );
        out
    }
}

fn window(x: Tensor, out: Map) -> [(&'static str, crate::gpu::Value); 5] {
    [
        ("in_height", u(x.map.height)),
        ("in_width", u(x.map.width)),
        ("out_height", u(out.height)),
        ("out_width", u(out.width)),
        ("row_quads", u(x.map.quads() * x.rows)),
    ]
}
