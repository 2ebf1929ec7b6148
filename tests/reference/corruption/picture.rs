//! Images as planes, what lies beyond their edges, and random words.

use crate::reference::philox::{philox4x32_10, uniform};

/// `[row][column]`, 0 to 1.
pub type Plane = Vec<f64>;

#[derive(Clone)]
pub struct Picture {
    pub side: usize,
    pub planes: [Plane; 3],
}

#[derive(Clone, Copy)]
pub enum Border {
    /// a | a b c
    Nearest,
    /// c b | a b c
    Mirror,
    /// b a | a b c
    Symmetric,
}

impl Picture {
    /// From `[row][column][rgb]`.
    pub fn new(side: usize, bytes: &[u8]) -> Self {
        let plane = |channel: usize| {
            let values = bytes.iter().skip(channel).step_by(3);
            values.map(|value| f64::from(*value) / 255.0).collect()
        };
        Self {
            side,
            planes: [0, 1, 2].map(plane),
        }
    }

    /// `value` gets channel, row, column.
    pub fn from_fn(side: usize, value: impl Fn(usize, usize, usize) -> f64) -> Self {
        let plane = |channel| plane(side, |y, x| value(channel, y, x));
        Self {
            side,
            planes: [0, 1, 2].map(plane),
        }
    }

    pub fn map(&self, change: impl Fn(&Plane) -> Plane) -> Self {
        Self {
            side: self.side,
            planes: [0, 1, 2].map(|channel| change(&self.planes[channel])),
        }
    }

    /// Red, green and blue of a pixel.
    pub fn rgb(&self, y: usize, x: usize) -> [f64; 3] {
        [0, 1, 2].map(|channel| self.planes[channel][y * self.side + x])
    }

    /// A length that is `at_32` pixels in an image of 32.
    pub fn scaled(&self, at_32: f64) -> f64 {
        at_32 * self.side as f64 / 32.0
    }
}

pub fn plane(side: usize, value: impl Fn(usize, usize) -> f64) -> Plane {
    (0..side * side)
        .map(|i| value(i / side, i % side))
        .collect()
}

/// The place that stands for one beyond the edge.
pub fn folded(at: i64, side: usize, border: Border) -> usize {
    let mut at = at;
    let last = side as i64 - 1;
    while at < 0 || at > last {
        at = match border {
            Border::Nearest => at.clamp(0, last),
            Border::Mirror if at < 0 => -at,
            Border::Mirror => 2 * last - at,
            Border::Symmetric if at < 0 => -1 - at,
            Border::Symmetric => 2 * last + 1 - at,
        };
    }
    at as usize
}

pub fn at(plane: &Plane, side: usize, y: i64, x: i64, border: Border) -> f64 {
    plane[folded(y, side, border) * side + folded(x, side, border)]
}

/// Bilinear between the four pixels around.
pub fn between(plane: &Plane, side: usize, y: f64, x: f64, border: Border) -> f64 {
    let (row, column) = (y.floor(), x.floor());
    let (down, right) = (y - row, x - column);
    let pixel = |dy: i64, dx: i64| at(plane, side, row as i64 + dy, column as i64 + dx, border);
    (1.0 - down) * ((1.0 - right) * pixel(0, 0) + right * pixel(0, 1))
        + down * ((1.0 - right) * pixel(1, 0) + right * pixel(1, 1))
}

/// The random words of an image.
#[derive(Clone, Copy)]
pub struct Draws {
    pub seed: u64,
    pub image: u32,
    pub corruption: u32,
}

impl Draws {
    pub fn words(self, point: usize, stream: u32) -> [u32; 4] {
        let counter = [self.image, point as u32, stream, 256 + self.corruption];
        philox4x32_10(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// In (-1, 1).
    pub fn signed(self, point: usize, stream: u32) -> [f64; 4] {
        self.words(point, stream)
            .map(|word| 2.0 * uniform(word) - 1.0)
    }
}
