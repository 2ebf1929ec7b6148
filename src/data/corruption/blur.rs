//! Blurs: defocus, glass, motion, zoom.

use crate::gpu::{Slot, Value};

use super::canvas::{Border, Call, Canvas, DOWN, u};

/// Column, row, weight, unused: one pixel of a blur's sum.
type Tap = [f32; 4];

/// Directions in units of 2^-32 turns, from the right downwards.
const RIGHT: u32 = 0;
pub(super) const UP: u32 = 3 << 30;

impl Canvas {
    pub fn defocus_blur(&mut self, x: Slot, level: usize) -> Slot {
        let (radius, alias) = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)][level];
        let half = self.scaled_pixels(1.0);
        let taps = disk(self.scaled(radius), self.scaled(alias), half);
        self.blur(x, &taps, Border::Mirror)
    }

    pub fn glass_blur(&mut self, x: Slot, level: usize) -> Slot {
        let (sigma, passes) = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)][level];
        let reach = self.scaled_pixels(1.0);
        let sigma = self.scaled(sigma);
        let mut x = self.gaussian(x, sigma, 4.0, Border::Nearest);
        x = self.quantise(x, 0.0, DOWN);
        for pass in 0..passes {
            let params = self.drawing(&[("stream", u(pass)), ("reach", u(reach))]);
            let places = self.pixels("corruptions/shuffle", &[], &params);
            x = self.warp(x, places, 1.0, Border::Nearest);
        }
        self.gaussian(x, sigma, 4.0, Border::Nearest)
    }

    pub fn motion_blur(&mut self, x: Slot, level: usize) -> Slot {
        let (radius, sigma) = [(6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)][level];
        self.motion(x, radius, sigma, RIGHT)
    }

    pub fn zoom_blur(&mut self, x: Slot, level: usize) -> Slot {
        let zooms = [7, 12, 16, 21, 26][level];
        // As `np.arange` steps: from 1.25 on the last bit decides where 32.5 pixels round to.
        let step = 1.01 - 1.0;
        let factors = (0..zooms).map(|i| 1.0 + step * f64::from(i));
        // The image itself counts once more.
        let factors: Vec<f64> = [1.0].into_iter().chain(factors).collect();
        self.zoom(x, &factors)
    }

    /// The mean over clipped zooms by `factors`.
    pub fn zoom(&mut self, x: Slot, factors: &[f64]) -> Slot {
        let zooms: Vec<_> = factors
            .iter()
            .map(|factor| clipped_zoom(self.side, *factor))
            .collect();
        let table = self.table("zooms", &zooms);
        self.pixels(
            "corruptions/zoom",
            &[("x", x), ("zooms", table)],
            &[("zooms", u(zooms.len()))],
        )
    }

    /// Half a Gaussian along a ray within an eighth of a turn around `turn`; lengths at side 32.
    pub fn motion(&mut self, x: Slot, radius: f64, sigma: f64, turn: u32) -> Slot {
        let count = 2 * self.scaled(radius).ceil() as usize + 1;
        let weights = normalised(
            (0..count)
                .map(|i| bell(i as f64, self.scaled(sigma)))
                .collect(),
        );
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let weights = self.table("motion", &weights);
        let taps = self.vectors("motion", count * self.images);
        let params = self.drawing(&[
            ("side", u(self.side)),
            ("taps", u(count)),
            ("turn", Value::U(turn)),
        ]);
        self.call(Call {
            shader: "corruptions/motion",
            variables: &[],
            bind: &[("weights", weights), ("taps", taps)],
            params: &params,
            workgroups: (count * self.images).div_ceil(64),
        });
        self.weighted(x, taps, count, count, Border::Nearest)
    }

    /// A Gaussian blur, rows and then columns, cut off at `truncate` sigmas.
    pub fn gaussian(&mut self, x: Slot, sigma: f64, truncate: f64, border: Border) -> Slot {
        let radius = (truncate * sigma + 0.5) as i32;
        if radius == 0 {
            return x;
        }
        let line = (-radius..=radius).map(|i| bell(f64::from(i), sigma));
        let line = normalised(line.collect());
        let offsets = (-radius..=radius).zip(line);
        let along: Vec<Tap> = offsets
            .map(|(i, weight)| [i as f32, 0.0, weight as f32, 0.0])
            .collect();
        let down: Vec<Tap> = along
            .iter()
            .map(|[i, _, weight, _]| [0.0, *i, *weight, 0.0])
            .collect();
        let rows = self.blur(x, &along, border);
        self.blur(rows, &down, border)
    }

    fn blur(&mut self, x: Slot, taps: &[Tap], border: Border) -> Slot {
        let table = self.table("taps", taps);
        self.weighted(x, table, taps.len(), 0, border)
    }

    fn weighted(
        &mut self,
        x: Slot,
        taps: Slot,
        count: usize,
        stride: usize,
        border: Border,
    ) -> Slot {
        self.pixels(
            "corruptions/blur",
            &[("x", x), ("taps", taps)],
            &[
                ("taps", u(count)),
                ("stride", u(stride)),
                ("border", Value::U(border as u32)),
            ],
        )
    }
}

fn bell(distance: f64, sigma: f64) -> f64 {
    (-0.5 * (distance / sigma).powi(2)).exp()
}

fn normalised(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// A disk of pixels within `radius`, smoothed by a Gaussian cut off at `half` pixels.
fn disk(radius: f64, alias: f64, half: usize) -> Vec<Tap> {
    let half = half as i32;
    let inner = radius as i32;
    let line = normalised((-half..=half).map(|i| bell(f64::from(i), alias)).collect());
    let smooth = |i: i32| line[(i + half) as usize];
    let disk: Vec<(i32, i32)> = (-inner..=inner)
        .flat_map(|y| (-inner..=inner).map(move |x| (x, y)))
        .filter(|(x, y)| f64::from(x * x + y * y) <= radius * radius)
        .collect();
    let reach = inner + half;
    let mut taps = Vec::new();
    for (x, y) in (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (x, y))) {
        let near = disk.iter().map(|(at, down)| (x - at, y - down));
        let near = near.filter(|(across, down)| across.abs() <= half && down.abs() <= half);
        let weight: f64 = near
            .map(|(across, down)| smooth(across) * smooth(down))
            .sum();
        if weight > 0.0 {
            taps.push([x as f32, y as f32, (weight / disk.len() as f64) as f32, 0.0]);
        }
    }
    taps
}

/// Start and ratio of an enlargement that keeps the middle: the central ceil(side/factor) pixels are
/// resized by `factor`, corners on corners, and trimmed.
fn clipped_zoom(side: usize, factor: f64) -> [f32; 2] {
    let kept = (side as f64 / factor).ceil();
    let size = (kept * factor).round_ties_even();
    let ratio = match size > 1.0 {
        true => (kept - 1.0) / (size - 1.0),
        false => 0.0,
    };
    let start = ((side as f64 - kept) / 2.0).floor();
    let trimmed = ((size - side as f64) / 2.0).floor();
    [(start + trimmed * ratio) as f32, ratio as f32]
}
