//! Tiles of a product that a workgroup computes.

use std::fmt;

/// Lines (rows of positions) x columns a workgroup, and how many of them an invocation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub rows: u32,
    pub cols: u32,
    /// Lines an invocation.
    pub tall: u32,
    /// Quads of columns an invocation.
    pub vecs: u32,
}

/// Quads of summed values that are staged at once.
const DEPTH: u32 = 4;

impl Tile {
    /// From the one that reuses its operands most to the one that makes most workgroups. Each
    /// stages at most 16 KiB and has at most 256 invocations: WebGPU's default limits.
    pub const ALL: [Self; 4] = [
        Self::new(128, 128, 8, 2),
        Self::new(128, 64, 8, 2),
        Self::new(64, 64, 8, 1),
        Self::new(32, 32, 4, 1),
    ];

    /// What a workgroup of matrix units computes, a subgroup a block of 32 x 32.
    pub const MATRIX: Self = Self::new(64, 64, 32, 8);

    const fn new(rows: u32, cols: u32, tall: u32, vecs: u32) -> Self {
        Self {
            rows,
            cols,
            tall,
            vecs,
        }
    }

    /// Workgroups of a product of `lines` lines and `cols` quads of columns.
    pub(super) fn workgroups(self, lines: usize, cols: usize) -> usize {
        lines.div_ceil(self.rows as usize) * cols.div_ceil(self.cols as usize / 4)
    }

    /// Whether no side of the tile is more than twice what there is.
    pub(super) fn suits(self, lines: usize, cols: usize) -> bool {
        self.rows as usize <= 2 * lines && self.cols as usize <= 8 * cols
    }

    /// As the kernels of cooperative matrices name it; they stage twice as much at once.
    pub fn matrix_variables(size: u32) -> [(&'static str, u32); 4] {
        let Self { rows, cols, .. } = Self::MATRIX;
        [
            ("rows", rows),
            ("cols", cols),
            ("depth", 2 * DEPTH),
            ("size", size),
        ]
    }

    /// As the tiled kernels name it.
    pub fn variables(self) -> [(&'static str, u32); 5] {
        [
            ("rows", self.rows),
            ("cols", self.cols),
            ("tall", self.tall),
            ("vecs", self.vecs),
            ("depth", DEPTH),
        ]
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            rows,
            cols,
            tall,
            vecs,
        } = self;
        write!(f, "{rows}x{cols}/{tall}x{}", 4 * vecs)
    }
}
