//! A listing to a set: every image decoded once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::listing::Listing;
use crate::data::image::{decode, read};
use crate::data::{DataError, Dataset, OpenOptions, SkippedImage};

/// How many undecodable images an error names.
const NAMED: usize = 3;

impl Listing {
    /// Decodes every image once, on all cores, which finds the bad ones. The pixels stay where they
    /// fit into `memory`, which they are taken off; else they are decoded again when they are read.
    pub fn open(self, options: &OpenOptions<'_>, memory: &mut u64) -> Result<Dataset, DataError> {
        let total = self.files.len();
        let image_bytes = options.side * options.side * 3;
        let bytes = total * image_bytes;
        let done = AtomicUsize::new(0);
        let look = |path: &PathBuf| {
            let image = read(path).and_then(|bytes| decode(&bytes, options.side));
            let image = image.map_err(|fault| fault.to_string());
            if let Some(progress) = options.progress {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            image
        };
        let in_memory = bytes as u64 <= *memory;
        let mut pixels = Vec::new();
        let outcomes: Vec<Result<(), String>> = match in_memory {
            true => {
                *memory -= bytes as u64;
                pixels.resize(bytes, 0);
                pixels
                    .par_chunks_exact_mut(image_bytes)
                    .zip(&self.files)
                    .map(|(out, path)| look(path).map(|image| out.copy_from_slice(&image)))
                    .collect()
            }
            false => self
                .files
                .par_iter()
                .map(|path| look(path).map(drop))
                .collect(),
        };

        let mut good = Vec::with_capacity(total);
        let mut skipped = Vec::new();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => good.push(index),
                Err(reason) => skipped.push(SkippedImage {
                    path: self.files[index].clone(),
                    reason,
                }),
            }
        }
        if !skipped.is_empty() {
            if !options.skip_bad_images {
                return Err(bad_images(&skipped, total));
            }
            self.check_no_class_vanished(&good)?;
        }
        let (side, labels, classes) = (options.side, self.labels, self.classes);
        let all = match in_memory {
            true => Dataset::new(side, pixels, labels, classes),
            false => Dataset::on_disk(side, self.files, labels, classes),
        };
        let mut kept = all.subset(&good);
        kept.skipped = skipped;
        Ok(kept)
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
        .map(|image| format!("{}: {}", image.path.display(), image.reason))
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
