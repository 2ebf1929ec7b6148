//! The diagonal of H over all entries of A and B.

use rayon::prelude::*;

use super::LaplaceError;
use super::curvature::{Basis, Curvature, fisher_rows, project_each};
use super::points::{Block, Point};
use super::spectrum::{Projection, Spectrum};

/// sum_n sum_k (row k of [`fisher_rows`])^2, entry by entry.
pub struct Diagonal {
    sums: Vec<f64>,
}

impl Diagonal {
    pub fn new(blocks: &[Block]) -> Self {
        Self {
            sums: vec![0.0; blocks.iter().map(Block::parameters).sum()],
        }
    }
}

impl Curvature for Diagonal {
    fn add(&mut self, points: &[Point]) {
        let squares = |point: &Point| {
            let dims = self.sums.len();
            let mut squares = vec![0.0; dims];
            for row in fisher_rows(point).chunks_exact(dims) {
                let terms = squares.iter_mut().zip(row);
                terms.for_each(|(sum, value)| *sum += value * value);
            }
            squares
        };
        // In the order of the images, whatever core computes them.
        let each: Vec<Vec<f64>> = points.par_iter().map(squares).collect();
        for squares in each {
            let terms = self.sums.iter_mut().zip(squares);
            terms.for_each(|(sum, square)| *sum += square);
        }
    }

    fn finish(self: Box<Self>, scale: f64) -> Result<(Spectrum, Box<dyn Basis>), LaplaceError> {
        let values = self.sums.iter().map(|sum| scale * sum).collect();
        let groups = Vec::new();
        Ok((Spectrum { values, groups }, Box::new(Parameters)))
    }
}

/// The parameters themselves.
struct Parameters;

impl Basis for Parameters {
    fn project(&self, points: &[Point]) -> Vec<Projection> {
        project_each(points, |point| Projection {
            coordinates: point.jacobian.clone(),
            grams: Vec::new(),
        })
    }
}
