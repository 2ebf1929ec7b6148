//! Images that nearly repeat each other: bursts, neighbouring frames of a film, a picture that was saved twice.

use rayon::prelude::*;

use super::{DataError, Dataset};

/// Images of a set that are compared, each with each.
const MOST: usize = 20_000;

/// Bits of 64 in which the gradients of two images may differ.
const BITS: u32 = 10;

/// How far the colours of two images may be apart, of 255, on average over a grid.
const COLOURS: u32 = 10;

/// A change of brightness, of 255, that is one.
const EDGE: u32 = 2;

/// Cells of the grids.
const ROWS: usize = 8;
const COLUMNS: usize = 9;
const SIDE: usize = 4;

/// What an image looks like from afar.
#[derive(Clone)]
struct Look {
    /// Where it gets brighter to the right, a bit for each neighbouring pair of 9 x 8 cells (dHash, Krawetz 2013).
    gradient: u64,
    /// Red, green and blue of 4 x 4 cells.
    colours: [u8; 3 * SIDE * SIDE],
}

/// What the images of a set look like.
pub struct Looks(Vec<Look>);

impl Looks {
    /// Of a set of image files; `None` where they are too many to be compared, or not in memory, or no files: those who have
    /// published a set in arrays have divided it.
    ///
    /// # Errors
    /// An image file has changed since the set was opened.
    pub fn of(images: &Dataset) -> Result<Option<Self>, DataError> {
        if !images.has_files() || images.len() > MOST || !images.is_in_memory() {
            return Ok(None);
        }
        let look = |place| Ok(Look::of(&images.image(place)?, images.side));
        let looks: Result<Vec<Look>, DataError> =
            (0..images.len()).into_par_iter().map(look).collect();
        looks.map(Self).map(Some)
    }

    /// The group of every image `[n]`, by the place of its first image: those that nearly repeat each other, or another of the
    /// group.
    pub fn groups(&self) -> Vec<usize> {
        let Self(looks) = self;
        let alike = |i: usize| -> Vec<(usize, usize)> {
            let later = looks.iter().enumerate().skip(i + 1);
            later
                .filter(|(_, other)| looks[i].is_like(other))
                .map(|(j, _)| (i, j))
                .collect()
        };
        let pairs: Vec<(usize, usize)> = (0..looks.len())
            .into_par_iter()
            .flat_map_iter(alike)
            .collect();
        let mut groups: Vec<usize> = (0..looks.len()).collect();
        for (i, j) in pairs {
            let (a, b) = (first(&mut groups, i), first(&mut groups, j));
            groups[a.max(b)] = a.min(b);
        }
        (0..looks.len()).map(|i| first(&mut groups, i)).collect()
    }

    /// Whether each image `[n]` nearly repeats one of another set.
    pub fn repeat(&self, others: &Self) -> Vec<bool> {
        let repeats = |look: &Look| others.0.iter().any(|other| look.is_like(other));
        self.0.par_iter().map(repeats).collect()
    }
}

/// The first image of a group, to which the path there is shortened.
fn first(groups: &mut [usize], mut i: usize) -> usize {
    while groups[i] != i {
        groups[i] = groups[groups[i]];
        i = groups[i];
    }
    i
}

impl Look {
    /// Of `[side, side, 3]`.
    fn of(pixels: &[u8], side: usize) -> Self {
        let mean = |row: usize, column: usize, rows: usize, columns: usize| -> [u32; 3] {
            let span = |cell: usize, cells: usize| {
                let start = cell * side / cells;
                start..((cell + 1) * side / cells).max(start + 1)
            };
            let (mut sums, mut count) = ([0u32; 3], 0);
            for y in span(row, rows) {
                for x in span(column, columns) {
                    let pixel = &pixels[(y * side + x) * 3..][..3];
                    sums.iter_mut()
                        .zip(pixel)
                        .for_each(|(sum, value)| *sum += u32::from(*value));
                    count += 1;
                }
            }
            sums.map(|sum| sum / count)
        };
        let grey = |row, column| mean(row, column, ROWS, COLUMNS).iter().sum::<u32>();
        let mut gradient = 0;
        for row in 0..ROWS {
            for column in 0..COLUMNS - 1 {
                let brighter = grey(row, column) + 3 * EDGE < grey(row, column + 1);
                gradient = gradient << 1 | u64::from(brighter);
            }
        }
        let mut colours = [0; 3 * SIDE * SIDE];
        for cell in 0..SIDE * SIDE {
            let found = mean(cell / SIDE, cell % SIDE, SIDE, SIDE);
            for (to, value) in colours[3 * cell..][..3].iter_mut().zip(found) {
                *to = value as u8;
            }
        }
        Self { gradient, colours }
    }

    fn is_like(&self, other: &Self) -> bool {
        let bits = (self.gradient ^ other.gradient).count_ones();
        let apart = || -> u32 {
            let pairs = self.colours.iter().zip(&other.colours);
            pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
        };
        bits <= BITS && apart() <= COLOURS * self.colours.len() as u32
    }
}
