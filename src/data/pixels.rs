//! Where the pixels of a set are.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::{DataError, decode_image};

/// The images of a set as it was opened. Parts of the set share it.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// `[n, side, side, 3]`
    Memory(Arc<Vec<u8>>),
    /// Decoded whenever they are needed, for want of memory.
    Files(Arc<Vec<PathBuf>>),
}

impl Pixels {
    /// The images at `places`, `[places, side, side, 3]`; files are decoded on all cores.
    pub fn read(&self, places: &[usize], side: usize) -> Result<Vec<u8>, DataError> {
        let bytes = side * side * 3;
        let mut out = vec![0; places.len() * bytes];
        match self {
            Pixels::Memory(pixels) => {
                for (image, place) in out.chunks_exact_mut(bytes).zip(places) {
                    image.copy_from_slice(&pixels[place * bytes..][..bytes]);
                }
            }
            Pixels::Files(files) => {
                out.par_chunks_exact_mut(bytes)
                    .zip(places)
                    .try_for_each(|(image, place)| {
                        image.copy_from_slice(&decode_image(&files[*place], side)?);
                        Ok(())
                    })?
            }
        }
        Ok(out)
    }
}
