//! The variants of a product, and which of them suit a device and a shape.

use std::fmt;
use std::str::FromStr;

use super::tile::{Area, DEPTH, MatrixTile, Tile};
use crate::gpu::Gpu;
use crate::model::frozen::WeightStorage;
use crate::model::textures::RegisterTile;

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProductKernel {
    /// Within WebGPU's default limits: four rows x one vec4 per invocation.
    Plain,
    /// Maps and weights in textures, activations shared by subgroup broadcasts, a register tile of
    /// rows x vec4s a lane: for software adapters.
    Texture { rows: u32, vecs: u32 },
    /// Operands staged in workgroup memory, a register tile an invocation: for GPUs.
    Tiled(Tile),
    /// The same with operands of f16, summed in f32.
    Half(Tile),
    /// The same on matrix units, in cooperative matrices of `size` x `size`.
    Matrix { size: u32, tile: MatrixTile },
}

impl fmt::Display for ProductKernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Texture { rows, vecs } => write!(f, "texture {rows}x{vecs}"),
            Self::Tiled(tile) => write!(f, "tiled {tile}"),
            Self::Half(tile) => write!(f, "f16 tiled {tile}"),
            Self::Matrix { size, tile } => write!(f, "f16 matrix {size}x{size}, {tile}"),
        }
    }
}

impl FromStr for ProductKernel {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let textures = TEXTURE_TILES.map(|(rows, vecs)| Self::Texture { rows, vecs });
        let mut all = [&[Self::Plain], &textures[..]].concat();
        all.extend([8, 16].into_iter().flat_map(Self::matrices));
        all.extend(Tile::ALL.map(Self::Tiled));
        all.extend(Tile::ALL.map(Self::Half));
        all.into_iter()
            .find(|kernel| kernel.to_string() == text)
            .ok_or(())
    }
}

impl From<RegisterTile> for ProductKernel {
    fn from(RegisterTile { rows, vecs }: RegisterTile) -> Self {
        Self::Texture { rows, vecs }
    }
}

impl ProductKernel {
    /// On cooperative matrices of `size` x `size`.
    pub fn matrices(size: u32) -> impl Iterator<Item = Self> {
        MatrixTile::ALL
            .into_iter()
            .map(move |tile| Self::Matrix { size, tile })
    }

    /// On the matrices that a device has: the tiles that fit its workgroup memory and its subgroups. Software adapters,
    /// which take minutes to compile the larger ones, get the smaller.
    pub fn matrices_of(gpu: &Gpu) -> Vec<Self> {
        let Some(size) = gpu.cooperative_matrix() else {
            return Vec::new();
        };
        let memory = gpu.limits().max_compute_workgroup_storage_size;
        let lanes = gpu.info().subgroup_max_size.max(32);
        let suits = |tile: &MatrixTile| match gpu.is_software() {
            true => tile.rows <= 64,
            false => tile.lanes <= lanes,
        };
        let tiles = MatrixTile::ALL.into_iter().filter(suits);
        let fits = tiles.filter(|tile| tile.workgroup_bytes(size) <= memory);
        fits.map(|tile| Self::Matrix { size, tile }).collect()
    }

    /// What a device can run for products of `lines` lines, which are rows of all positions that
    /// share a matrix, and `cols` quads of columns.
    pub fn candidates(gpu: &Gpu, textured: bool, lines: usize, cols: usize) -> Vec<Self> {
        if textured {
            let texture = |(rows, vecs)| Self::Texture { rows, vecs };
            return TEXTURE_TILES.map(texture).to_vec();
        }
        let tiles = Tile::ALL.iter().filter(|tile| tile.suits(lines, cols));
        let tiled = tiles.clone().copied().map(Self::Tiled);
        let matrices = Self::matrices_of(gpu);
        // Beside matrix units f16 without them has won nowhere.
        let half = gpu.has(wgpu::Features::SHADER_F16) && matrices.is_empty();
        let halves = tiles.copied().map(Self::Half).filter(|_| half);
        let matrices = matrices.into_iter().filter(|kernel| match kernel {
            Self::Matrix { tile, .. } => tile.suits(lines, cols),
            _ => false,
        });
        let exact = [Self::Plain].into_iter().chain(tiled);
        exact.chain(halves).chain(matrices).collect()
    }

