//! From bytes to the network's input: augmented images, or cached features.

use crate::gpu::Slot;
use crate::model::graph::{Graph, Map, Tensor, u};

/// u8 images of consecutive numbers in one buffer, `[images, side, side, 3]`.
#[derive(Clone, Copy, Debug)]
pub struct ImageChunk {
    pub slot: Slot,
    pub first: usize,
    pub images: usize,
}

impl Graph {
    /// Rows `first..first + rows` of a batch of views of u8 images, cropped, flipped, resized,
    /// normalised.
    pub fn prepare(
        &mut self,
        images: &[ImageChunk],
        views: Slot,
        side: usize,
        size: usize,
        first: usize,
        rows: usize,
    ) -> Tensor {
        let out = self.tensor("input", Map::square(size, 3), rows);
        let items = size * size * rows;
        for chunk in images {
            self.elementwise(
                "prepare images".into(),
                "input/prepare",
                &[out.textured()],
                &[("images", chunk.slot), ("views", views), ("out", out.slot)],
                &[
                    ("first", u(first)),
                    ("batch", u(rows)),
                    ("side", u(side)),
                    ("size", u(size)),
                    ("first_image", u(chunk.first)),
                    ("image_count", u(chunk.images)),
                ],
                items,
                (40 * items / images.len()) as u64,
            );
        }
        out
    }

    /// f16 features of a batch to f32.
    pub fn unpack(&mut self, halves: Slot, map: Map, rows: usize) -> Tensor {
        let out = self.tensor("features", map, rows);
        let quads = map.floats() / 4 * rows;
        self.elementwise(
            "unpack features".into(),
            "input/unpack",
            &[out.textured()],
            &[("halves", halves), ("out", out.slot)],
            &[("quads", u(quads))],
            quads,
            0,
        );
        out
    }

    /// Copies a chunk of rows to its place in the tensor of the whole batch.
    pub fn place(&mut self, chunk: Tensor, first: usize, whole: Tensor) {
        let quads = chunk.map.floats() / 4 * chunk.rows;
        self.elementwise(
            "place chunk".into(),
            "input/place",
            &[chunk.textured()],
            &[("x", chunk.slot), ("out", whole.slot)],
            &[
                ("positions", u(chunk.map.positions())),
                ("first", u(first)),
                ("chunk", u(chunk.rows)),
                ("batch", u(whole.rows)),
                ("channel_quads", u(chunk.map.quads())),
            ],
            quads,
            0,
        );
    }
}
