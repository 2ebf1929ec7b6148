//! Sums of y y' over many long vectors: in full where they are short, else of low rank.

use faer::{Mat, MatRef, Side};
use rand_distr::{Distribution, StandardNormal};

use super::LaplaceError;
use super::linalg::{add_product, eigen};
use crate::data::keyed_rng;

/// Longest vectors whose sum is kept in full.
const FULL: usize = 512;

/// Eigenvectors kept of longer ones.
const RANK: usize = 128;

/// R = sum y y', `[len, len]`, in the making.
pub enum FactorSum {
    Full(Mat<f64>),
    /// R Omega for a random orthonormal Omega `[len, RANK]`, and the trace of R.
    Sketch {
        omega: Mat<f64>,
        product: Mat<f64>,
        trace: f64,
    },
}

/// The eigenvectors `[len, kept]` of R with their eigenvalues; what is orthogonal to them.
pub struct Factor {
    pub values: Vec<f64>,
    pub vectors: Mat<f64>,
    /// The value there, and the dimension.
    pub rest: Option<(f64, usize)>,
}

impl FactorSum {
    /// `number` keys the random matrix.
    pub fn new(len: usize, number: usize) -> Self {
        if len <= FULL {
            return Self::Full(Mat::zeros(len, len));
        }
        let mut rng = keyed_rng("laplace sketch", 0, number as u64);
        let normal: Mat<f64> = Mat::from_fn(len, RANK, |_, _| StandardNormal.sample(&mut rng));
        Self::Sketch {
            omega: normal.qr().compute_thin_Q(),
            product: Mat::zeros(len, RANK),
            trace: 0.0,
        }
    }

    /// Adds y y' for every column y.
    pub fn add(&mut self, columns: MatRef<f64>) {
        match self {
            Self::Full(sum) => add_product(sum, columns, columns.transpose()),
            Self::Sketch {
                omega,
                product,
                trace,
            } => {
                let inner = columns.transpose() * &*omega;
                add_product(product, columns, inner.as_ref());
                *trace += columns.squared_norm_l2();
            }
        }
    }

    /// The eigenvectors. Of a sketch, those of Nystrom's approximation R Omega (Omega' R Omega)^-1
    /// Omega' R, computed stably (Tropp et al. 2017, algorithm 3); what it leaves of the trace is
    /// spread evenly over the rest of the space.
    ///
    /// # Errors
    /// The decomposition fails.
    pub fn finish(self) -> Result<Factor, LaplaceError> {
        let (omega, mut shifted, trace) = match self {
            Self::Full(sum) => {
                let (values, vectors) = eigen(sum.as_ref())?;
                let rest = None;
                return Ok(Factor {
                    values,
                    vectors,
                    rest,
                });
            }
            Self::Sketch {
                omega,
                product,
                trace,
            } => (omega, product, trace),
        };
        let failed = |_| LaplaceError::Decomposition;
        let len = omega.nrows();
        let shift = f64::EPSILON * (len as f64).sqrt() * shifted.norm_l2();
        shifted += faer::Scale(shift.max(f64::MIN_POSITIVE)) * &omega;
        let core = omega.transpose() * &shifted;
        let core = core
            .llt(Side::Lower)
            .map_err(|_| LaplaceError::Decomposition)?;
        // E' with E = shifted C^-T, core = C C'.
        let mut half = shifted.transpose().to_owned();
        core.L().solve_lower_triangular_in_place(half.as_mut());
        let svd = half.transpose().thin_svd().map_err(failed)?;
        let roots = svd.S().column_vector().iter();
        let values: Vec<f64> = roots.map(|root| (root * root - shift).max(0.0)).collect();
        let left = (trace - values.iter().sum::<f64>()).max(0.0);
        let count = len - values.len();
        Ok(Factor {
            rest: Some((left / count as f64, count)),
            vectors: svd.U().to_owned(),
            values,
        })
    }
}
