//! The singular directions of B A, without forming it.

use faer::{Mat, MatRef};

use super::Turn;
use super::turn::largest;

/// Singular values below this share of the largest are none.
const NOTHING: f64 = 1e-12;

/// The turn after which B' A' is the singular value decomposition of B A, for A `[r, n]` and B `[m, r]`, each singular
/// value shared evenly between its row of A' and its column of B'; and the singular values `[r]`, largest first. `None`
/// where a value is not finite.
///
/// Ranks that B A does not need come last, as zeros: each of their products is zero by itself, so that any of them can
/// be cut. Turning what is turned changes nothing.
///
/// From the thin QR decompositions A' = Q_a R_a and B = Q_b R_b the SVD of the small R_b R_a' = U S V' gives, with the k
/// singular values above nothing, rows S^-1/2 U_k' R_b of R^-1 and columns R_a' V_k S^-1/2 of R, which are biorthogonal.
pub fn svd(a: MatRef<f64>, b: MatRef<f64>) -> Option<(Turn, Vec<f64>)> {
    let rank = a.nrows();
    if rank == 0 {
        return Some((Turn::identity(0), Vec::new()));
    }
    let (ra, rb) = (a.transpose().qr(), b.qr());
    let (ra, rb) = (ra.thin_R(), rb.thin_R());
    let core = (rb * ra.transpose()).thin_svd().ok()?;
    let found: Vec<f64> = core.S().column_vector().iter().copied().collect();
    let alive = found
        .iter()
        .filter(|value| **value > NOTHING * found[0])
        .count();
    let root = |i: usize| found[i].sqrt();
    let (u, v) = (core.U().subcols(0, alive), core.V().subcols(0, alive));
    let (rows, columns) = (u.transpose() * rb, ra.transpose() * v);
    let turn = Turn {
        left: Mat::from_fn(alive, rank, |i, j| rows[(i, j)] / root(i)),
        right: Mat::from_fn(rank, alive, |i, j| columns[(i, j)] / root(j)),
    };
    let mut values = found[..alive].to_vec();
    values.resize(rank, 0.0);
    Some((completed(turn.with_signs(), rb), values))
}

/// The turn with the ranks that the product does without: an orthonormal basis Z of the null space of the rows found so
/// far, to the left Z'(I - right left). First those directions where B is not zero (A is, there), then the others.
fn completed(found: Turn, b: MatRef<f64>) -> Turn {
    let rank = found.left.ncols();
    let null = null_basis(found.left.as_ref());
    let seen = b * &null;
    let directions = seen.thin_svd().ok();
    let left_over = directions.map_or(Mat::zeros(rank, 0), |svd| {
        let least = NOTHING * b.norm_max() * rank as f64;
        let values = svd.S().column_vector().iter();
        let count = values.filter(|value| **value > least).count();
        &null * svd.V().subcols(0, count)
    });
    let left_over = Mat::from_fn(rank, left_over.ncols(), |i, j| {
        left_over[(i, j)] * largest(left_over.col(j).iter()).signum()
    });
    let known = below(found.left.as_ref(), left_over.transpose());
    let z = beside(left_over.as_ref(), null_basis(known.as_ref()).as_ref());
    let rest = Mat::<f64>::identity(rank, rank) - &found.right * &found.left;
    let rows = z.transpose() * rest;
    Turn {
        left: below(found.left.as_ref(), rows.as_ref()),
        right: beside(found.right.as_ref(), z.as_ref()),
    }
}

/// An orthonormal basis `[r, r - k]` of the vectors orthogonal to k independent rows `[k, r]`: that nearest to as many of
/// the coordinates themselves, so that it is these where they serve.
fn null_basis(rows: MatRef<f64>) -> Mat<f64> {
    let (count, rank) = rows.shape();
    let mut projector = Mat::<f64>::identity(rank, rank);
    if count > 0 {
        let lengths: Vec<f64> = rows.row_iter().map(|row| row.norm_l2()).collect();
        let q = Mat::from_fn(rank, count, |i, j| rows[(j, i)] / lengths[j]);
        let q = q.qr().compute_thin_Q();
        projector -= &q * q.transpose();
    }
    // Pivots of a Cholesky decomposition of the projector: the coordinates with most left in the null space.
    let (mut pivots, mut left) = (Vec::new(), projector.clone());
    for _ in count..rank {
        let most = (0..rank).fold(0, |best, i| {
            if left[(i, i)] > left[(best, best)] {
                i
            } else {
                best
            }
        });
        pivots.push(most);
        let column = left.col(most).to_owned();
        let pivot = column[most];
        left -= &column * column.transpose() / pivot;
    }
    pivots.sort_unstable();
    let near = Mat::from_fn(rank, pivots.len(), |i, j| projector[(i, pivots[j])]);
    let gram = near.transpose() * &near;
    let Ok(eigen) = gram.self_adjoint_eigen(faer::Side::Lower) else {
        return near;
    };
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let scaled = Mat::from_fn(vectors.nrows(), vectors.ncols(), |i, j| {
        vectors[(i, j)] / values[j].sqrt()
    });
    near * scaled * vectors.transpose()
}

fn below(upper: MatRef<f64>, lower: MatRef<f64>) -> Mat<f64> {
    let rows = upper.nrows();
    Mat::from_fn(rows + lower.nrows(), upper.ncols(), |i, j| match i < rows {
        true => upper[(i, j)],
        false => lower[(i - rows, j)],
    })
}

fn beside(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    below(left.transpose(), right.transpose())
        .transpose()
        .to_owned()
}
