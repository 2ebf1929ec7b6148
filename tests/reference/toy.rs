//! A rank-3 teacher for a rank-8 student: does the adapter find the rank?
//!
//! `x ~ N(0, I_20)`, ten classes, a frozen layer `W0 = .3 N(0,1)` and the teacher
//! `W0 + 1.5 G1 G2 / sqrt(20)` with `G1 [10,3]`, `G2 [3,20]` standard normal. Labels are drawn from
//! the teacher's softmax by Gumbel-max.

use super::head::linear;
use super::tensor::Tensor;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;
use std::f64::consts::TAU;

pub const INPUTS: usize = 20;
pub const CLASSES: usize = 10;
pub const TEACHER_RANK: usize = 3;
pub const TRAIN: usize = 3_000;
pub const TEST: usize = 5_000;

pub struct Split {
    /// `[examples, INPUTS]`.
    pub x: Tensor,
    pub labels: Vec<usize>,
}

pub struct Toy {
    /// `[CLASSES, INPUTS]`.
    pub w0: Tensor,
    /// The teacher's weights less `w0`, of rank 3.
    pub delta: Tensor,
    pub train: Split,
    pub test: Split,
}

impl Toy {
    pub fn new(seed: u64) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        let w0 = normal(&[CLASSES, INPUTS], 0.3, &mut rng);
        let g1 = normal(&[CLASSES, TEACHER_RANK], 1.0, &mut rng);
        let g2 = normal(&[TEACHER_RANK, INPUTS], 1.0, &mut rng);
        let factor = 1.5 / (INPUTS as f64).sqrt();
        let delta = Tensor::from_fn(&w0.shape, |i| {
            let (row, column) = (i / INPUTS, i % INPUTS);
            let product = (0..TEACHER_RANK).map(|r| g1.at(&[row, r]) * g2.at(&[r, column]));
            factor * product.sum::<f64>()
        });
        let teacher = w0.plus(&delta);
        let train = split(TRAIN, &teacher, &mut rng);
        let test = split(TEST, &teacher, &mut rng);
        Self {
            w0,
            delta,
            train,
            test,
        }
    }

    pub fn teacher_logits(&self, x: &Tensor) -> Tensor {
        logits(x, &self.w0.plus(&self.delta))
    }
}

fn logits(x: &Tensor, w: &Tensor) -> Tensor {
    linear(x, w, &Tensor::zeros(&[CLASSES]))
}

fn split(examples: usize, teacher: &Tensor, rng: &mut impl Rng) -> Split {
    let x = normal(&[examples, INPUTS], 1.0, rng);
    let noisy = logits(&x, teacher).map(|v| v - (-open_unit(rng).ln()).ln());
    let labels = noisy
        .data
        .chunks(CLASSES)
        .map(|row| {
            (0..CLASSES)
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .expect("classes")
        })
        .collect();
    Split { x, labels }
}

fn open_unit(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

/// `scale * N(0,1)`, rounded to f32 so that the engine gets the very same numbers.
fn normal(shape: &[usize], scale: f64, rng: &mut impl Rng) -> Tensor {
    Tensor::from_fn(shape, |_| {
        let r = (-2.0 * open_unit(rng).ln()).sqrt();
        let z = r * (TAU * rng.random::<f64>()).cos();
        f64::from((scale * z) as f32)
    })
}
