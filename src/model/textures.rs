//! Maps in textures, for software adapters, and the register tile that was fastest with each driver.

use std::ops::RangeInclusive;

use crate::gpu::{Gpu, MesaVersion, mesa_version};

/// What kernels over textures are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Textures {
    /// The subgroup size.
    pub lanes: u32,
    pub tile: RegisterTile,
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

/// The tile with which a version of llvmpipe was fastest.
struct Measured {
    /// Major versions of Mesa.
    mesa: RangeInclusive<u32>,
    lanes: u32,
    tile: RegisterTile,
}

const fn measured(mesa: RangeInclusive<u32>, lanes: u32, tile: RegisterTile) -> Measured {
    Measured { mesa, lanes, tile }
}

/// Each row with the run it is from; docs/performance.md has the figures. Versions between two that were measured take
/// the newer one's row, and those beyond the newest take the newest.
const DEFAULTS: [Measured; 4] = [
    // Mesa 22.3.6, AVX-512, 2026-11-24, `bayeslora devices --tune`: fastest for 23 of 27 shapes.
    measured(0..=22, 16, RegisterTile::new(32, 2)),
    // AVX2, 2026-11-28, `bayeslora devices --tune` on two quiet threads at 64x64, batch 32, and whole steps against the
    // smaller tile of before: Mesa 22.3.6,
    measured(0..=22, 8, RegisterTile::new(32, 2)),
    // Mesa 25.0.7,
    measured(23..=25, 8, RegisterTile::new(32, 2)),
    // and Mesa 26.2.6.
    measured(26..=u32::MAX, 8, RegisterTile::new(32, 2)),
];

/// Where nothing was measured: other subgroup sizes, SwiftShader, WARP.
const UNMEASURED: RegisterTile = RegisterTile::new(32, 2);

impl Textures {
    /// For a device with subgroups of `lanes`.
    pub(super) fn new(gpu: &Gpu, lanes: u32) -> Self {
        Self {
            lanes,
            tile: default_tile(mesa_version(gpu.info()), lanes),
        }
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

fn default_tile(mesa: Option<MesaVersion>, lanes: u32) -> RegisterTile {
    let known = mesa.and_then(|(major, _)| {
        let fits = |row: &&Measured| row.lanes == lanes && row.mesa.contains(&major);
        DEFAULTS.iter().find(fits)
    });
    known.map_or(UNMEASURED, |row| row.tile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_one_tile_and_unknown_drivers_the_old_one() {
        for lanes in [8, 16] {
            for major in 0..100 {
                let rows = DEFAULTS
                    .iter()
                    .filter(|row| row.lanes == lanes && row.mesa.contains(&major));
                assert_eq!(
                    rows.count(),
                    usize::from(lanes == 8 || major <= 22),
                    "{major}, {lanes} lanes"
                );
            }
        }
        assert_eq!(default_tile(None, 8), UNMEASURED);
        assert_eq!(default_tile(Some((22, 3)), 4), UNMEASURED);
        assert_eq!(
            default_tile(Some((99, 0)), 8),
            default_tile(Some((26, 2)), 8)
        );
    }

    #[test]
    fn tiles_are_no_larger_than_a_product_fills() {
        let textures = Textures {
            lanes: 8,
            tile: RegisterTile::new(32, 2),
        };
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
