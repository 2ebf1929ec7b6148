//! The training and the test part of a folder, told by their names.

use std::path::{Path, PathBuf};

use super::entries::{Entries, name};
use super::left_out::LeftOut;
use crate::data::DataError;
use crate::formats::printable;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Test,
    Validation,
}

impl Part {
    fn named(folder: &Path) -> Option<Self> {
        match name(folder).to_lowercase().as_str() {
            "train" | "training" => Some(Part::Train),
            "test" | "testing" => Some(Part::Test),
            "val" | "valid" | "validation" => Some(Part::Validation),
            _ => None,
        }
    }
}

/// The folders of a root by what they are called and what they hold.
struct Folders {
    /// Class folders, as far as their names tell.
    parts: Vec<(Part, PathBuf)>,
    /// Called like parts, but with images of their own and none in folders: maybe classes.
    flat: Vec<(Part, PathBuf)>,
    others: Vec<PathBuf>,
    entries: Entries,
}

impl Folders {
    fn of(root: &Path) -> Result<Self, DataError> {
        let mut entries = Entries::read(root)?;
        let mut found = Self {
            parts: Vec::new(),
            flat: Vec::new(),
            others: Vec::new(),
            entries: Entries::default(),
        };
        for folder in std::mem::take(&mut entries.folders) {
            match Part::named(&folder) {
                None => found.others.push(folder),
                Some(part) if is_flat(&folder)? => found.flat.push((part, folder)),
                Some(part) => found.parts.push((part, folder)),
            }
        }
        found.entries = entries;
        Ok(found)
    }

    /// The one folder that is this part.
    fn part(&self, part: Part) -> Result<Option<&Path>, DataError> {
        let mut folders = self.parts.iter().filter(|(is, _)| *is == part);
        let first = folders.next().map(|(_, folder)| &**folder);
        match (first, folders.next()) {
            (Some(first), Some((_, second))) => Err(DataError::PartTwice {
                first: first.to_path_buf(),
                second: second.clone(),
            }),
            _ => Ok(first),
        }
    }

    fn flat(&self, wanted: &[Part]) -> Option<&PathBuf> {
        let mut flat = self.flat.iter().filter(|(part, _)| wanted.contains(part));
        flat.next().map(|(_, folder)| folder)
    }
}

/// Whether it holds images and none of its folders does.
fn is_flat(folder: &Path) -> Result<bool, DataError> {
    let entries = Entries::read(folder)?;
    if entries.images.is_empty() {
        return Ok(false);
    }
    for inner in &entries.folders {
        if !Entries::read(inner)?.images.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `(train, test)` where `root` is divided. A class may be called like a part: it holds images itself,
/// and there are other classes beside it.
///
/// # Errors
///
/// Two folders are the same part; a part holds images without class folders.
pub fn part_dirs(root: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>), DataError> {
    let folders = Folders::of(root)?;
    let train = folders.part(Part::Train)?;
    let test = folders.part(Part::Test)?;
    let test = test.or(folders.part(Part::Validation)?);
    let flat = match (train, test) {
        (Some(_), Some(_)) => None,
        (Some(_), None) => folders.flat(&[Part::Test, Part::Validation]),
        (None, Some(_)) => folders.flat(&[Part::Train]),
        (None, None) if folders.flat.len() > 1 || folders.others.is_empty() => {
            folders.flat.first().map(|(_, folder)| folder)
        }
        (None, None) => None,
    };
    if let Some(flat) = flat {
        return Err(DataError::FlatPart { path: flat.clone() });
    }
    if let (Some(train), Some(test)) = (train, test) {
        let same = |error| DataError::unreadable(root, error);
        if train.canonicalize().map_err(same)? == test.canonicalize().map_err(same)? {
            return Err(DataError::FolderTwice {
                first: train.to_path_buf(),
                second: test.to_path_buf(),
            });
        }
    }
    Ok((train.map(Path::to_path_buf), test.map(Path::to_path_buf)))
}

/// How the folders of `root` are used where that is not plain, and what is left out beside parts, a
/// line each.
pub fn notes(root: &Path) -> Result<Vec<String>, DataError> {
    let folders = Folders::of(root)?;
    let mut notes = Vec::new();
    let shown = |path: &Path| printable(path.display());
    if folders.parts.is_empty() {
        for (_, folder) in &folders.flat {
            notes.push(format!(
                "{}: holds images itself and is a class",
                shown(folder)
            ));
        }
        return Ok(notes);
    }
    let has_test = folders.part(Part::Test)?.is_some();
    for (part, folder) in &folders.parts {
        let used = match part {
            Part::Train => "the training part",
            Part::Validation if has_test => {
                notes.push(format!(
                    "{}: left out beside a test part; validation images are set aside from the \
                     training part",
                    shown(folder)
                ));
                continue;
            }
            Part::Test | Part::Validation => "the test part",
        };
        if !["train", "test"].contains(&&*name(folder)) {
            notes.push(format!("{}: taken as {used}", shown(folder)));
        }
    }
    let flat = folders.flat.iter().map(|(_, folder)| folder);
    for folder in flat.chain(&folders.others) {
        notes.push(format!("{}: left out beside train and test", shown(folder)));
    }
    let mut left_out = LeftOut::default();
    left_out.add_beside(&folders.entries.images);
    left_out.add_unread(&folders.entries);
    notes.extend(left_out.notes(root));
    Ok(notes)
}

pub fn missing_part(root: &Path, missing: &str) -> DataError {
    DataError::Missing {
        path: root.to_path_buf(),
        missing: missing.to_string(),
        set: "an image folder",
        expected: "train/CLASS/* and test/CLASS/* (or val/CLASS/*)".to_string(),
    }
}
