//! What the structures need of dense linear algebra.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Side, get_global_parallelism};

use super::LaplaceError;

/// sum += left right
pub fn add_product(sum: &mut Mat<f64>, left: MatRef<f64>, right: MatRef<f64>) {
    let threads = get_global_parallelism();
    matmul(sum.as_mut(), Accum::Add, left, right, 1.0, threads);
}

/// Eigenvalues, not below 0, and eigenvectors (columns) of a positive semi-definite matrix, whose
/// lower half is read.
///
/// # Errors
/// The matrix holds a value that is not finite, or the iteration does not converge.
pub fn eigen(matrix: MatRef<f64>) -> Result<(Vec<f64>, Mat<f64>), LaplaceError> {
    let found = matrix.self_adjoint_eigen(Side::Lower);
    let found = found.map_err(|_| LaplaceError::Decomposition)?;
    let values = found.S().column_vector().iter();
    let values: Vec<f64> = values.map(|value| value.max(0.0)).collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok((values, found.U().to_owned())),
        false => Err(LaplaceError::Decomposition),
    }
}

/// Rows of `width` as the columns of a matrix.
pub fn columns(rows: &[f64], width: usize) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(rows, width, rows.len() / width.max(1))
}
