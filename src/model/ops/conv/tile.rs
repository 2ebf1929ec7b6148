//! Tiles of a product that a workgroup computes.

use std::fmt;

/// Lines (rows of positions) x columns per workgroup, and how many of them an invocation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub rows: u32,
    pub cols: u32,
    /// Lines an invocation.
    pub tall: u32,
    /// Quads of columns per invocation.
    pub vecs: u32,
}

/// Quads of summed values that are staged at once.
pub(super) const DEPTH: u32 = 4;

impl Tile {
    /// From the one that reuses its operands most to the one that makes most workgroups. Each
    /// stages at most 16 KiB and has at most 256 invocations: WebGPU's default limits.
    pub const ALL: [Self; 4] = [
        Self::new(128, 128, 8, 2),
        Self::new(128, 64, 8, 2),
        Self::new(64, 64, 8, 1),
        Self::new(32, 32, 4, 1),
    ];

    const fn new(rows: u32, cols: u32, tall: u32, vecs: u32) -> Self {
        Self {
            rows,
            cols,
            tall,
            vecs,
        }
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

/// Lines x columns per workgroup on matrix units, and how many of them per subgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixTile {
    pub rows: u32,
    pub cols: u32,
    pub tall: u32,
    pub wide: u32,
    /// Quads of summed values that are staged at once.
    pub depth: u32,
    /// The subgroup size that it is made for. Smaller ones leave some idle, larger ones take several turns.
    pub lanes: u32,
}

impl MatrixTile {
    /// For larger subgroups first, then from the one that reuses its operands most; the last one is within WebGPU's
    /// default limits.
    pub const ALL: [Self; 5] = [
        Self::new(128, 128, 64, 64, 8, 64),
        Self::new(64, 64, 64, 32, 8, 64),
        Self::new(128, 128, 64, 32, 16, 32),
        Self::new(128, 128, 64, 32, 8, 32),
        Self::new(64, 64, 32, 32, 8, 32),
    ];

    const fn new(rows: u32, cols: u32, tall: u32, wide: u32, depth: u32, lanes: u32) -> Self {
        Self {
            rows,
            cols,
            tall,
            wide,
            depth,
            lanes,
        }
    }

    /// Bytes of workgroup memory for matrices of `size` x `size`: both operands in f16, their lines two
    /// quads longer, and a matrix of f32 sums a subgroup.
    pub(super) fn workgroup_bytes(self, size: u32) -> u32 {
        let Self { rows, cols, .. } = self;
        let (depth, blocks) = (4 * self.depth, rows / self.tall * (cols / self.wide));
        2 * (rows * (depth + 8) + depth * (cols + 8)) + 4 * blocks * size * size
    }

    /// As the kernels of cooperative matrices name it.
    pub fn variables(self) -> [(&'static str, u32); 6] {
        [
            ("rows", self.rows),
            ("cols", self.cols),
            ("tall", self.tall),
            ("wide", self.wide),
            ("lanes", self.lanes),
            ("depth", self.depth),
        ]
    }
}

/// No two have the same parts.
impl fmt::Display for MatrixTile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            rows,
            cols,
            tall,
            wide,
            depth,
            ..
        } = self;
        write!(f, "{rows}x{cols}x{}/{tall}x{wide}", 4 * depth)
    }
}

/// What a kernel computes at a time: lines x columns.
pub(super) trait Area {
    fn area(self) -> [usize; 2];

    /// Workgroups of a product of `lines` lines and `cols` quads of columns.
    fn workgroups(self, lines: usize, cols: usize) -> usize
    where
        Self: Sized,
    {
        let [tall, wide] = self.area();
        lines.div_ceil(tall) * cols.div_ceil(wide / 4)
    }

    /// Whether no side is more than twice what there is.
    fn suits(self, lines: usize, cols: usize) -> bool
    where
        Self: Sized,
    {
        let [tall, wide] = self.area();
        tall <= 2 * lines && wide <= 8 * cols
    }
}

impl Area for Tile {
    fn area(self) -> [usize; 2] {
        [self.rows as usize, self.cols as usize]
    }
}

impl Area for MatrixTile {
    fn area(self) -> [usize; 2] {
        [self.rows as usize, self.cols as usize]
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
