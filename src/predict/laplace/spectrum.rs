//! The eigenvalues of a generalised Gauss-Newton matrix H: all that the evidence needs of it.

use std::ops::Range;

/// Where prior precisions are looked for.
pub const PRECISION_RANGE: (f64, f64) = (1e-4, 1e8);

/// Halvings of the search for the evidence's maximum: 12 decades to a relative 1e-9.
const HALVINGS: usize = 36;

/// Eigenvalues of H, a positive semi-definite matrix.
#[derive(Clone, Debug, Default)]
pub struct Spectrum {
    /// Those with an eigenvector of their own.
    pub values: Vec<f64>,
    /// Subspaces in which H is a multiple of the identity: that multiple and their dimension.
    pub groups: Vec<(f64, usize)>,
}

impl Spectrum {
    /// Number of parameters.
    pub fn dims(&self) -> usize {
        self.values.len() + self.groups.iter().map(|(_, count)| count).sum::<usize>()
    }

    fn sum(&self, of: impl Fn(f64) -> f64) -> f64 {
        let values = self.values.iter().map(|value| of(*value)).sum::<f64>();
        let groups = self.groups.iter();
        values
            + groups
                .map(|(value, count)| *count as f64 * of(*value))
                .sum::<f64>()
    }

    /// ln det(H + delta I)
    pub fn log_det(&self, delta: f64) -> f64 {
        self.sum(|value| (value + delta).ln())
    }

    /// sum_k lambda_k / (lambda_k + delta): the parameters that the data determine (MacKay 1992).
    pub fn effective_dims(&self, delta: f64) -> f64 {
        self.sum(|value| value / (value + delta))
    }

    /// What the prior adds to ln p(D | theta*): -delta/2 |theta* - mean|^2 + D/2 ln delta
    /// - 1/2 ln det(H + delta I), where `squared_norm` is |theta* - mean|^2.
    pub fn log_occam(&self, delta: f64, squared_norm: f64) -> f64 {
        let dims = self.dims() as f64;
        0.5 * (dims * delta.ln() - delta * squared_norm - self.log_det(delta))
    }

    /// The delta that maximises [`Spectrum::log_occam`], within [`PRECISION_RANGE`]. Its slope in
    /// ln delta is (effective dims - delta |theta* - mean|^2) / 2, which only falls.
    pub fn best_precision(&self, squared_norm: f64) -> f64 {
        let rises = |delta: f64| self.effective_dims(delta) > delta * squared_norm;
        let (mut low, mut high) = (PRECISION_RANGE.0.ln(), PRECISION_RANGE.1.ln());
        if !rises(PRECISION_RANGE.0) {
            return PRECISION_RANGE.0;
        }
        if rises(PRECISION_RANGE.1) {
            return PRECISION_RANGE.1;
        }
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            match rises(middle.exp()) {
                true => low = middle,
                false => high = middle,
            }
        }
        (0.5 * (low + high)).exp()
    }
}

/// A Jacobian `[classes, dims]` in the eigenvectors of H.
#[derive(Clone, Debug)]
pub struct Projection {
    /// `[classes, values]`
    pub coordinates: Vec<f32>,
    /// `[groups, classes, classes]`: inner products of the parts in each subspace.
    pub grams: Vec<f64>,
}

impl Projection {
    /// J (H + delta I)^-1 J', `[classes, classes]`.
    pub fn covariance(&self, spectrum: &Spectrum, delta: f64, classes: usize) -> Vec<f64> {
        let inverse: Vec<f64> = spectrum.values.iter().map(|v| 1.0 / (v + delta)).collect();
        let width = inverse.len();
        let row = |class: usize| &self.coordinates[class * width..][..width];
        let mut covariance = vec![0.0; classes * classes];
        let mut scaled = vec![0.0; width];
        for a in 0..classes {
            let terms = scaled.iter_mut().zip(row(a)).zip(&inverse);
            terms.for_each(|((scaled, u), inverse)| *scaled = f64::from(*u) * inverse);
            for b in 0..=a {
                let sum = dot(&scaled, row(b));
                covariance[a * classes + b] = sum;
                covariance[b * classes + a] = sum;
            }
        }
        let grams = self.grams.chunks_exact(classes * classes);
        for (gram, (value, _)) in grams.zip(&spectrum.groups) {
            let pairs = covariance.iter_mut().zip(gram);
            pairs.for_each(|(sum, gram)| *sum += gram / (value + delta));
        }
        covariance
    }
}

/// In parallel sums, so that the compiler can use vectors.
fn dot(a: &[f64], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let whole: Range<usize> = 0..a.len() / LANES * LANES;
    let pairs = a[whole.clone()].chunks_exact(LANES);
    for (a, b) in pairs.zip(b[whole.clone()].chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * f64::from(b[lane]);
        }
    }
    let rest = a[whole.end..].iter().zip(&b[whole.end..]);
    sums.iter().sum::<f64>() + rest.map(|(a, b)| a * f64::from(*b)).sum::<f64>()
}
