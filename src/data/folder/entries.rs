//! What a directory contains.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::left_out::LeftOut;
use crate::data::DataError;
use crate::data::image::{EXTENSIONS, UNREAD_EXTENSIONS};

/// The entries of a directory by what they are, each kind sorted; names that begin with a dot are
/// left out.
#[derive(Default)]
pub struct Entries {
    pub images: Vec<PathBuf>,
    pub folders: Vec<PathBuf>,
    /// Pictures, by their names, in formats that are not read.
    pub unread: Vec<PathBuf>,
    /// Links that lead nowhere or in a circle.
    pub dangling: Vec<PathBuf>,
    /// Pipes, sockets and devices.
    pub special: Vec<PathBuf>,
    pub others: usize,
}

impl Entries {
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let unreadable = |error| DataError::unreadable(dir, error);
        let mut found = Self::default();
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                found.add(entry.path());
            }
        }
        for kind in [
            &mut found.images,
            &mut found.folders,
            &mut found.unread,
            &mut found.dangling,
            &mut found.special,
        ] {
            kind.sort();
        }
        Ok(found)
    }

    fn add(&mut self, path: PathBuf) {
        let Ok(metadata) = path.metadata() else {
            return self.dangling.push(path);
        };
        let extension = extension(&path);
        if metadata.is_dir() {
            self.folders.push(path);
        } else if !metadata.is_file() {
            self.special.push(path);
        } else if EXTENSIONS.contains(&extension.as_str()) {
            self.images.push(path);
        } else if UNREAD_EXTENSIONS.contains(&extension.as_str()) {
            self.unread.push(path);
        } else {
            self.others += 1;
        }
    }

    pub fn len(&self) -> usize {
        let kinds = [
            &self.images,
            &self.folders,
            &self.unread,
            &self.dangling,
            &self.special,
        ];
        kinds.map(Vec::len).iter().sum::<usize>() + self.others
    }
}

/// In lower case.
pub fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

/// Names and paths of the class folders in `dir`, sorted by name. Names are in Unicode's composed
/// form (NFC), whatever form the system that wrote them has.
///
/// # Errors
///
/// A name is not Unicode, or that of two folders; a folder occurs twice, through links.
pub fn class_dirs(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut named = Vec::new();
    for path in Entries::read(dir)?.folders {
        let name = path.file_name().unwrap_or_default();
        match name.to_str() {
            Some(name) => named.push((name.nfc().collect::<String>(), path)),
            None => return Err(DataError::ClassNotText { path }),
        }
    }
    named.sort();
    if let Some(pair) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(DataError::ClassTwice {
            first: pair[0].1.clone(),
            second: pair[1].1.clone(),
        });
    }
    let mut seen: Vec<(PathBuf, &PathBuf)> = named
        .iter()
        .map(|(_, path)| Ok((path.canonicalize()?, path)))
        .collect::<Result<_, _>>()
        .map_err(|error| DataError::unreadable(dir, error))?;
    seen.sort();
    if let Some(pair) = seen.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(DataError::FolderTwice {
            first: pair[0].1.clone(),
            second: pair[1].1.clone(),
        });
    }
    Ok(named)
}

/// The image files directly in `dir`, sorted by name; names that begin with a dot are left out. And
/// what else is left out, a line each.
///
/// # Errors
/// The directory cannot be read.
pub fn image_files(dir: impl AsRef<Path>) -> Result<(Vec<PathBuf>, Vec<String>), DataError> {
    let dir = dir.as_ref();
    let mut entries = Entries::read(dir)?;
    let images = std::mem::take(&mut entries.images);
    let mut left_out = LeftOut::default();
    left_out.add(&entries, &mut HashSet::new());
    Ok((images, left_out.notes(dir)))
}

/// What a directory is called.
pub fn name(path: &Path) -> String {
    // `.` and `..` have no file name of their own.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let named = path.file_name().or(resolved.file_name());
    named.unwrap_or(path.as_os_str()).to_string_lossy().into()
}
