//! H as a Kronecker product L (x) R, for the head and for each A and B.

use faer::{Mat, MatRef};
use rayon::prelude::*;

use super::LaplaceError;
use super::curvature::{Basis, Curvature, fisher_rows, project_each, softmax_hessian};
use super::factor::{Factor, FactorSum};
use super::linalg::{add_product, columns, eigen};
use super::points::{Block, Point};
use super::spectrum::{Projection, Spectrum};

/// The head's H as KFAC has it (Martens and Grosse 2015): sum_n (diag(p) - p p') (x) sum_n phi phi' / N.
pub struct LastLayerKron {
    hessians: Mat<f64>,
    inputs: Mat<f64>,
    images: usize,
}

impl LastLayerKron {
    pub fn new(classes: usize, features: usize) -> Self {
        Self {
            hessians: Mat::zeros(classes, classes),
            inputs: Mat::zeros(features, features),
            images: 0,
        }
    }
}

impl Curvature for LastLayerKron {
    fn add(&mut self, points: &[Point]) {
        for point in points {
            self.hessians += columns(&softmax_hessian(point), self.hessians.nrows());
        }
        let inputs = points.iter().flat_map(|point| &point.jacobian);
        let inputs: Vec<f64> = inputs.copied().map(f64::from).collect();
        let inputs = columns(&inputs, self.inputs.nrows());
        add_product(&mut self.inputs, inputs, inputs.transpose());
        self.images += points.len();
    }

    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError> {
        let (outer, left) = eigen(self.hessians.as_ref())?;
        let (inner, right) = eigen(self.inputs.as_ref())?;
        let scale = scale / self.images as f64;
        let pairs = outer.iter().flat_map(|l| inner.iter().map(move |r| l * r));
        let values = pairs.map(|product| scale * product).collect();
        let groups = Vec::new();
        Ok((
            Spectrum { values, groups },
            Box::new(HeadBasis { left, right }),
        ))
    }
}

struct HeadBasis {
    /// `[classes, classes]`
    left: Mat<f64>,
    /// `[features, features]`
    right: Mat<f64>,
}

impl Basis for HeadBasis {
    /// Logit c has the Jacobian e_c (x) phi, so its coordinates are (row c of left) (x) right' phi.
    fn project(&self, points: &[Point]) -> Vec<Projection> {
        project_each(points, |point| {
            let input: Vec<f64> = point.jacobian.iter().copied().map(f64::from).collect();
            let input = self.right.transpose() * columns(&input, self.right.nrows());
            let pairs = self.left.row_iter().flat_map(|row| {
                let input = input.col(0);
                row.iter()
                    .flat_map(move |l| input.iter().map(move |r| (l * r) as f32))
                    .collect::<Vec<_>>()
            });
            Projection {
                coordinates: pairs.collect(),
                grams: Vec::new(),
            }
        })
    }
}

/// H of each A and B, `[rank, columns]`, on its own. With M the Jacobian rows of [`fisher_rows`] as
/// such matrices, L = sum M M' and R = sum M' M, and H is about L (x) R / tr L: one step of the power
/// iteration from the identity towards the nearest Kronecker product (Van Loan and Pitsianis 1993;
/// Morwani et al. 2024), exact where H is one. R of more than 512 columns is kept as 128 eigenvectors
/// and a multiple of the identity elsewhere ([`FactorSum`]), as Yang et al. (2024) keep it low-rank.
pub struct AdapterKron {
    classes: usize,
    sums: Vec<BlockSum>,
}

struct BlockSum {
    block: Block,
    /// Where it starts among all parameters.
    start: usize,
    left: Mat<f64>,
    right: FactorSum,
}

impl AdapterKron {
    pub fn new(classes: usize, blocks: Vec<Block>) -> Self {
        let mut start = 0;
        let sums = blocks.into_iter().enumerate().map(|(number, block)| {
            let place = start;
            start += block.parameters();
            BlockSum {
                block,
                start: place,
                left: Mat::zeros(block.rank, block.rank),
                right: FactorSum::new(block.columns(), number),
            }
        });
        Self {
            classes,
            sums: sums.collect(),
        }
    }
}

/// The part of a block in rows over all parameters, one a class: `[columns, classes rank]`.
fn part<T: Copy + Into<f64>>(rows: &[T], classes: usize, start: usize, block: Block) -> Mat<f64> {
    let (rank, columns, dims) = (block.rank, block.columns(), rows.len() / classes);
    Mat::from_fn(columns, classes * rank, |column, row| {
        rows[row / rank * dims + start + row % rank * columns + column].into()
    })
}

