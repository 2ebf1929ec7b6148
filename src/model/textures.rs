//! Maps in textures, for software adapters, and what was fastest with each driver.

use std::ops::RangeInclusive;

use crate::gpu::{Gpu, MesaVersion, mesa_version};

/// What kernels over textures are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Textures {
    /// The subgroup size.
    pub lanes: u32,
    pub tile: RegisterTile,
    /// Whether tensors in the Winograd domain live in buffers nevertheless.
    pub winograd_in_buffers: bool,
}

/// What a lane computes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterTile {
    pub rows: u32,
    /// vec4s of columns.
    pub vecs: u32,
}

impl RegisterTile {
    const fn new(rows: u32, vecs: u32) -> Self {
        Self { rows, vecs }
    }
}

/// What was fastest with a version of llvmpipe.
struct Measured {
    /// Major versions of Mesa.
    mesa: RangeInclusive<u32>,
    best: Textures,
}

const fn measured(
    mesa: RangeInclusive<u32>,
    lanes: u32,
    tile: RegisterTile,
    winograd_in_buffers: bool,
) -> Measured {
    Measured {
        mesa,
        best: Textures {
            lanes,
            tile,
            winograd_in_buffers,
        },
    }
}

/// Each row with the run it is from; docs/performance.md has the figures. Versions between two that were measured take
/// the newer one's row, and those beyond the newest take the newest.
const DEFAULTS: [Measured; 4] = [
    // Mesa 22.3.6, AVX-512, 2026-11-24, `bayeslora devices --tune`: fastest for 23 of 27 shapes.
    measured(0..=22, 16, RegisterTile::new(32, 2), false),
    // AVX2, 2026-11-28, `bayeslora devices --tune` on two quiet threads at 64x64, batch 32, and whole steps against the
    // smaller tile of before: Mesa 22.3.6,
    measured(0..=22, 8, RegisterTile::new(32, 2), false),
    // Mesa 25.0.7,
    measured(23..=25, 8, RegisterTile::new(32, 2), false),
    // and Mesa 26.2.6, which stores to buffers faster than to textures: a training step by `bayeslora plan --mode train
    // --time` takes .93 of the time. On 25.0.7 it takes .97, and the kernels twice as long to compile.
    measured(26..=u32::MAX, 8, RegisterTile::new(32, 2), true),
];

impl Textures {
    /// For a device with subgroups of `lanes`.
    pub(super) fn new(gpu: &Gpu, lanes: u32) -> Self {
        Self::known(mesa_version(gpu.info()), lanes)
    }

    fn known(mesa: Option<MesaVersion>, lanes: u32) -> Self {
        let known = mesa.and_then(|(major, _)| {
            let fits = |row: &&Measured| row.best.lanes == lanes && row.mesa.contains(&major);
            DEFAULTS.iter().find(fits)
        });
        // Where nothing was measured: other subgroup sizes, SwiftShader, WARP.
        let unmeasured = Self {
            lanes,
            tile: RegisterTile::new(32, 2),
            winograd_in_buffers: false,
        };
        known.map_or(unmeasured, |row| row.best)
    }

    /// The tile for a product of `rows` rows and `cols` quads of columns: no taller than the rows fill, and as wide as
    /// one vec4 where there are no more columns than lanes, since two would leave half of it empty.
    pub(super) fn tile(self, rows: usize, cols: usize) -> RegisterTile {
        let needed = match rows {
            0..=8 => 8,
            9..=16 => 16,
            _ => 32,
        };
        RegisterTile {
            rows: self.tile.rows.min(needed),
            vecs: if cols > self.lanes as usize {
                self.tile.vecs
            } else {
                1
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_one_row_and_unknown_drivers_the_oldest() {
        for lanes in [8, 16] {
            for major in 0..100 {
                let rows = DEFAULTS
                    .iter()
                    .filter(|row| row.best.lanes == lanes && row.mesa.contains(&major));
                assert_eq!(
                    rows.count(),
                    usize::from(lanes == 8 || major <= 22),
                    "{major}, {lanes} lanes"
                );
            }
        }
        let known = |major, lanes| Textures::known(Some((major, 0)), lanes);
        assert_eq!(Textures::known(None, 8), known(22, 8));
        assert_eq!(known(26, 4).tile, known(22, 8).tile);
        assert!(!known(26, 4).winograd_in_buffers);
        assert_eq!(known(99, 8), known(26, 8));
        assert!(known(26, 8).winograd_in_buffers && !known(25, 8).winograd_in_buffers);
    }

    #[test]
    fn tiles_are_no_larger_than_a_product_fills() {
        let textures = Textures::known(None, 8);
        for (rows, cols, tile) in [
            (1, 8, (8, 1)),
            (9, 9, (16, 2)),
            (17, 8, (32, 1)),
            (64, 64, (32, 2)),
        ] {
            assert_eq!(textures.tile(rows, cols), RegisterTile::new(tile.0, tile.1));
        }
    }
}
