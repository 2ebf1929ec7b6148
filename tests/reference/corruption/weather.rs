//! Weather.

use std::f64::consts::FRAC_PI_2;

use super::blur::{clipped_zoom, motion_angle, moved};
use super::picture::{Draws, Picture, Plane, plane};
use super::{DOWN, NEAREST_LEVEL};
use crate::reference::philox::normals;

pub fn snow(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (mean, deviation, zoom, threshold, radius, sigma, colour) = [
        (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
    ][level];
    let side = x.side;
    let noise = |row: usize, column: usize| {
        mean + deviation * normals(draws.words(row * side + column, 0))[0]
    };
    let layer = clipped_zoom(&plane(side, noise), side, x.scaled(zoom).max(1.0));
    let flake = |value: &f64| match *value < threshold {
        true => 0.0,
        false => (255.0 * value.min(1.0) + DOWN).floor() / 255.0,
    };
    let flakes: Plane = layer.iter().map(flake).collect();
    let angle = motion_angle(draws) - FRAC_PI_2;
    let streaks = moved(&flakes, side, x.scaled(radius), x.scaled(sigma), angle);
    let streak = |i: usize| (255.0 * streaks[i] + NEAREST_LEVEL).floor() / 255.0;
    Picture::from_fn(side, |channel, row, column| {
        let i = row * side + column;
        let [red, green, blue] = x.rgb(row, column);
        let grey = 0.299 * red + 0.587 * green + 0.114 * blue;
        let value = x.planes[channel][i];
        let pale = value.max(grey * 1.5 + 0.5);
        colour * value + (1.0 - colour) * pale + streak(i) + streak(side * side - 1 - i)
    })
}

pub fn frost(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (image, weight) = [
        (1.0, 0.2),
        (1.0, 0.3),
        (0.9, 0.4),
        (0.85, 0.4),
        (0.75, 0.45),
    ][level];
    let [crystals, film] = [0, 1].map(|lane| plasma(x.side, 1.6, lane, draws));
    let (dark, white) = ([0.15, 0.24, 0.36], [0.95, 0.98, 1.0]);
    Picture::from_fn(x.side, |channel, row, column| {
        let i = row * x.side + column;
        let ridge = 2.0 * (3.0 * crystals[i]).fract() - 1.0;
        let t = 0.6 * ridge * ridge + 0.4 * film[i];
        let ice = dark[channel] + t * (white[channel] - dark[channel]);
        image * x.planes[channel][i] + weight * ice
    })
}

pub fn fog(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (density, decay) = [(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)][level];
    let cloud = plasma(x.side, decay, 0, draws);
    let largest = x.planes.iter().flatten().copied().fold(0.0, f64::max);
    Picture::from_fn(x.side, |channel, row, column| {
        let i = row * x.side + column;
        (x.planes[channel][i] + density * cloud[i]) * largest / (largest + density)
    })
}

/// Diamond-square on a torus, brought to 0..1, its first `side` rows and columns.
fn plasma(side: usize, decay: f64, lane: usize, draws: Draws) -> Plane {
    let size = side.next_power_of_two();
    let mut map = vec![0.0; size * size];
    let mut wibble = 1.0;
    let mut step = size;
    while step >= 2 {
        let half = step / 2;
        let mut raise = |row: usize, column: usize, neighbours: [(usize, usize); 4]| {
            let heights = neighbours.map(|(row, column)| map[row % size * size + column % size]);
            let point = row * size + column;
            let noise = wibble * wibble * draws.signed(point, 2)[lane];
            map[point] = heights.iter().sum::<f64>() / 4.0 + noise;
        };
        let grid = |from: usize| (from..size).step_by(step);
        for (y, x) in grid(half).flat_map(|y| grid(half).map(move |x| (y, x))) {
            let (up, left) = (y - half, x - half);
            raise(
                y,
                x,
                [
                    (up, left),
                    (up, x + half),
                    (y + half, left),
                    (y + half, x + half),
                ],
            );
        }
        for (first_y, first_x) in [(0, half), (half, 0)] {
            for (y, x) in grid(first_y).flat_map(|y| grid(first_x).map(move |x| (y, x))) {
                let (up, left) = (y + size - half, x + size - half);
                raise(y, x, [(up, x), (y + half, x), (y, left), (y, x + half)]);
            }
        }
        step /= 2;
        wibble /= decay;
    }
    let low = map.iter().copied().fold(f64::INFINITY, f64::min);
    let high = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    plane(side, |row, column| {
        (map[row * size + column] - low) / (high - low)
    })
}

/// To HSV, V raised, and back.
pub fn brightness(x: &Picture, level: usize) -> Picture {
    let shift = [0.05, 0.1, 0.15, 0.2, 0.3][level];
    Picture::from_fn(x.side, |channel, row, column| {
        let [hue, saturation, value] = hsv(x.rgb(row, column));
        rgb([hue, saturation, (value + shift).clamp(0.0, 1.0)])[channel]
    })
}

/// Hue in sixths of a turn, saturation, value.
fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let value = r.max(g).max(b);
    let chroma = value - r.min(g).min(b);
    if chroma == 0.0 {
        return [0.0, 0.0, value];
    }
    let hue = match value {
        _ if value == r => (g - b) / chroma,
        _ if value == g => 2.0 + (b - r) / chroma,
        _ => 4.0 + (r - g) / chroma,
    };
    [hue.rem_euclid(6.0), chroma / value, value]
}

fn rgb([hue, saturation, value]: [f64; 3]) -> [f64; 3] {
    [5.0, 3.0, 1.0].map(|n: f64| {
        let k = (n + hue).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}
