//! Small dense matrices in f64, row-major, by the school's methods.

#[derive(Clone)]
pub struct Dense {
    pub size: usize,
    pub data: Vec<f64>,
}

impl Dense {
    pub fn zeros(size: usize) -> Self {
        let data = vec![0.0; size * size];
        Self { size, data }
    }

    pub fn plus_identity(&self, delta: f64) -> Self {
        let mut sum = self.clone();
        (0..self.size).for_each(|i| sum.data[i * self.size + i] += delta);
        sum
    }

    /// Adds weight u v'.
    pub fn add(&mut self, weight: f64, u: &[f64], v: &[f64]) {
        for (row, u) in self.data.chunks_mut(v.len()).zip(u) {
            row.iter_mut()
                .zip(v)
                .for_each(|(sum, v)| *sum += weight * u * v);
        }
    }

    /// Gauss and Jordan with pivots: the inverse and ln |det|.
    pub fn inverse(&self) -> (Self, f64) {
        let n = self.size;
        let mut left: Vec<Vec<f64>> = self.data.chunks(n).map(<[f64]>::to_vec).collect();
        let unit = |i: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect();
        let mut right: Vec<Vec<f64>> = (0..n).map(unit).collect();
        let mut log_det = 0.0;
        for k in 0..n {
            let largest = |a: &usize, b: &usize| left[*a][k].abs().total_cmp(&left[*b][k].abs());
            let pivot = (k..n).max_by(largest).unwrap();
            left.swap(k, pivot);
            right.swap(k, pivot);
            let value = left[k][k];
            log_det += value.abs().ln();
            for row in [&mut left[k], &mut right[k]] {
                row.iter_mut().for_each(|entry| *entry /= value);
            }
            let (from_left, from_right) = (left[k].clone(), right[k].clone());
            for i in (0..n).filter(|i| *i != k) {
                let factor = left[i][k];
                let pairs = left[i].iter_mut().zip(&from_left);
                pairs.for_each(|(entry, from)| *entry -= factor * from);
                let pairs = right[i].iter_mut().zip(&from_right);
                pairs.for_each(|(entry, from)| *entry -= factor * from);
            }
        }
        let data = right.concat();
        (Self { size: n, data }, log_det)
    }

    /// u' M v
    pub fn form(&self, u: &[f64], v: &[f64]) -> f64 {
        let rows = self.data.chunks(self.size).zip(u);
        let of_row = |row: &[f64]| row.iter().zip(v).map(|(m, v)| m * v).sum::<f64>();
        rows.map(|(row, u)| u * of_row(row)).sum()
    }
}
