//! The distance to the nearest training images (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors",
//! arXiv:2204.06507).

use faer::MatRef;

/// Rows that are compared with all training images at a time.
const ROWS: usize = 256;

/// Training features of unit length.
///
/// ```text
/// score(x) = | x/|x| - the k-th nearest of them |
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// `[n, d]`
    pub(super) features: Vec<f32>,
    pub(super) width: usize,
    pub(super) k: usize,
}

impl Neighbours {
    /// Of features `[n, width]`; `None` where there are fewer than `k` of them, or one is zero or not finite.
    pub fn fit(features: &[f32], width: usize, k: usize) -> Option<Self> {
        let features: Vec<f32> = features.chunks_exact(width.max(1)).flat_map(unit).collect();
        let fitted = Self { features, width, k };
        fitted.is_sound().then_some(fitted)
    }

    /// Whether it can score.
    pub(super) fn is_sound(&self) -> bool {
        let n = self.features.len() / self.width.max(1);
        (1..=n).contains(&self.k)
            && n * self.width == self.features.len()
            && self.features.iter().all(|value| value.is_finite())
    }

    /// The score of each row of features `[n, width]`; the higher, the less familiar.
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        let d = self.width;
        let known = MatRef::from_row_major_slice(&self.features, self.features.len() / d, d);
        let chunks = features.chunks(ROWS * d);
        let chunk = |rows: &[f32]| -> Vec<f64> {
            let rows: Vec<f32> = rows.chunks_exact(d).flat_map(unit).collect();
            let cosines = known * MatRef::from_column_major_slice(&rows, d, rows.len() / d);
            (0..cosines.ncols())
                .map(|image| {
                    let mut all: Vec<f32> = cosines.col(image).iter().copied().collect();
                    let (_, kth, _) = all.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
                    // Rounding can take it below 0; what is not a number stays so.
                    (2.0 - 2.0 * f64::from(*kth)).clamp(0.0, 4.0).sqrt()
                })
                .collect()
        };
        chunks.flat_map(chunk).collect()
    }
}

/// A row scaled to length 1.
fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let length = row
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    row.iter().map(move |x| (f64::from(*x) / length) as f32)
}
