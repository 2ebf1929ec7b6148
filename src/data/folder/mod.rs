//! Folders of class folders.

mod decode;
mod entries;
mod listing;

use std::path::{Path, PathBuf};

use super::{DataError, Dataset, OpenOptions, Splits};
pub use entries::image_files;
pub(super) use entries::name;
use entries::{class_dirs, entries, is_image};
use listing::{Listing, TEST_SPLIT_SEED};

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
