//! H in full: over the head's parameters, and over the gates of all layers together.

use faer::{Mat, MatRef};
use rayon::prelude::*;

use super::LaplaceError;
use super::curvature::{Basis, Curvature, fisher_rows, project_each, softmax_hessian};
use super::linalg::{add_product, columns, eigen};
use super::points::Point;
use super::spectrum::{Projection, Spectrum};

/// The joint H over all gates, `[ranks, ranks]`.
pub struct Gates {
    sum: Mat<f64>,
}

impl Gates {
    pub fn new(ranks: usize) -> Self {
        Self {
            sum: Mat::zeros(ranks, ranks),
        }
    }
}

impl Curvature for Gates {
    fn add(&mut self, points: &[Point]) {
        let rows: Vec<f64> = points.iter().flat_map(fisher_rows).collect();
        let rows = columns(&rows, self.sum.nrows());
        add_product(&mut self.sum, rows, rows.transpose());
    }

    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError> {
        let (mut values, vectors) = eigen(self.sum.as_ref())?;
        values.iter_mut().for_each(|value| *value *= scale);
        let groups = Vec::new();
        Ok((Spectrum { values, groups }, Box::new(GateBasis { vectors })))
    }
}

struct GateBasis {
    vectors: Mat<f64>,
}

impl Basis for GateBasis {
    fn project(&self, points: &[Point]) -> Vec<Projection> {
        project_each(points, |point| {
            let jacobian: Vec<f64> = point.jacobian.iter().copied().map(f64::from).collect();
            // [ranks, classes], column by column.
            let found = self.vectors.transpose() * columns(&jacobian, self.vectors.nrows());
            let classes = 0..found.ncols();
            let coordinates = classes.flat_map(|class| found.col(class).iter().map(|v| *v as f32));
            Projection {
                coordinates: coordinates.collect(),
                grams: Vec::new(),
            }
        })
    }
}

/// H over the head's weight and bias, sum_n (diag(p) - p p') (x) phi phi', `phi` with a 1 appended.
///
/// Adding the same vector to every row of the head changes no probability, so H is zero there. The
/// sums are over the rest: an orthonormal basis V of the contrasts of classes, `[classes, classes - 1]`.
pub struct LastLayerFull {
    classes: usize,
    features: usize,
    contrasts: Vec<f64>,
    sum: Mat<f64>,
}

impl LastLayerFull {
    pub fn new(classes: usize, features: usize) -> Self {
        let dims = (classes - 1) * features;
        Self {
            classes,
            features,
            contrasts: contrasts(classes),
            sum: Mat::zeros(dims, dims),
        }
    }
}

/// Helmert's contrasts `[classes, classes - 1]`: column k compares class k + 1 with those before it.
fn contrasts(classes: usize) -> Vec<f64> {
    let mut all = vec![0.0; classes * (classes - 1)];
    for k in 0..classes - 1 {
        let before = (k + 1) as f64;
        let length = (before * (before + 1.0)).sqrt();
        for class in 0..=k {
            all[class * (classes - 1) + k] = 1.0 / length;
        }
        all[(k + 1) * (classes - 1) + k] = -before / length;
    }
    all
}

impl Curvature for LastLayerFull {
    fn add(&mut self, points: &[Point]) {
        let (classes, features) = (self.classes, self.features);
        let inputs: Vec<f64> = points
            .iter()
            .flat_map(|p| &p.jacobian)
            .map(|v| f64::from(*v))
            .collect();
        let inputs = columns(&inputs, features);
        let contrasts = MatRef::from_row_major_slice(&self.contrasts, classes, classes - 1);
        let weights: Vec<Mat<f64>> = points
            .iter()
            .map(|point| {
                let hessian = softmax_hessian(point);
                contrasts.transpose() * columns(&hessian, classes) * contrasts
            })
            .collect();
        for a in 0..classes - 1 {
            // The lower half suffices.
            for b in 0..=a {
                let scaled = Mat::from_fn(features, points.len(), |f, n| {
                    weights[n][(a, b)] * inputs[(f, n)]
                });
                let part = &scaled * inputs.transpose();
                let (row, column) = (a * features, b * features);
                let mut block = self
                    .sum
                    .as_mut()
                    .submatrix_mut(row, column, features, features);
                block += part;
            }
        }
    }

    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError> {
        let (mut values, vectors) = eigen(self.sum.as_ref())?;
        values.iter_mut().for_each(|value| *value *= scale);
        let spectrum = Spectrum {
            values,
            groups: vec![(0.0, self.features)],
        };
        let basis = HeadBasis {
            classes: self.classes,
            features: self.features,
            contrasts: self.contrasts,
            vectors,
        };
        Ok((spectrum, Box::new(basis)))
    }
}

struct HeadBasis {
    classes: usize,
    features: usize,
    contrasts: Vec<f64>,
    /// `[(classes - 1) features, (classes - 1) features]`
    vectors: Mat<f64>,
}

impl Basis for HeadBasis {
    /// Logit c has the Jacobian e_c (x) phi: its coordinates are sum_a V_ca phi' Q_a, where Q_a are the
    /// eigenvectors' rows of contrast a; the rest of it is phi / sqrt(classes) for every class.
    fn project(&self, points: &[Point]) -> Vec<Projection> {
        let (classes, features, width) = (self.classes, self.features, self.vectors.ncols());
        let inputs: Vec<f64> = points
            .iter()
            .flat_map(|p| &p.jacobian)
            .map(|v| f64::from(*v))
            .collect();
        let inputs = columns(&inputs, features);
        let each = (0..classes - 1).map(|a| {
            let vectors = self.vectors.as_ref().subrows(a * features, features);
            vectors.transpose() * inputs
        });
        // [dims, images] for each contrast.
        let rotated: Vec<Mat<f64>> = each.collect();
        let indices: Vec<usize> = (0..points.len()).collect();
        let project = |n: &usize| {
            let mut coordinates = vec![0.0f32; classes * width];
            for (class, row) in coordinates.chunks_exact_mut(width).enumerate() {
                for (k, coordinate) in row.iter_mut().enumerate() {
                    let terms = rotated.iter().enumerate();
                    let sum: f64 = terms
                        .map(|(a, rotated)| {
                            self.contrasts[class * (classes - 1) + a] * rotated[(k, *n)]
                        })
                        .sum();
                    *coordinate = sum as f32;
                }
            }
            let square: f64 = inputs.col(*n).iter().map(|v| v * v).sum();
            Projection {
                coordinates,
                grams: vec![square / classes as f64; classes * classes],
            }
        };
        indices.par_iter().map(project).collect()
    }
}
