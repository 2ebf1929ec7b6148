//! Folders of class folders.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::dataset::{balanced_prefix, stratified_split};
use super::image::{EXTENSIONS, decode};
use super::{DataError, Dataset, OpenOptions, SkippedImage, Splits};

/// Fixed, and not the run's seed: runs with different seeds must be tested on the same images, and a
/// test set must stay unseen however often it is opened.
const TEST_SPLIT_SEED: u64 = 0;
const TEST_SHARE: f64 = 0.2;
/// How many undecodable images an error names.
const NAMED: usize = 3;

pub(super) fn open(root: &Path, options: &OpenOptions<'_>) -> Result<Splits, DataError> {
    let (train_dir, test_dir) = part_dirs(root)?;
    let (train, test, note) = match (train_dir, test_dir) {
        (Some(train_dir), Some(test_dir)) => {
            let train = Listing::read(&train_dir, None)?;
            let test = Listing::read(&test_dir, Some((&train_dir, train.classes.clone())))?;
            (train, test, None)
        }
        (None, None) => {
            let (train, test) = Listing::read(root, None)?.split()?;
            let note = format!(
                "{}: no train and test folders, so {} of {} images, the same share of each class, \
                 are set aside for testing (seed {TEST_SPLIT_SEED})",
                root.display(),
                test.files.len(),
                train.files.len() + test.files.len(),
            );
            (train, test, Some(note))
        }
        (None, Some(_)) => return Err(missing_part(root, "train")),
        (Some(_), None) => return Err(missing_part(root, "test or val")),
    };
    if train.classes.len() < 2 {
        return Err(DataError::TooFewClasses {
            path: train.dir,
            found: train.classes.len(),
        });
    }
    let mut memory = options.memory();
    Ok(Splits {
        train: train
            .limit(options.limit_train)
            .open(options, &mut memory)?,
        test: test.limit(options.limit_test).open(options, &mut memory)?,
        name: name(root),
        note,
    })
}

pub(super) fn open_test(root: &Path, options: &OpenOptions<'_>) -> Result<Dataset, DataError> {
    let test = match part_dirs(root)? {
        (Some(train_dir), Some(test_dir)) => {
            let classes = class_dirs(&train_dir)?.into_iter().map(|c| c.0).collect();
            Listing::read(&test_dir, Some((&train_dir, classes)))?
        }
        (None, Some(test_dir)) => Listing::read(&test_dir, None)?,
        (Some(_), None) => return Err(missing_part(root, "test or val")),
        (None, None) => Listing::read(root, None)?.split()?.1,
    };
    let mut memory = options.memory();
    test.limit(options.limit_test).open(options, &mut memory)
}

/// The image files of one part, not yet decoded.
struct Listing {
    dir: PathBuf,
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    classes: Arc<[String]>,
}

impl Listing {
    /// `known` is the training directory and the classes to number by.
    fn read(dir: &Path, known: Option<(&Path, Arc<[String]>)>) -> Result<Listing, DataError> {
        let class_dirs = class_dirs(dir)?;
        if class_dirs.is_empty() {
            return Err(DataError::NoClassFolders {
                path: dir.to_path_buf(),
                entries: entries(dir)?.len(),
            });
        }
        let (train_dir, classes) =
            known.unwrap_or_else(|| (dir, class_dirs.iter().map(|c| c.0.clone()).collect()));
        let mut listing = Listing {
            dir: dir.to_path_buf(),
            files: Vec::new(),
            labels: Vec::new(),
            classes,
        };
        for (name, path) in class_dirs {
            let Some(label) = listing.classes.iter().position(|class| *class == name) else {
                return Err(DataError::UnknownClass {
                    path,
                    train: train_dir.to_path_buf(),
                });
            };
            let entries = entries(&path)?;
            let found = entries.len();
            let before = listing.files.len();
            listing
                .files
                .extend(entries.into_iter().filter(|path| is_image(path)));
            if listing.files.len() == before {
                return Err(DataError::EmptyClass {
                    path,
                    others: found,
                    kinds: EXTENSIONS.join(", "),
                });
            }
            listing.labels.resize(listing.files.len(), label as u32);
        }
        Ok(listing)
    }

    fn split(&self) -> Result<(Listing, Listing), DataError> {
        let split = stratified_split(&self.labels, TEST_SHARE, "test split", TEST_SPLIT_SEED)?;
        Ok((self.subset(&split.kept), self.subset(&split.aside)))
    }

    fn limit(self, limit: Option<usize>) -> Listing {
        match limit {
            Some(n) if n < self.files.len() => self.subset(&balanced_prefix(&self.labels, n)),
            _ => self,
        }
    }

    fn subset(&self, indices: &[usize]) -> Listing {
        Listing {
            dir: self.dir.clone(),
            files: indices.iter().map(|&i| self.files[i].clone()).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
        }
    }

    /// Decodes every image once, on all cores, which finds the bad ones. The pixels stay where they
    /// fit into `memory`, which they are taken off; else they are decoded again when they are read.
    fn open(self, options: &OpenOptions<'_>, memory: &mut u64) -> Result<Dataset, DataError> {
        let total = self.files.len();
        let image_bytes = options.side * options.side * 3;
        let bytes = total * image_bytes;
        let done = AtomicUsize::new(0);
        let look = |path: &PathBuf| {
            let image = decode(path, options.side).map_err(|error| error.to_string());
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

/// `(train, test)` where `root` is divided. A class that happens to be called `train` holds images
/// itself and does not count.
fn part_dirs(root: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>), DataError> {
    let find = |names: &[&str]| {
        for name in names {
            let dir = root.join(name);
            if dir.is_dir() && !entries(&dir)?.iter().any(|path| is_image(path)) {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    };
    Ok((find(&["train"])?, find(&["test", "val"])?))
}

fn missing_part(root: &Path, missing: &str) -> DataError {
    DataError::Missing {
        path: root.to_path_buf(),
        missing: missing.to_string(),
        set: "an image folder",
        expected: "train/CLASS/* and test/CLASS/* (or val/CLASS/*)".to_string(),
    }
}

/// Names and paths of the class folders in `dir`, sorted by name.
fn class_dirs(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let dirs = entries(dir)?.into_iter().filter(|path| path.is_dir());
    let mut named: Vec<_> = dirs.map(|path| (name(&path), path)).collect();
    named.sort();
    Ok(named)
}

/// What is in `dir`, sorted, without names that begin with a dot.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |error| DataError::unreadable(dir, error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The image files directly in `dir`, sorted by name; names that begin with a dot are left out.
///
/// # Errors
/// The directory cannot be read.
pub fn image_files(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = entries(dir.as_ref())?;
    paths.retain(|path| is_image(path));
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    EXTENSIONS.contains(&extension.to_lowercase().as_str()) && path.is_file()
}

/// What a directory is called.
pub(super) fn name(path: &Path) -> String {
    // `.` and `..` have no file name of their own.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let named = path.file_name().or(resolved.file_name());
    named.unwrap_or(path.as_os_str()).to_string_lossy().into()
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
