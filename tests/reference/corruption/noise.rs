//! Noise.

use super::picture::{Draws, Picture};
use crate::reference::philox::{normals, uniform};

pub fn gaussian(x: &Picture, level: usize, draws: Draws) -> Picture {
    let deviation = [0.04, 0.06, 0.08, 0.09, 0.1][level];
    Picture::from_fn(x.side, |channel, row, column| {
        let i = row * x.side + column;
        x.planes[channel][i] + deviation * normals(draws.words(i, 0))[channel]
    })
}

pub fn shot(x: &Picture, level: usize, draws: Draws) -> Picture {
    let counts = [500.0, 250.0, 100.0, 75.0, 50.0][level];
    Picture::from_fn(x.side, |channel, row, column| {
        let i = row * x.side + column;
        let u = uniform(draws.words(i, 0)[channel]);
        poisson(counts * x.planes[channel][i], u) / counts
    })
}

/// The smallest k with P(K <= k) > u.
fn poisson(mean: f64, u: f64) -> f64 {
    if mean == 0.0 {
        return 0.0;
    }
    let (mut k, mut log_factorial) = (0.0, 0.0);
    let mut sum = 0.0;
    loop {
        sum += (k * mean.ln() - mean - log_factorial).exp();
        if sum > u || k > 2.0 * mean + 100.0 {
            return k;
        }
        k += 1.0;
        log_factorial += f64::ln(k);
    }
}

pub fn impulse(x: &Picture, level: usize, draws: Draws) -> Picture {
    let amount = [0.01, 0.02, 0.03, 0.05, 0.07][level];
    Picture::from_fn(x.side, |channel, row, column| {
        let i = row * x.side + column;
        match uniform(draws.words(i, 0)[channel]) {
            u if u < amount / 2.0 => 0.0,
            u if u < amount => 1.0,
            _ => x.planes[channel][i],
        }
    })
}
