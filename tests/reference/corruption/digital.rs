//! Contrast, elastic transform, pixelate, JPEG.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::NEAREST_LEVEL;
use super::blur::gaussian;
use super::picture::{Border, Draws, Picture, Plane, at, between, plane};

pub fn contrast(x: &Picture, level: usize) -> Picture {
    let factor = [0.75, 0.5, 0.4, 0.3, 0.15][level];
    x.map(|channel| {
        let mean = channel.iter().sum::<f64>() / channel.len() as f64;
        channel.iter().map(|v| (v - mean) * factor + mean).collect()
    })
}

pub fn elastic(x: &Picture, level: usize, draws: Draws) -> Picture {
    let (scale, sigma, shift) = [
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ][level];
    let side = x.side;
    let share = |share: f64| share * side as f64;
    let (centre, reach) = ((side / 2) as f64, (side / 3) as f64);
    let corners = [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
        .map(|(x, y)| (centre + reach * x, centre + reach * y));
    let [a, b] = [0, 1].map(|point| draws.signed(point, 1));
    let shifts = [(a[0], a[1]), (a[2], a[3]), (b[0], b[1])];
    let moved = [0, 1, 2].map(|k| {
        let (x, y) = corners[k];
        (
            x + share(shift) * shifts[k].0,
            y + share(shift) * shifts[k].1,
        )
    });
    // Barycentric coordinates stay what they are.
    let area = |[a, b, c]: [(f64, f64); 3]| (b.0 - a.0) * (c.1 - a.1) - (c.0 - a.0) * (b.1 - a.1);
    let affine = |channel: &Plane| {
        plane(side, |row, column| {
            let p = (column as f64, row as f64);
            let [a, b, c] = moved;
            let parts = [[p, b, c], [a, p, c], [a, b, p]].map(|part| area(part) / area(moved));
            let x = (0..3).map(|k| parts[k] * corners[k].0).sum();
            let y = (0..3).map(|k| parts[k] * corners[k].1).sum();
            between(channel, side, y, x, Border::Mirror)
        })
    };
    let x = x.map(affine);
    if level == 0 {
        return x;
    }
    let [across, down] = [0, 1].map(|lane| {
        let noise = plane(side, |row, column| {
            draws.signed(row * side + column, 0)[lane]
        });
        gaussian(&noise, side, share(sigma), 3.0, Border::Symmetric)
    });
    x.map(|channel| {
        plane(side, |row, column| {
            let i = row * side + column;
            let y = row as f64 + share(scale) * down[i];
            let x = column as f64 + share(scale) * across[i];
            between(channel, side, y, x, Border::Symmetric)
        })
    })
}

/// Pillow's box filter, rows first, both times rounded to bytes.
pub fn pixelate(x: &Picture, level: usize) -> Picture {
    let share = [0.95, 0.9, 0.85, 0.75, 0.65][level];
    let side = x.side;
    let small = (side as f64 * share) as usize;
    let rounded = |v: f64| (v + NEAREST_LEVEL).floor();
    let counts = |s: usize, i: usize| {
        2 * s * side < (2 * i + 1) * small && (2 * i + 1) * small <= 2 * (s + 1) * side
    };
    let mean = |s: usize, value: &dyn Fn(usize) -> f64| {
        let near: Vec<f64> = (0..side).filter(|i| counts(s, *i)).map(value).collect();
        rounded(near.iter().sum::<f64>() / near.len() as f64)
    };
    x.map(|channel| {
        let shrunk = plane(small, |row, column| {
            let across = |y: usize| mean(column, &|x| 255.0 * channel[y * side + x]);
            mean(row, &across)
        });
        let nearest = |i: usize| (2 * i + 1) * small / (2 * side);
        plane(side, |row, column| {
            shrunk[nearest(row) * small + nearest(column)] / 255.0
        })
    })
}

const LUMINANCE: [[i32; 8]; 8] = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];

/// The upper left corner; 99 elsewhere.
const CHROMINANCE: [[i32; 4]; 4] = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56, 99],
    [47, 66, 99, 99],
];

