//! A dense row-major array of f64.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?}");
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// `value` gets the flat row-major index.
    pub fn from_fn(shape: &[usize], value: impl FnMut(usize) -> f64) -> Self {
        let len = shape.iter().product();
        Self::new(shape, (0..len).map(value).collect())
    }

    pub fn zeros(shape: &[usize]) -> Self {
        Self::from_fn(shape, |_| 0.0)
    }

    pub fn from_f32(shape: &[usize], data: &[f32]) -> Self {
        Self::new(shape, data.iter().map(|&v| f64::from(v)).collect())
    }

    /// Uniform in [-1, 1), every value exact in f32 so that the engine gets the very same input.
    pub fn random(shape: &[usize], seed: u64) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        Self::from_fn(shape, |_| f64::from(rng.random_range(-1.0f32..1.0)))
    }

    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    pub fn dims2(&self) -> [usize; 2] {
        self.shape.as_slice().try_into().expect("two dimensions")
    }

    pub fn dims4(&self) -> [usize; 4] {
        self.shape.as_slice().try_into().expect("four dimensions")
    }

    pub fn index(&self, at: &[usize]) -> usize {
        assert_eq!(at.len(), self.shape.len());
        at.iter().zip(&self.shape).fold(0, |flat, (&i, &size)| {
            assert!(i < size, "{at:?} in {:?}", self.shape);
            flat * size + i
        })
    }

    pub fn at(&self, at: &[usize]) -> f64 {
        self.data[self.index(at)]
    }

    pub fn at_mut(&mut self, at: &[usize]) -> &mut f64 {
        let flat = self.index(at);
        &mut self.data[flat]
    }

    pub fn reshaped(&self, shape: &[usize]) -> Self {
        Self::new(shape, self.data.clone())
    }

    pub fn map(&self, f: impl FnMut(f64) -> f64) -> Self {
        Self::new(&self.shape, self.data.iter().copied().map(f).collect())
    }

    pub fn zip(&self, other: &Self, mut f: impl FnMut(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let pairs = self.data.iter().zip(&other.data);
        Self::new(&self.shape, pairs.map(|(&a, &b)| f(a, b)).collect())
    }

    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |most, v| most.max(v.abs()))
    }

    /// `max |self - other| / max |self|`: infinite where `other` has a NaN, or is not zero although
    /// `self` is zero throughout.
    pub fn relative_error(&self, other: &[f32]) -> f64 {
        assert_eq!(self.data.len(), other.len(), "{:?}", self.shape);
        let mut worst: f64 = 0.0;
        for (&a, &b) in self.data.iter().zip(other) {
            let error = (a - f64::from(b)).abs();
            worst = worst.max(if error.is_nan() { f64::INFINITY } else { error });
        }
        if worst == 0.0 {
            0.0
        } else {
            worst / self.max_abs()
        }
    }
}
