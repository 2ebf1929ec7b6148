//! A change of basis, and what it does to factors, gradients and moments.

use faer::{Mat, MatRef};

use crate::formats::Mixing;
use crate::model::{LayerState, LayoutLayer};

/// A change of the basis of a layer's ranks: A' = `left` A and B' = B `right`.
///
/// Before any rank is cut `right` is R and `left` its inverse, `[r, r]`; cutting takes rows of the one and columns of the
/// other, so that `left` `right` stays the identity of the ranks left.
///
/// Gates z that were diagonal before the turn are `left` diag(z) `right` after it, a full Gaussian matrix.
#[derive(Clone, Debug)]
pub struct Turn {
    /// R^-1, `[ranks left, r]`.
    pub left: Mat<f64>,
    /// R, `[r, ranks left]`.
    pub right: Mat<f64>,
}

impl Turn {
    /// The basis that the ranks stand in already.
    pub fn identity(rank: usize) -> Self {
        Self {
            left: Mat::identity(rank, rank),
            right: Mat::identity(rank, rank),
        }
    }

    /// Ranks after it.
    pub fn rank(&self) -> usize {
        self.left.nrows()
    }

    /// This turn first, then `next` within the new basis.
    pub fn then(&self, next: &Turn) -> Self {
        Self {
            left: &next.left * &self.left,
            right: &self.right * &next.right,
        }
    }

    /// The same with some of its ranks alone, by their present places.
    pub fn keep(&self, kept: &[usize]) -> Self {
        let (r, k) = (self.right.nrows(), kept.len());
        Self {
            left: Mat::from_fn(k, r, |i, j| self.left[(kept[i], j)]),
            right: Mat::from_fn(r, k, |i, j| self.right[(i, kept[j])]),
        }
    }

    /// What becomes of one gate for each of the ranks before the turn, of these numbers: exactly as they were, whatever
    /// is cut.
    pub fn mixing(&self, ids: &[u32]) -> Mixing {
        Mixing {
            left: floats(&self.left),
            right: floats(&self.right),
            ids: ids.to_vec(),
        }
    }

    /// A' = R^-1 A, for A `[r, n]`.
    pub fn a(&self, a: MatRef<f64>) -> Mat<f64> {
        &self.left * a
    }

    /// B' = B R, for B `[m, r]`.
    pub fn b(&self, b: MatRef<f64>) -> Mat<f64> {
        b * &self.right
    }

    /// The first `count` rows of A' and columns of B' made equally long: gradients and weight decay see how they share
    /// their product.
    pub(super) fn balanced(mut self, a: MatRef<f64>, b: MatRef<f64>, count: usize) -> Self {
        let (a, b) = (self.a(a), self.b(b));
        for i in 0..count {
            let (long, wide) = (a.row(i).norm_l2(), b.col(i).norm_l2());
            let factor = (wide / long).sqrt();
            if factor > 0.0 && factor.is_finite() {
                self.scale(i, factor);
            }
        }
        self
    }

    /// Row i of A' times `factor`, column i of B' over it.
    pub(super) fn scale(&mut self, i: usize, factor: f64) {
        let row = self.left.row_mut(i).iter_mut();
        row.for_each(|value| *value *= factor);
        let column = self.right.col_mut(i).iter_mut();
        column.for_each(|value| *value /= factor);
    }

    /// The sign of every rank such that the largest entry of its row of R^-1 is positive: turning what is turned already
    /// then changes nothing.
    pub(super) fn with_signs(mut self) -> Self {
        for i in 0..self.rank() {
            if largest(self.left.row(i).iter()) < 0.0 {
                self.scale(i, -1.0);
            }
        }
        self
    }

    /// A and B of a layer in the new basis; log alpha, whose gates have none there, becomes what is given.
    pub(super) fn values(
        &self,
        spec: &LayoutLayer,
        layer: &LayerState,
        log_alpha: Vec<f32>,
    ) -> LayerState {
        LayerState {
            lora_a: floats(&self.a(factor_a(spec, layer).as_ref())),
            lora_b: floats(&self.b(factor_b(spec, layer).as_ref())),
            log_alpha,
        }
    }

    /// What a gradient with respect to A, B becomes one with respect to A', B': R' dA and dB R^-T.
    pub(super) fn gradient(
        &self,
        spec: &LayoutLayer,
        layer: &LayerState,
        log_alpha: Vec<f32>,
    ) -> LayerState {
        LayerState {
            lora_a: floats(&(self.right.transpose() * factor_a(spec, layer))),
            lora_b: floats(&(factor_b(spec, layer) * self.left.transpose())),
            log_alpha,
        }
    }

    /// The second moments of that gradient, were the ranks' gradients uncorrelated.
    pub(super) fn squared_gradient(
        &self,
        spec: &LayoutLayer,
        layer: &LayerState,
        log_alpha: Vec<f32>,
    ) -> LayerState {
        let squared = |matrix: MatRef<f64>| {
            Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| {
                matrix[(i, j)].powi(2)
            })
        };
        LayerState {
            lora_a: floats(&(squared(self.right.transpose()) * factor_a(spec, layer))),
            lora_b: floats(&(factor_b(spec, layer) * squared(self.left.transpose()))),
            log_alpha,
        }
    }
}

/// The value of the largest size.
pub(super) fn largest<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.fold(0.0, |most: f64, value| match value.abs() > most.abs() {
        true => *value,
        false => most,
    })
}

/// A of a layer, `[r, in k k]`.
pub fn factor_a(spec: &LayoutLayer, layer: &LayerState) -> Mat<f64> {
    let columns = spec.in_channels * spec.taps();
    Mat::from_fn(spec.rank(), columns, |i, c| {
        f64::from(layer.lora_a[i * columns + c])
    })
}

/// B of a layer, `[out, r]`.
pub fn factor_b(spec: &LayoutLayer, layer: &LayerState) -> Mat<f64> {
    let rank = spec.rank();
    Mat::from_fn(spec.out_channels, rank, |o, i| {
        f64::from(layer.lora_b[o * rank + i])
    })
}

/// Row by row, as files and the engine's states hold matrices.
pub(super) fn floats(matrix: &Mat<f64>) -> Vec<f32> {
    let rows = matrix.row_iter();
    rows.flat_map(|row| row.iter().map(|value| *value as f32).collect::<Vec<_>>())
        .collect()
}
