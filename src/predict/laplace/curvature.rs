//! Generalised Gauss-Newton matrices, H = sum_n J_n' (diag(p_n) - p_n p_n') J_n, in the shapes that a
//! posterior can have, and their eigenvectors.

use rayon::prelude::*;

use super::LaplaceError;
use super::points::Point;
use super::spectrum::{Projection, Spectrum};

/// A sum over images in the making.
pub trait Curvature: Send {
    /// Adds some images.
    fn add(&mut self, points: &[Point]);

    /// Eigenvalues of `scale` times the sum, and its eigenvectors.
    ///
    /// # Errors
    /// The decomposition fails, as with values that are not finite.
    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError>;
}

/// Eigenvectors of H.
pub trait Basis: Send + Sync {
    /// The Jacobians of some images in them.
    fn project(&self, points: &[Point]) -> Vec<Projection>;
}

/// Rows sqrt(p_k) (J_k - sum_c p_c J_c), `[classes, dims]`, whose outer products sum to
/// J' (diag(p) - p p') J.
pub fn fisher_rows(point: &Point) -> Vec<f64> {
    let classes = point.log_probs.len();
    let dims = point.jacobian.len() / classes;
    let probs: Vec<f64> = point.log_probs.iter().map(|log| log.exp()).collect();
    let mut mean = vec![0.0; dims];
    for (p, row) in probs.iter().zip(point.jacobian.chunks_exact(dims)) {
        let terms = mean.iter_mut().zip(row);
        terms.for_each(|(mean, j)| *mean += p * f64::from(*j));
    }
    let mut rows = Vec::with_capacity(classes * dims);
    for (p, row) in probs.iter().zip(point.jacobian.chunks_exact(dims)) {
        let root = p.sqrt();
        let pairs = row.iter().zip(&mean);
        rows.extend(pairs.map(|(j, mean)| root * (f64::from(*j) - mean)));
    }
    rows
}

/// diag(p) - p p', `[classes, classes]`.
pub fn softmax_hessian(point: &Point) -> Vec<f64> {
    let probs: Vec<f64> = point.log_probs.iter().map(|log| log.exp()).collect();
    let classes = probs.len();
    let mut hessian = Vec::with_capacity(classes * classes);
    for (a, p) in probs.iter().enumerate() {
        hessian.extend(probs.iter().map(|q| -p * q));
        hessian[a * classes + a] += p;
    }
    hessian
}

/// One image at a time on all cores.
pub fn project_each(
    points: &[Point],
    project: impl Fn(&Point) -> Projection + Send + Sync,
) -> Vec<Projection> {
    points.par_iter().map(project).collect()
}
