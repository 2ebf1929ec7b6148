//! Where the pixels of a set are.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::DataError;
use super::image::{self, ImageFault};
use crate::formats::Digest;

/// The images of a set as it was opened. Parts of the set share it.
#[derive(Clone, Debug)]
pub(super) enum Pixels {
    /// `[n, side, side, 3]`
    Memory(Arc<Vec<u8>>),
    /// Decoded whenever they are needed, for want of memory.
    Files(Arc<Vec<ImageFile>>),
}

/// A file as it was when the set was opened.
#[derive(Clone, Debug)]
pub(super) struct ImageFile {
    pub path: PathBuf,
    /// Of its bytes.
    pub content: Digest,
}

impl ImageFile {
    /// `[side, side, 3]`
    fn read(&self, side: usize) -> Result<Vec<u8>, DataError> {
        let bad = |fault: ImageFault| DataError::BadImage {
            path: self.path.clone(),
            reason: fault.to_string(),
        };
        let bytes = image::read(&self.path).map_err(bad)?;
        if Digest::of(&bytes) != self.content {
            let path = self.path.clone();
            return Err(DataError::ChangedImage { path });
        }
        image::decode(&bytes, side).map_err(bad)
    }
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
                        image.copy_from_slice(&files[*place].read(side)?);
                        Ok(())
                    })?
            }
        }
        Ok(out)
    }
}
