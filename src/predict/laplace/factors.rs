//! The gradients of A and B of each example, on the host, from what the plan leaves of them.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};

use crate::model::{AdapterFactors, Map};

/// An adapter and the maps around it.
pub struct Site {
    kernel: usize,
    stride: usize,
    pad: usize,
    /// Of its input, of h and of its output.
    x: Map,
    h: Map,
    out: Map,
    rows: usize,
    scale: f32,
}

/// A batch's tensors at a site, `[position, row, channel]` with channels padded.
pub struct SiteValues {
    pub x: Vec<f32>,
    /// h = A * x
    pub h: Vec<f32>,
    /// B' G, one per class.
    pub q: Vec<Vec<f32>>,
    /// G = dlogit_c/dy, one per class.
    pub grad: Vec<Vec<f32>>,
}

impl Site {
    pub fn new(factors: &AdapterFactors, scale: f32) -> Self {
        let geometry = factors.geometry.as_ref();
        let (kernel, stride, pad) =
            geometry.map_or((1, 1, 0), |spec| (spec.kernel, spec.stride, spec.pad));
        Self {
            kernel,
            stride,
            pad,
            x: factors.x.map,
            h: factors.h.map,
            out: factors.grad.map,
            rows: factors.h.rows,
            scale,
        }
    }

    /// Floats of A and of B.
    fn lens(&self) -> [usize; 2] {
        let rank = self.h.channels;
        let columns = self.kernel * self.kernel * self.x.channels;
        [rank * columns, rank * self.out.channels]
    }

    /// One row's channels at a position.
    fn at<'a>(&self, values: &'a [f32], map: Map, position: usize, row: usize) -> &'a [f32] {
        let width = map.quads() * 4;
        &values[(position * self.rows + row) * width..][..map.channels]
    }

    /// The inputs of A at each of its positions, `[tap channel, position]`, zero in the padding.
    fn patches(&self, values: &[f32], row: usize) -> Mat<f32> {
        let channels = self.x.channels;
        let mut patches = Mat::zeros(self.kernel * self.kernel * channels, self.h.positions());
        for position in 0..self.h.positions() {
            let (top, left) = (position / self.h.width, position % self.h.width);
            for tap in 0..self.kernel * self.kernel {
                let y = (top * self.stride + tap / self.kernel).checked_sub(self.pad);
                let x = (left * self.stride + tap % self.kernel).checked_sub(self.pad);
                let (Some(y), Some(x)) = (y, x) else {
                    continue;
                };
                if y < self.x.height && x < self.x.width {
                    let from = self.at(values, self.x, y * self.x.width + x, row);
                    let to = patches
                        .col_mut(position)
                        .subrows_mut(tap * channels, channels);
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
        patches
    }

    /// `[channels, position]` of one row.
    fn matrix(&self, values: &[f32], map: Map, row: usize) -> Mat<f32> {
        Mat::from_fn(map.channels, map.positions(), |channel, position| {
            self.at(values, map, position, row)[channel]
        })
    }

    /// Writes dlogit_c/dA `[rank, tap, in]` and dlogit_c/dB `[rank, out]` of one row to the start of
    /// what each class has in `into`; returns how many floats these are.
    pub fn jacobian(&self, values: &SiteValues, row: usize, into: &mut [&mut [f32]]) -> usize {
        let [len_a, len_b] = self.lens();
        let patches = self.patches(&values.x, row);
        let h = self.matrix(&values.h, self.h, row);
        let rank = self.h.channels;
        for (class, into) in into.iter_mut().enumerate() {
            let q = self.matrix(&values.q[class], self.h, row);
            let grad = self.matrix(&values.grad[class], self.out, row);
            let (a, rest) = into.split_at_mut(len_a);
            // Row by row `[rank, columns]` is column by column `[columns, rank]`.
            for (to, wide, thin) in [(a, &patches, &q), (&mut rest[..len_b], &grad, &h)] {
                let to = MatMut::from_column_major_slice_mut(to, wide.nrows(), rank);
                let thin = thin.transpose();
                matmul(to, Accum::Replace, wide, thin, self.scale, Par::Seq);
            }
        }
        len_a + len_b
    }
}
