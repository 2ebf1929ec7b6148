//! Weather: snow, frost, fog, brightness.

use crate::gpu::Slot;

use super::blur::UP;
use super::canvas::{Call, Canvas, DOWN, NEAREST_LEVEL, u};

/// Four plasma fractals per image, on squares of `side` pixels.
struct Plasma {
    map: Slot,
    /// Mean, smallest and largest height.
    range: Slot,
    side: usize,
}

impl Canvas {
    pub fn snow(&mut self, x: Slot, level: usize) -> Slot {
        // Mean and deviation of the noise, zoom, threshold, radius and sigma of the motion, colour left.
        let (mean, deviation, zoom, threshold, radius, sigma, colour) = [
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ][level];
        let layer = self.random(None, true, mean, deviation);
        let zoom = self.scaled(zoom).max(1.0);
        let layer = self.zoom(layer, &[zoom]);
        let flakes = self.quantise(layer, threshold, DOWN);
        let streaks = self.motion(flakes, radius, sigma, UP);
        self.pixels(
            "corruptions/snow",
            &[("x", x), ("flakes", streaks)],
            &[
                ("colour", (colour as f32).into()),
                ("bias", NEAREST_LEVEL.into()),
            ],
        )
    }

    pub fn frost(&mut self, x: Slot, level: usize) -> Slot {
        let (image, weight) = [
            (1.0f32, 0.2f32),
            (1.0, 0.3),
            (0.9, 0.4),
            (0.85, 0.4),
            (0.75, 0.45),
        ][level];
        let ice = self.plasma(1.6);
        self.pixels(
            "corruptions/frost",
            &[("x", x), ("map", ice.map), ("map_range", ice.range)],
            &[
                ("map_side", u(ice.side)),
                ("image", image.into()),
                ("weight", weight.into()),
            ],
        )
    }

    pub fn fog(&mut self, x: Slot, level: usize) -> Slot {
        let (density, decay) = [
            (0.2f32, 3.0),
            (0.5, 3.0),
            (0.75, 2.5),
            (1.0, 2.0),
            (1.5, 1.75),
        ][level];
        let fog = self.plasma(decay);
        let range = self.statistics(x, self.side);
        self.pixels(
            "corruptions/fog",
            &[
                ("x", x),
                ("map", fog.map),
                ("map_range", fog.range),
                ("range", range),
            ],
            &[("map_side", u(fog.side)), ("density", density.into())],
        )
    }

    pub fn brightness(&mut self, x: Slot, level: usize) -> Slot {
        let shift = [0.05f32, 0.1, 0.15, 0.2, 0.3][level];
        self.pixels(
            "corruptions/brightness",
            &[("x", x)],
            &[("shift", shift.into())],
        )
    }

    /// Diamond-square: at each step, half as wide as the one before, the noise is smaller by the square of
    /// `decay`.
    fn plasma(&mut self, decay: f64) -> Plasma {
        let side = self.side.next_power_of_two().max(2);
        let map = self.vectors("plasma", self.images * side * side);
        let mut amplitude = 1.0;
        let mut step = side;
        while step > 1 {
            for edges in 0..2 {
                let points = (side / step) * (side / step) * (1 + edges);
                let params = self.drawing(&[
                    ("side", u(side)),
                    ("step", u(step)),
                    ("edges", u(edges)),
                    ("amplitude", (amplitude as f32).into()),
                ]);
                self.call(Call {
                    shader: "corruptions/plasma",
                    variables: &[],
                    bind: &[("map", map)],
                    params: &params,
                    workgroups: (self.images * points).div_ceil(64),
                });
            }
            step /= 2;
            amplitude /= decay * decay;
        }
        let range = self.statistics(map, side);
        Plasma { map, range, side }
    }
}
