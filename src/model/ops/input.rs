//! From bytes to the network's input: augmented images, or cached features.

use crate::gpu::Slot;
use crate::model::graph::{Graph, Map, Tensor, u};

/// Means and standard deviations of ImageNet's red, green and blue, from 0 to 1: what backbones expect pixels to be normalised by.
pub const PIXEL_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`PIXEL_MEAN`].
pub const PIXEL_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// What a workgroup unpacks of a row, at most: eight quads per invocation.
const GROUP_QUADS: usize = 8 * 64;

/// Items of consecutive numbers in one buffer: u8 images `[count, side, side, 3]`, or the f16 features
/// of rows `[count, position, channel]`.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub slot: Slot,
    pub first: usize,
    pub count: usize,
}

impl Graph {
    /// Rows `first..first + rows` of a batch of views of u8 images, cropped, flipped, resized,
    /// normalised.
    pub fn prepare(
        &mut self,
        images: &[Piece],
        views: Slot,
        side: usize,
        size: usize,
        first: usize,
        rows: usize,
    ) -> Tensor {
        let out = self.tensor("input", Map::square(size, 3), rows);
        let items = size * size * rows;
        for piece in images {
            self.elementwise(
                "prepare images".into(),
                "input/prepare",
                &[out.textured()],
                &[("images", piece.slot), ("views", views), ("out", out.slot)],
                &[
                    ("first", u(first)),
                    ("batch", u(rows)),
                    ("side", u(side)),
                    ("size", u(size)),
                    ("first_image", u(piece.first)),
                    ("image_count", u(piece.count)),
                ],
                items,
                (40 * items / images.len()) as u64,
            );
        }
        out
    }

    /// f16 features to f32, those whose numbers the views of the batch have; a negative number stands
    /// for zeros.
    pub fn unpack(&mut self, features: &[Piece], views: Slot, map: Map, rows: usize) -> Tensor {
        let out = self.tensor("features", map, rows);
        let row_quads = map.floats() / 4;
        let row_groups = row_quads.div_ceil(GROUP_QUADS);
        for piece in features {
            self.elementwise(
                "unpack features".into(),
                "input/unpack",
                &[out.textured()],
                &[("halves", piece.slot), ("views", views), ("out", out.slot)],
                &[
                    ("batch", u(rows)),
                    ("row_groups", u(row_groups)),
                    ("row_quads", u(row_quads)),
                    ("channel_quads", u(map.quads())),
                    ("first_row", u(piece.first)),
                    ("row_count", u(piece.count)),
                ],
                64 * row_groups * rows,
                0,
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::shaders::SHADERS;

    #[test]
    fn the_shader_normalises_by_the_same() {
        let (_, text) = SHADERS
            .iter()
            .find(|(name, _)| *name == "input/prepare")
            .unwrap();
        for (name, [r, g, b]) in [("mean", PIXEL_MEAN), ("deviation", PIXEL_DEVIATION)] {
            let line = format!("let {name} = vec3f({r}, {g}, {b});");
            assert!(text.contains(&line), "{line}");
        }
    }
}
