//! Digital corruptions: contrast, elastic transform, pixelate, JPEG.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::gpu::Slot;

use super::canvas::{Border, Call, Canvas, u};

/// JPEG's example tables for luminance and chrominance (ITU-T T.81, annex K), row by row.
#[rustfmt::skip]
const LUMINANCE: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
#[rustfmt::skip]
const CHROMINANCE: [u32; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];

/// The cosine transform's matrix both ways, and the table of quantisation.
struct Jpeg {
    forward: Slot,
    backward: Slot,
    table: Slot,
}

impl Canvas {
    pub fn contrast(&mut self, x: Slot, level: usize) -> Slot {
        let factor = [0.75f32, 0.5, 0.4, 0.3, 0.15][level];
        let range = self.statistics(x, self.side);
        self.pixels(
            "corruptions/contrast",
            &[("x", x), ("range", range)],
            &[("factor", factor.into())],
        )
    }

    pub fn elastic_transform(&mut self, x: Slot, level: usize) -> Slot {
        // Displacement, smoothness and the corners' shift, as shares of the side.
        let (scale, sigma, shift) = [
            (0.0, 0.0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ][level];
        let pixels = |share: f64| share * self.side as f64;
        let (scale, sigma, shift) = (pixels(scale), pixels(sigma), pixels(shift) as f32);
        let params = self.drawing(&[("shift", shift.into())]);
        let affine = self.pixels("corruptions/affine", &[], &params);
        let x = self.warp(x, affine, 1.0, Border::Mirror);
        if scale == 0.0 {
            return x;
        }
        let rough = self.random(None, false, 0.0, 1.0);
        let smooth = self.gaussian(rough, sigma, 3.0, Border::Symmetric);
        self.warp(x, smooth, scale, Border::Symmetric)
    }

    pub fn pixelate(&mut self, x: Slot, level: usize) -> Slot {
        let share = [0.95, 0.9, 0.85, 0.75, 0.65][level];
        let small = ((self.side as f64 * share) as usize).max(1);
        self.pixels("corruptions/pixelate", &[("x", x)], &[("small", u(small))])
    }

    pub fn jpeg_compression(&mut self, x: Slot, level: usize) -> Slot {
        let quality = [80, 65, 58, 50, 40][level];
        let jpeg = Jpeg {
            forward: self.table("cosines", &cosines(false)),
            backward: self.table("cosines", &cosines(true)),
            table: self.table("quantisation", &quantisation(quality)),
        };
        let padded = self.side.next_multiple_of(8);
        let half_padded = self.side.div_ceil(2).next_multiple_of(8);
        let luma = self.jpeg_planes(x, 1, padded, &jpeg);
        let chroma = self.jpeg_planes(x, 2, half_padded, &jpeg);
        self.pixels(
            "corruptions/jpeg_pixels",
            &[("luma", luma), ("chroma", chroma)],
            &[("padded", u(padded)), ("half_padded", u(half_padded))],
        )
    }

    /// Planes of a `shrink`-th of the size, there and back through the transform.
    fn jpeg_planes(&mut self, x: Slot, shrink: usize, padded: usize, jpeg: &Jpeg) -> Slot {
        let count = self.images * padded * padded;
        let workgroups = count.div_ceil(64);
        let mut planes = self.vectors("planes", count);
        self.call(Call {
            shader: "corruptions/jpeg_planes",
            variables: &[],
            bind: &[("x", x), ("planes", planes)],
            params: &[
                ("side", u(self.side)),
                ("shrink", u(shrink)),
                ("padded", u(padded)),
            ],
            workgroups,
        });
        for (matrix, down, quantised) in [
            (jpeg.forward, 0, 0),
            (jpeg.forward, 1, 1),
            (jpeg.backward, 1, 0),
            (jpeg.backward, 0, 0),
        ] {
            let out = self.vectors("planes", count);
            self.call(Call {
                shader: "corruptions/jpeg_dct",
                variables: &[],
                bind: &[
                    ("x", planes),
                    ("matrix", matrix),
                    ("table", jpeg.table),
                    ("out", out),
                ],
                params: &[
                    ("padded", u(padded)),
                    ("down", u(down)),
                    ("quantised", u(quantised)),
                ],
                workgroups,
            });
            planes = out;
        }
        planes
    }
}

/// The orthonormal cosine transform of eight values, `[frequency][place]`, or its transpose.
fn cosines(transposed: bool) -> Vec<f32> {
    let entry = |frequency: usize, place: usize| {
        let norm = if frequency == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        0.5 * norm * (PI * frequency as f64 * (2 * place + 1) as f64 / 16.0).cos()
    };
    let entries = (0..64).map(|i| match transposed {
        false => entry(i / 8, i % 8),
        true => entry(i % 8, i / 8),
    });
    entries.map(|entry| entry as f32).collect()
}

/// libjpeg's tables at a quality: `[row][column]` of Y, Cb, Cr.
fn quantisation(quality: u32) -> Vec<[f32; 4]> {
    let percent = match quality {
        ..50 => 5000 / quality,
        _ => 200 - 2 * quality,
    };
    let scaled = |entry: u32| ((entry * percent + 50) / 100).clamp(1, 255) as f32;
    let entries = LUMINANCE.into_iter().zip(CHROMINANCE);
    entries
        .map(|(y, c)| [scaled(y), scaled(c), scaled(c), 1.0])
        .collect()
}