    /// Whether it should be measured beside the default for a software adapter: tiles as wide, and as tall or half as tall. Taller
    /// ones than 32 rows have won nowhere.
    pub(in crate::low_level::model) fn contends(self, default: Self) -> bool {
        match (self, default) {
            (
                Self::Texture { rows, vecs },
                Self::Texture {
                    rows: most,
                    vecs: wide,
                },
            ) => vecs == wide && (most / 2..=most).contains(&rows),
            _ => false,
        }
    }

    /// What suits a GPU, unmeasured, for sums of `depth` quads a tap: the largest tile that gives it
    /// enough workgroups, or the plain loops where a tile would be mostly empty.
    pub(in crate::low_level::model) fn unmeasured(lines: usize, cols: usize, depth: usize) -> Self {
        if lines < TILED_LINES || cols < TILED_QUADS || depth < TILED_DEPTH {
            return Self::Plain;
        }
        let busy = |tile: &&Tile| tile.workgroups(lines, cols) >= BUSY_WORKGROUPS;
        let smallest = Tile::ALL[Tile::ALL.len() - 1];
        Self::Tiled(Tile::ALL.iter().find(busy).copied().unwrap_or(smallest))
    }

    /// The same with operands of f16; `None` where the device has no such kernel or the shape is small.
    pub(in crate::low_level::model) fn unmeasured_half(
        gpu: &Gpu,
        lines: usize,
        cols: usize,
    ) -> Option<Self> {
        let candidates = Self::candidates(gpu, false, lines, cols);
        let busy = |workgroups: usize| workgroups >= BUSY_WORKGROUPS;
        let choose = |wanted: &dyn Fn(&&Self) -> bool| candidates.iter().find(wanted).copied();
        choose(&|kernel| match kernel {
            Self::Matrix { tile, .. } => busy(tile.workgroups(lines, cols)),
            _ => false,
        })
        .or_else(|| choose(&|kernel| matches!(kernel, Self::Matrix { .. })))
        .or_else(|| {
            choose(&|kernel| match kernel {
                Self::Half(tile) => busy(tile.workgroups(lines, cols)),
                _ => false,
            })
        })
        .or_else(|| choose(&|kernel| kernel.roundoff().is_some()))
    }

    /// The unit roundoff of operands, where they are rounded at all.
    pub fn roundoff(self) -> Option<f64> {
        match self {
            Self::Plain | Self::Texture { .. } | Self::Tiled(_) => None,
            Self::Half(_) | Self::Matrix { .. } => Some(F16_ROUNDOFF),
        }
    }

    /// Quads of a sum that are staged at once, where any are.
    pub(super) fn depth(self) -> Option<u32> {
        match self {
            Self::Plain | Self::Texture { .. } => None,
            Self::Tiled(_) | Self::Half(_) => Some(DEPTH),
            Self::Matrix { tile, .. } => Some(tile.depth),
        }
    }

    /// Where it reads weights, or 8-bit integers in their place.
    pub(super) fn storage(self, int8: bool) -> WeightStorage {
        match self {
            Self::Texture { .. } if int8 => WeightStorage::Int8Texture,
            Self::Texture { .. } => WeightStorage::Texture,
            _ if int8 => WeightStorage::Int8,
            Self::Plain | Self::Tiled(_) => WeightStorage::Buffer,
            Self::Half(_) | Self::Matrix { .. } => WeightStorage::Half,
        }
    }
}

/// Half a unit in the last place of 1: f16 has eleven bits.
const F16_ROUNDOFF: f64 = 1.0 / 2048.0;

/// Rows and vec4s a lane of register tiles.
const TEXTURE_TILES: [(u32, u32); 7] =
    [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1)];

/// What fills half of the smallest tile: lines, quads of columns, quads staged at once.
const TILED_LINES: usize = 16;
const TILED_QUADS: usize = 4;
const TILED_DEPTH: usize = 2;

/// Workgroups that keep a GPU busy: about two for each compute unit of the largest.
const BUSY_WORKGROUPS: usize = 256;
