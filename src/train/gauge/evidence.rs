//! The basis in which both second moments are diagonal.

use faer::{Mat, MatRef, Side};

use super::{Turn, svd};

/// What is added to the diagonal of the correlations of h, so that directions that no image has seen can be divided by.
const RIDGE: f64 = 1e-10;

/// The turn after which E[h h'] and E[q q'] of the ranks are both diagonal, the largest product first, for A `[r, n]`,
/// B `[m, r]` and the moments `[r, r]` in the basis that the ranks have now; and these products `[r]`, the evidence of
/// each rank under a Kronecker approximation. `None` where a value is not finite.
///
/// M_h = L L', the eigenvectors Q of L' M_q L, R = L Q. It is found within the [singular directions](svd), where ranks
/// that the product does without are out of the way; rows of A' and columns of B' are equally long.
pub fn evidence(
    a: MatRef<f64>,
    b: MatRef<f64>,
    moments_h: MatRef<f64>,
    moments_q: MatRef<f64>,
) -> Option<(Turn, Vec<f64>)> {
    let (first, values) = svd(a, b)?;
    let alive = values.iter().filter(|value| **value > 0.0).count();
    let h = &first.left * moments_h * first.left.transpose();
    let q = first.right.transpose() * moments_q * &first.right;
    let (h, q) = (
        h.submatrix(0, 0, alive, alive),
        q.submatrix(0, 0, alive, alive),
    );
    let (right, left, mut found) = diagonal_together(h, q)?;
    found.resize(values.len(), 0.0);
    let padded = |block: &Mat<f64>| {
        Mat::from_fn(values.len(), values.len(), |i, j| {
            match i < alive && j < alive {
                true => block[(i, j)],
                false => f64::from(u8::from(i == j)),
            }
        })
    };
    let (left, right) = (padded(&left), padded(&right));
    let turn = first.then(&Turn { left, right });
    Some((turn.balanced(a, b, alive).with_signs(), found))
}

/// R, its inverse and the diagonal of R' M_q R where R^-1 M_h R^-T is the identity, largest first.
fn diagonal_together(h: MatRef<f64>, q: MatRef<f64>) -> Option<(Mat<f64>, Mat<f64>, Vec<f64>)> {
    let rank = h.nrows();
    let size = |i: usize| match h[(i, i)] > 0.0 {
        true => h[(i, i)].sqrt(),
        false => 1.0,
    };
    let correlations = Mat::from_fn(rank, rank, |i, j| {
        h[(i, j)] / (size(i) * size(j)) + if i == j { RIDGE } else { 0.0 }
    });
    let root = correlations.llt(Side::Lower).ok()?;
    let lower = Mat::from_fn(rank, rank, |i, j| match j <= i {
        true => size(i) * root.L()[(i, j)],
        false => 0.0,
    });
    let turned = lower.transpose() * q * &lower;
    let eigen = turned.self_adjoint_eigen(Side::Lower).ok()?;
    // They come smallest first.
    let vectors = Mat::from_fn(rank, rank, |i, j| eigen.U()[(i, rank - 1 - j)]);
    let values: Vec<f64> = eigen.S().column_vector().iter().copied().rev().collect();
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let values = values.into_iter().map(|value| value.max(0.0)).collect();
    let mut inverse = Mat::identity(rank, rank);
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        lower.as_ref(),
        inverse.as_mut(),
        faer::Par::Seq,
    );
    Some((&lower * &vectors, vectors.transpose() * inverse, values))
}
