//! A listing to a set: every image decoded once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::listing::Listing;
use crate::data::identity::{FileIdentity, relative};
use crate::data::image::{decode, read};
use crate::data::pixels::{ImageFile, Pixels};
use crate::data::{DataError, Dataset, OpenOptions, SkippedImage};
use crate::formats::{Digest, printable};

/// How many undecodable images an error names.
const NAMED: usize = 3;

/// What a file was when it was opened: the digest of its bytes, if they could be read, and why it is left out, if
/// it is.
type Look = (Option<Digest>, Result<(), String>);

impl Listing {
    /// Reads and decodes every image once, on all cores, which tells what it is and finds the bad ones. The pixels
    /// stay where they fit into `memory`, which they are taken off; else they are decoded again when they are read.
    pub fn open(self, options: &OpenOptions<'_>, memory: &mut u64) -> Result<Dataset, DataError> {
        let total = self.files.len();
        let image_bytes = options.side * options.side * 3;
        let bytes = total * image_bytes;
        let done = AtomicUsize::new(0);
        let look = |index: usize, out: Option<&mut [u8]>| {
            let looked = self.look(index, options.side, out);
            if let Some(progress) = options.progress {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            looked
        };
        let in_memory = bytes as u64 <= *memory;
        let mut pixels = Vec::new();
        let looks: Vec<Look> = match in_memory {
            true => {
                *memory -= bytes as u64;
                pixels.resize(bytes, 0);
                pixels
                    .par_chunks_exact_mut(image_bytes)
                    .enumerate()
                    .map(|(index, out)| look(index, Some(out)))
                    .collect()
            }
            false => {
                let indices = (0..total).into_par_iter();
                indices.map(|index| look(index, None)).collect()
            }
        };

        let mut good = Vec::with_capacity(total);
        let mut skipped = Vec::new();
        let mut contents = Vec::with_capacity(total);
        for (index, (content, outcome)) in looks.into_iter().enumerate() {
            // One that could not be read is not among the good.
            contents.push(content.unwrap_or(Digest::of(&[])));
            match outcome {
                Ok(()) => good.push(index),
                Err(reason) => skipped.push(SkippedImage {
                    path: self.files[index].clone(),
                    reason,
                    content,
                }),
            }
        }
        if !skipped.is_empty() {
            if !options.skip_bad_images {
                return Err(bad_images(&skipped, total));
            }
            self.check_no_class_vanished(&good)?;
        }
        let files = self.files.iter().zip(&contents);
        let identities = files.clone().map(|(path, content)| FileIdentity {
            content: *content,
            path: relative(path, &self.root),
        });
        let identities = identities.collect();
        let pixels = match in_memory {
            true => Pixels::Memory(Arc::new(pixels)),
            false => {
                let files = files.map(|(path, content)| ImageFile {
                    path: path.clone(),
                    content: *content,
                });
                Pixels::Files(Arc::new(files.collect()))
            }
        };
        let all = Dataset::of_files(options.side, pixels, identities, self.labels, self.classes);
        let mut kept = all.subset(&good);
        kept.skipped = skipped;
        kept.notes = self.notes;
        Ok(kept)
    }

    /// Reads and decodes one image, which goes to `out`.
    fn look(&self, index: usize, side: usize, out: Option<&mut [u8]>) -> Look {
        let bytes = match read(&self.files[index]) {
            Ok(bytes) => bytes,
            Err(error) => return (None, Err(error.to_string())),
        };
        let content = Digest::of(&bytes);
        if let Some(Some(before)) = self.contents.get(index)
            && *before != content
        {
            return (
                Some(content),
                Err("it changed while the set was opened".into()),
            );
        }
        let image = decode(&bytes, side).map_err(|error| error.to_string());
        let outcome = image.map(|image| {
            if let Some(out) = out {
                out.copy_from_slice(&image);
            }
        });
        (Some(content), outcome)
    }

    fn check_no_class_vanished(&self, good: &[usize]) -> Result<(), DataError> {
        let left: HashSet<&u32> = good.iter().map(|&i| &self.labels[i]).collect();
        match self.labels.iter().find(|label| !left.contains(label)) {
            Some(vanished) => Err(DataError::AllSkipped {
                path: self.dir.join(&self.classes[*vanished as usize]),
                count: self.labels.iter().filter(|l| *l == vanished).count(),
            }),
            None => Ok(()),
        }
    }
}

fn bad_images(bad: &[SkippedImage], total: usize) -> DataError {
    let named = bad.iter().take(NAMED);
    let mut listed: Vec<String> = named
        .map(|image| format!("{}: {}", printable(image.path.display()), image.reason))
        .collect();
    if bad.len() > NAMED {
        listed.push(format!("and {} more", bad.len() - NAMED));
    }
    DataError::BadImages {
        bad: bad.len(),
        total,
        listed: listed.join("; "),
    }
}
