//! Blurs.

use std::f64::consts::TAU;

use super::DOWN;
use super::picture::{Border, Draws, Picture, Plane, at, between, plane};
use crate::reference::philox::uniform;

fn bell(distance: f64, sigma: f64) -> f64 {
    (-distance * distance / (2.0 * sigma * sigma)).exp()
}

/// The sum of `kernel` (row, column, weight) around each pixel, by the sum of its weights.
fn filtered(x: &Plane, side: usize, kernel: &[(i64, i64, f64)], border: Border) -> Plane {
    let total: f64 = kernel.iter().map(|(.., weight)| weight).sum();
    plane(side, |row, column| {
        let near = kernel.iter().map(|(dy, dx, weight)| {
            weight * at(x, side, row as i64 + dy, column as i64 + dx, border)
        });
        near.sum::<f64>() / total
    })
}

/// A square of Gaussian weights.
pub fn gaussian(x: &Plane, side: usize, sigma: f64, truncate: f64, border: Border) -> Plane {
    let radius = (truncate * sigma + 0.5).floor() as i64;
    let square = (-radius..=radius).flat_map(|y| (-radius..=radius).map(move |x| (y, x)));
    let kernel: Vec<_> = square
        .map(|(y, x)| (y, x, bell(f64::hypot(y as f64, x as f64), sigma)))
        .collect();
    filtered(x, side, &kernel, border)
}

pub fn defocus(x: &Picture, level: usize) -> Picture {
    let (radius, alias) = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)][level];
    let (radius, alias) = (x.scaled(radius), x.scaled(alias));
    let half = x.scaled(1.0).round().max(1.0) as i64;
    let reach = radius as i64 + half;
    let inside = |y: i64, x: i64| f64::from(u8::from(f64::hypot(y as f64, x as f64) <= radius));
    let mut kernel = Vec::new();
    for (y, x) in (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (y, x))) {
        let mut weight = 0.0;
        for (dy, dx) in (-half..=half).flat_map(|dy| (-half..=half).map(move |dx| (dy, dx))) {
            weight += inside(y + dy, x + dx) * bell(f64::hypot(dy as f64, dx as f64), alias);
        }
        kernel.push((y, x, weight));
    }
    x.map(|channel| filtered(channel, x.side, &kernel, Border::Mirror))
}

pub fn glass(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (sigma, passes) = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)][level];
    let (side, sigma) = (x.side, x.scaled(sigma));
    let reach = x.scaled(1.0).round().max(1.0) as i64;
    let blurred = |x: &Picture| x.map(|p| gaussian(p, side, sigma, 4.0, Border::Nearest));
    let bytes = |p: &Plane| {
        p.iter()
            .map(|v| (255.0 * v + DOWN).floor() / 255.0)
            .collect()
    };
    let mut x = blurred(x).map(bytes);
    for pass in 0..passes {
        let before = x.clone();
        // From the last pixel to the first, as the original goes. With a reach of one pixel nothing is
        // read that has been written, so that it makes no difference which of the two is read.
        for row in (reach + 1..=side as i64 - reach).rev() {
            for column in (reach + 1..=side as i64 - reach).rev() {
                let i = row as usize * side + column as usize;
                let [across, down, ..] = draws.words(i, pass);
                let step = |word: u32| i64::from(word % (2 * reach as u32)) - reach;
                let from = (row + step(down)) * side as i64 + column + step(across);
                for channel in 0..3 {
                    let source = if reach == 1 { &x } else { &before };
                    x.planes[channel][i] = source.planes[channel][from as usize];
                }
            }
        }
    }
    blurred(&x)
}

pub fn motion(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (radius, sigma) = [(6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)][level];
    let angle = motion_angle(draws);
    x.map(|channel| moved(channel, x.side, x.scaled(radius), x.scaled(sigma), angle))
}

/// Uniform within an eighth of a turn of 0.
pub fn motion_angle(draws: Draws) -> f64 {
    let quarter = draws.words(0, 1)[0] >> 2;
    TAU * (uniform(quarter) - 0.125)
}

/// ImageMagick's motion blur.
pub fn moved(x: &Plane, side: usize, radius: f64, sigma: f64, angle: f64) -> Plane {
    let width = 2 * radius.ceil() as i64 + 1;
    let kernel: Vec<_> = (0..width)
        .map(|i| {
            let along = |part: f64| (i as f64 * part - 0.5).ceil() as i64;
            (
                along(angle.sin()),
                along(angle.cos()),
                bell(i as f64, sigma),
            )
        })
        .collect();
    filtered(x, side, &kernel, Border::Nearest)
}

pub fn zoom(x: &Picture, level: usize) -> Picture {
    let last = [1.06, 1.11, 1.15, 1.2, 1.25][level];
    // np.arange(1, .., 0.01): 1.25 is a little more.
    let factors = (0..).map(|i| 1.0 + f64::from(i) * (1.01 - 1.0));
    let factors: Vec<f64> = factors
        .take_while(|factor| *factor < last + 0.005)
        .collect();
    x.map(|channel| {
        let mut sum = channel.clone();
        for factor in &factors {
            let zoomed = clipped_zoom(channel, x.side, *factor);
            sum.iter_mut()
                .zip(zoomed)
                .for_each(|(sum, value)| *sum += value);
        }
        let count = (factors.len() + 1) as f64;
        sum.iter().map(|value| value / count).collect()
    })
}

/// The middle cut out, resized by SciPy's `zoom` with order 1, and cut to the side again.
pub fn clipped_zoom(x: &Plane, side: usize, factor: f64) -> Plane {
    let kept = (side as f64 / factor).ceil() as usize;
    let top = (side - kept) / 2;
    let middle = plane(kept, |row, column| x[(top + row) * side + top + column]);
    let size = (kept as f64 * factor).round_ties_even() as usize;
    let source = |i: usize| (i * (kept - 1)) as f64 / (size - 1).max(1) as f64;
    let large = plane(size, |row, column| {
        between(&middle, kept, source(row), source(column), Border::Nearest)
    });
    let trim = (size - side) / 2;
    plane(side, |row, column| {
        large[(trim + row) * size + trim + column]
    })
}
