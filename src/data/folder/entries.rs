//! What stands in a directory.

use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::image::EXTENSIONS;

/// Names and paths of the class folders in `dir`, sorted by name.
pub fn class_dirs(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let dirs = entries(dir)?.into_iter().filter(|path| path.is_dir());
    let mut named: Vec<_> = dirs.map(|path| (name(&path), path)).collect();
    named.sort();
    Ok(named)
}

/// What is in `dir`, sorted, without names that begin with a dot.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
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

pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    EXTENSIONS.contains(&extension.to_lowercase().as_str()) && path.is_file()
}

/// What a directory is called.
pub fn name(path: &Path) -> String {
    // `.` and `..` have no file name of their own.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let named = path.file_name().or(resolved.file_name());
    named.unwrap_or(path.as_os_str()).to_string_lossy().into()
}