/// What encoding at a quality and decoding does, chroma at half the size.
pub fn jpeg(x: &Picture, level: usize) -> Picture {
    let quality = [80, 65, 58, 50, 40][level];
    let side = x.side;
    let percent = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    let scaled = |entry: i32| f64::from(((entry * percent + 50) / 100).clamp(1, 255));
    let luminance = |v: usize, u: usize| scaled(LUMINANCE[v][u]);
    let chrominance = |v: usize, u: usize| match v.max(u) {
        0..4 => scaled(CHROMINANCE[v][u]),
        _ => scaled(99),
    };
    let y = plane(side, |row, column| ycc(x.rgb(row, column))[0]);
    let y = coded(&y, side, luminance);
    let half = side.div_ceil(2);
    let [blue, red] = [1, 2].map(|which| {
        let full = plane(side, |row, column| ycc(x.rgb(row, column))[which]);
        let mean = plane(half, |row, column| {
            // libjpeg rounds up and down in turn.
            let bias = (1 + column % 2) as f64;
            let pixel = |dy: usize, dx: usize| {
                let (row, column) = (2 * row + dy, 2 * column + dx);
                at(&full, side, row as i64, column as i64, Border::Nearest)
            };
            ((pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1) + bias) / 4.0).floor()
        });
        let small = coded(&mean, half, chrominance);
        plane(side, |row, column| {
            let source = |i: usize| (i as f64 + 0.5) / 2.0 - 0.5;
            let chroma = between(&small, half, source(row), source(column), Border::Nearest);
            (chroma + [0.5, 7.0 / 16.0][column % 2]).floor()
        })
    });
    Picture::from_fn(side, |channel, row, column| {
        let i = row * side + column;
        let (y, blue, red) = (y[i], blue[i] - 128.0, red[i] - 128.0);
        let value = [
            y + 1.402 * red,
            y - 0.344136 * blue - 0.714136 * red,
            y + 1.772 * blue,
        ];
        value[channel] / 255.0
    })
}

/// Y, Cb and Cr of JFIF as bytes.
fn ycc(rgb: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| (255.0 * v).round());
    // Luma's halves are exact in thousandths; libjpeg takes a little less than a half for chroma.
    let luma = ((299.0 * r + 587.0 * g + 114.0 * b + 500.0) / 1000.0).floor();
    let blue = (-168736.0 * r - 331264.0 * g + 500000.0 * b + 128499999.0) / 1e6;
    let red = (500000.0 * r - 418688.0 * g - 81312.0 * b + 128499999.0) / 1e6;
    [luma, blue.floor(), red.floor()]
}

/// Each block of 8 x 8 transformed, quantised and back, by the sums that define it.
fn coded(x: &Plane, side: usize, table: impl Fn(usize, usize) -> f64) -> Plane {
    let norm = |k: usize| if k == 0 { FRAC_1_SQRT_2 } else { 1.0 };
    let wave = |k: usize, n: usize| (PI * (k * (2 * n + 1)) as f64 / 16.0).cos();
    let square = || (0..8).flat_map(|v| (0..8).map(move |u| (v, u)));
    let mut out = vec![0.0; side * side];
    for (top, left) in (0..side)
        .step_by(8)
        .flat_map(|top| (0..side).step_by(8).map(move |left| (top, left)))
    {
        let pixel = |m: usize, n: usize| {
            at(
                x,
                side,
                (top + m) as i64,
                (left + n) as i64,
                Border::Nearest,
            ) - 128.0
        };
        let mut kept = [[0.0; 8]; 8];
        for (v, u) in square() {
            let sum: f64 = square()
                .map(|(m, n)| pixel(m, n) * wave(v, m) * wave(u, n))
                .sum();
            let coefficient = norm(v) * norm(u) / 4.0 * sum;
            let steps = (coefficient.abs() / table(v, u) + NEAREST_LEVEL).floor();
            kept[v][u] = coefficient.signum() * steps * table(v, u);
        }
        for (m, n) in square().filter(|(m, n)| top + m < side && left + n < side) {
            let sum: f64 = square()
                .map(|(v, u)| norm(v) * norm(u) / 4.0 * kept[v][u] * wave(v, m) * wave(u, n))
                .sum();
            let value = (sum + 128.0 + NEAREST_LEVEL).floor().clamp(0.0, 255.0);
            out[(top + m) * side + left + n] = value;
        }
    }
    out
}
