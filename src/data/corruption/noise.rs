//! Noise on every value: Gaussian, shot, impulse.

use crate::gpu::Slot;

use super::canvas::{Canvas, u};

impl Canvas {
    pub fn gaussian_noise(&mut self, x: Slot, level: usize) -> Slot {
        let deviation = [0.04, 0.06, 0.08, 0.09, 0.10][level];
        self.random(Some(x), true, 0.0, deviation)
    }

    pub fn shot_noise(&mut self, x: Slot, level: usize) -> Slot {
        let counts = [500, 250, 100, 75, 50][level];
        let table = self.table("Poisson", &poisson_table(counts));
        let params = self.drawing(&[("counts", u(counts))]);
        self.pixels("corruptions/shot", &[("x", x), ("table", table)], &params)
    }

    pub fn impulse_noise(&mut self, x: Slot, level: usize) -> Slot {
        let amount = [0.01f32, 0.02, 0.03, 0.05, 0.07][level];
        let params = self.drawing(&[("amount", amount.into())]);
        self.pixels("corruptions/impulse", &[("x", x)], &params)
    }
}

/// `P(K <= k)` in units of 2^-32 for K of Poisson's law with mean `counts v / 255`: `[v][k]`, k below
/// `counts`. Larger counts are white whatever they are.
fn poisson_table(counts: usize) -> Vec<u32> {
    let row = |byte: u32| {
        let mean = counts as f64 * f64::from(byte) / 255.0;
        let mut term = (-mean).exp();
        let mut sum = 0.0;
        (0..counts).map(move |k| {
            sum += term;
            term *= mean / (k + 1) as f64;
            // Saturates at the top.
            (sum * 2f64.powi(32)) as u32
        })
    };
    (0..=255).flat_map(row).collect()
}
