//! Winograd's minimal filtering F(m x m, 3x3) [Lavin & Gray 2015, arXiv:1509.09308]: (m + 2)^2 products give m^2 outputs of a 3x3
//! filter, where the direct sum takes 9 m^2.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::fmt;

use rayon::prelude::*;

/// Outputs of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WinogradTile {
    /// 2x2: 16 products for 36.
    Two,
    /// 4x4: 36 products for 144, and sums that round more.
    Four,
    /// A whole 2x2 map, with nothing but padding around it: 9 products, where the direct sum takes 16. Along a side
    /// y0 = w1 x0 + w2 x1 and y1 = w0 x0 + w1 x1 share w1 (x0 + x1): F(2, 2) with filter and input exchanged.
    Whole,
}

impl fmt::Display for WinogradTile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Two | Self::Four => write!(f, "{0}x{0}", self.outputs()),
            Self::Whole => f.write_str("2x2 map"),
        }
    }
}

impl WinogradTile {
    pub const ALL: [Self; 3] = [Self::Two, Self::Four, Self::Whole];

    /// m, outputs along a side.
    pub fn outputs(self) -> usize {
        match self {
            Self::Two | Self::Whole => 2,
            Self::Four => 4,
        }
    }

    /// Products along a side.
    pub(super) fn side(self) -> usize {
        match self {
            Self::Two => 4,
            Self::Four => 6,
            Self::Whole => 3,
        }
    }

    /// As the transforms name it.
    pub fn variables(self) -> [(&'static str, u32); 3] {
        let inputs = match self {
            Self::Two => 4,
            Self::Four => 6,
            Self::Whole => 2,
        };
        [
            ("inputs", inputs),
            ("side", self.side() as u32),
            ("outputs", self.outputs() as u32),
        ]
    }

    /// Products of a tile.
    pub(super) fn products(self) -> usize {
        self.side() * self.side()
    }

    /// Operations of the transforms of a tile of one channel, there and back.
    pub(super) fn transform_flops(self) -> [usize; 2] {
        match self {
            Self::Two => [32, 24],
            Self::Four => [240, 160],
            Self::Whole => [5, 10],
        }
    }

    /// G, `[side][3]`: what a filter is transformed with from both sides. For 2x2 and 4x4 tiles a row is 1, a, a^2 over the product of
    /// the differences between the point a and the others, up to a sign that B' makes up for; the last row is that of the point at
    /// infinity. The shaders have the other two matrices.
    fn filter_transform(self) -> &'static [[f64; 3]] {
        const HALF: f64 = 1.0 / 2.0;
        const TWO: [[f64; 3]; 4] = [
            [1.0, 0.0, 0.0],
            [HALF, HALF, HALF],
            [HALF, -HALF, HALF],
            [0.0, 0.0, 1.0],
        ];
        // At +-sqrt(1/2) the differences multiply to -3/2, at +-sqrt(2) to 6.
        const NEAR: f64 = FRAC_1_SQRT_2 / 1.5;
        const FAR: f64 = SQRT_2 / 6.0;
        const FOUR: [[f64; 3]; 6] = [
            [1.0, 0.0, 0.0],
            [-1.0 / 1.5, -NEAR, -HALF / 1.5],
            [-1.0 / 1.5, NEAR, -HALF / 1.5],
            [1.0 / 6.0, FAR, 2.0 / 6.0],
            [1.0 / 6.0, -FAR, 2.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        const WHOLE: [[f64; 3]; 3] = [[0.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0]];
        match self {
            Self::Two => &TWO,
            Self::Four => &FOUR,
            Self::Whole => &WHOLE,
        }
    }

    /// G f G' of each 3x3 filter f, [`products`](Self::products) values for nine; `flipped` turns the filters by half a turn
    /// first, as gradients need them. Computed in f64 and rounded once.
    pub(super) fn transformed_filters(self, filters: &[f32], flipped: bool) -> Vec<f32> {
        let matrix = self.filter_transform();
        let mut transformed = vec![0.0; filters.len() / 9 * self.products()];
        let pairs = transformed
            .par_chunks_exact_mut(self.products())
            .zip(filters.par_chunks_exact(9));
        pairs.for_each(|(values, filter)| {
            let at = |y: usize, x: usize| {
                let index = y * 3 + x;
                f64::from(filter[if flipped { 8 - index } else { index }])
            };
            for (left, values) in matrix.iter().zip(values.chunks_exact_mut(self.side())) {
                // A row of G f.
                let row = [0, 1, 2].map(|x| (0..3).map(|y| left[y] * at(y, x)).sum::<f64>());
                for (right, value) in matrix.iter().zip(values) {
                    *value = (0..3).map(|x| row[x] * right[x]).sum::<f64>() as f32;
                }
            }
        });
        transformed
    }
}