impl Curvature for AdapterKron {
    fn add(&mut self, points: &[Point]) {
        let classes = self.classes;
        let rows: Vec<Vec<f64>> = points.par_iter().map(fisher_rows).collect();
        self.sums.par_iter_mut().for_each(|sum| {
            let rank = sum.block.rank;
            for rows in &rows {
                let part = part(rows, classes, sum.start, sum.block);
                for class in 0..classes {
                    let matrix = part.as_ref().subcols(class * rank, rank);
                    add_product(&mut sum.left, matrix.transpose(), matrix);
                }
                sum.right.add(part.as_ref());
            }
        });
    }

    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError> {
        let mut spectrum = Spectrum::default();
        let mut blocks = Vec::new();
        for sum in self.sums {
            let trace: f64 = (0..sum.block.rank).map(|i| sum.left[(i, i)]).sum();
            let (outer, left) = eigen(sum.left.as_ref())?;
            let right = sum.right.finish()?;
            let scale = scale / trace.max(f64::MIN_POSITIVE);
            for l in outer {
                let values = right.values.iter();
                spectrum.values.extend(values.map(|r| scale * l * r));
                let rest = right.rest.map(|(value, count)| (scale * l * value, count));
                spectrum.groups.extend(rest);
            }
            blocks.push(BlockBasis {
                block: sum.block,
                start: sum.start,
                left,
                right,
            });
        }
        let classes = self.classes;
        Ok((spectrum, Box::new(AdapterBasis { classes, blocks })))
    }
}

struct AdapterBasis {
    classes: usize,
    blocks: Vec<BlockBasis>,
}

struct BlockBasis {
    block: Block,
    start: usize,
    /// `[rank, rank]`
    left: Mat<f64>,
    right: Factor,
}

impl Basis for AdapterBasis {
    fn project(&self, points: &[Point]) -> Vec<Projection> {
        project_each(points, |point| {
            let classes = self.classes;
            let each = self.blocks.iter();
            let parts: Vec<_> = each.map(|b| b.project(&point.jacobian, classes)).collect();
            let rows = (0..classes).flat_map(|class| {
                let parts = parts.iter();
                parts.flat_map(move |(coordinates, _)| {
                    let width = coordinates.len() / classes;
                    &coordinates[class * width..][..width]
                })
            });
            Projection {
                coordinates: rows.copied().collect(),
                grams: parts.iter().flat_map(|(_, grams)| grams).copied().collect(),
            }
        })
    }
}

impl BlockBasis {
    /// `[classes, rank, kept]` and, where R has a rest, `[rank, classes, classes]`.
    fn project(&self, jacobian: &[f32], classes: usize) -> (Vec<f32>, Vec<f64>) {
        let rank = self.block.rank;
        let part = part(jacobian, classes, self.start, self.block);
        // Columns (class, i): row i of left' J_c.
        let mut turned = Mat::zeros(part.nrows(), part.ncols());
        for class in 0..classes {
            let rotated = part.as_ref().subcols(class * rank, rank) * &self.left;
            turned
                .as_mut()
                .subcols_mut(class * rank, rank)
                .copy_from(rotated);
        }
        let found: Mat<f64> = self.right.vectors.transpose() * &turned;
        let coordinates = found
            .col_iter()
            .flat_map(|column| column.iter().map(|v| *v as f32));
        let coordinates = coordinates.collect();
        if self.right.rest.is_none() {
            return (coordinates, Vec::new());
        }
        let grams = (0..rank).flat_map(|i| {
            let whole = rows_of(turned.as_ref(), i, rank, classes);
            let kept = rows_of(found.as_ref(), i, rank, classes);
            let gram: Mat<f64> = whole.transpose() * &whole - kept.transpose() * &kept;
            let entries = gram
                .col_iter()
                .flat_map(|column| column.iter().copied().collect::<Vec<_>>());
            entries.collect::<Vec<_>>()
        });
        (coordinates, grams.collect())
    }
}

/// The columns (class, i) of one i.
fn rows_of(matrix: MatRef<f64>, i: usize, rank: usize, classes: usize) -> Mat<f64> {
    Mat::from_fn(matrix.nrows(), classes, |row, class| {
        matrix[(row, class * rank + i)]
    })
}
