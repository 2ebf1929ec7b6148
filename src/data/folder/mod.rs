//! Folders of class folders.

mod decode;
mod divide;
mod entries;
mod left_out;
mod listing;
mod parts;

use std::path::Path;

use super::{DataError, Dataset, OpenOptions, Progress, Splits};
use entries::class_dirs;
pub use entries::image_files;
pub(super) use entries::name;
pub(super) use listing::Listing;
use parts::{missing_part, part_dirs};

pub(super) fn open(root: &Path, options: &OpenOptions<'_>) -> Result<Splits, DataError> {
    let (train_dir, test_dir) = part_dirs(root)?;
    let (mut train, test, note) = match (train_dir, test_dir) {
        (Some(train_dir), Some(test_dir)) => {
            let train = Listing::read(root, &train_dir, None)?;
            let known = (&*train_dir, train.classes.clone());
            let test = Listing::read(root, &test_dir, Some(known))?;
            (train, test, None)
        }
        (None, None) => {
            let all = Listing::read(root, root, None)?.identify(options.progress);
            let (train, test) = all.divide()?;
            let note = format!(
                "{}: no train and test folders, so {} of {} images, about a fifth of each class, are \
                 set aside for testing: chosen by their content, and the same ones when others \
                 come or go",
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
    train.notes.extend(parts::notes(root)?);
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
    let mut test = match part_dirs(root)? {
        (Some(train_dir), Some(test_dir)) => {
            let classes = class_dirs(&train_dir)?.into_iter().map(|c| c.0).collect();
            Listing::read(root, &test_dir, Some((&train_dir, classes)))?
        }
        (None, Some(test_dir)) => Listing::read(root, &test_dir, None)?,
        (Some(_), None) => return Err(missing_part(root, "test or val")),
        (None, None) => Listing::read(root, root, None)?,
    };
    test.notes.extend(parts::notes(root)?);
    let mut memory = options.memory();
    test.limit(options.limit_test).open(options, &mut memory)
}

/// The names of the classes to train on, in the order of their labels.
pub(super) fn classes(root: &Path) -> Result<Vec<String>, DataError> {
    let dirs = match part_dirs(root)? {
        (Some(train_dir), _) => class_dirs(&train_dir)?,
        (None, None) => class_dirs(root)?,
        (None, Some(_)) => return Err(missing_part(root, "train")),
    };
    Ok(dirs.into_iter().map(|(name, _)| name).collect())
}

/// Every image file of `root`, numbered by the classes of its training part, and whether each is of the test part.
pub(super) fn list(
    root: &Path,
    progress: Option<Progress>,
) -> Result<(Listing, Vec<bool>), DataError> {
    let all = match part_dirs(root)? {
        (None, None) => {
            let mut all = Listing::read(root, root, None)?.identify(progress);
            all.notes.extend(parts::notes(root)?);
            let mut is_test = vec![false; all.files.len()];
            for i in all.test_split().aside {
                is_test[i] = true;
            }
            return Ok((all, is_test));
        }
        (Some(train_dir), test_dir) => {
            let train = Listing::read(root, &train_dir, None)?;
            let test = test_dir.map(|dir| {
                let known = (&*train_dir, train.classes.clone());
                Listing::read(root, &dir, Some(known))
            });
            (train, test.transpose()?)
        }
        (None, Some(_)) => return Err(missing_part(root, "train")),
    };
    let (mut listing, test) = all;
    let mut is_test = vec![false; listing.files.len()];
    if let Some(test) = test {
        listing.files.extend(test.files);
        listing.labels.extend(test.labels);
        listing.notes.extend(test.notes);
        is_test.resize(listing.files.len(), true);
    }
    listing.notes.extend(parts::notes(root)?);
    Ok((listing.identify(progress), is_test))
}

/// The image files that `root` has to be scored on, numbered by their own classes: those of its test part, or all
/// of a folder that has no parts; and which of these are a test part.
pub(super) fn list_test(
    root: &Path,
    progress: Option<Progress>,
) -> Result<(Listing, Option<Vec<bool>>), DataError> {
    match part_dirs(root)? {
        (None, None) => list(root, progress).map(|(all, is_test)| (all, Some(is_test))),
        (_, Some(test_dir)) => {
            let mut test = Listing::read(root, &test_dir, None)?;
            test.notes.extend(parts::notes(root)?);
            Ok((test.identify(progress), None))
        }
        (Some(_), None) => Err(missing_part(root, "test or val")),
    }
}
