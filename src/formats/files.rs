//! Reading and writing whole files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::publish::beside;
use super::{FormatError, open_regular, read_regular};

/// Bytes that a file may have: a ResNet-34 in f64 takes a sixth of it.
const LIMIT: u64 = 1 << 30;

/// Reads a whole regular file of at most 1 GiB; `expected` completes "... does not exist, expected".
pub(super) fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, FormatError> {
    read_regular(path, LIMIT).map_err(reading(path, expected))
}

/// The first bytes of a regular file, at most `count` of them, and the length of all.
pub(super) fn read_start(
    path: &Path,
    count: u64,
    expected: &'static str,
) -> Result<(Vec<u8>, u64), FormatError> {
    let start = || {
        let (file, length) = open_regular(path)?;
        let mut bytes = Vec::new();
        file.take(count).read_to_end(&mut bytes)?;
        Ok((bytes, length))
    };
    start().map_err(reading(path, expected))
}

fn reading<'a>(
    path: &'a Path,
    expected: &'static str,
) -> impl FnOnce(io::Error) -> FormatError + 'a {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => FormatError::NotFound {
            path: path.to_owned(),
            expected,
        },
        _ => io_error("read", path)(source),
    }
}

/// Replaces `path` so that a crash leaves the old file or the new one, never a part.
///
/// The temporary sibling has a fixed name: what a crash leaves behind is
/// overwritten by the next write instead of piling up beside large checkpoints. The directory
/// is made where there is none.
///
/// # Errors
/// The file cannot be written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    let partial = beside(path, "partial");
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    write_synced(&partial, bytes)?;
    fs::rename(&partial, path).map_err(io_error("replace", path))?;
    sync_parent(path)
}

/// Writes a file under a name that is not read yet.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    let mut file = File::create(path).map_err(io_error("create", path))?;
    file.write_all(bytes)
        // Without this a power cut may keep the rename and lose the content.
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

/// The sorted names in a directory.
pub(super) fn names(path: &Path) -> Result<Vec<OsString>, FormatError> {
    if path.exists() && !path.is_dir() {
        return Err(FormatError::NotADirectory { path: path.into() });
    }
    let names = fs::read_dir(path).and_then(|list| {
        let names = list.map(|entry| entry.map(|entry| entry.file_name()));
        names.collect::<io::Result<Vec<_>>>()
    });
    let mut names = names.map_err(io_error("list", path))?;
    names.sort();
    Ok(names)
}

/// A JSON document for people and other programs: several lines, without a checksum.
pub(super) fn json(file: &str, value: &impl Serialize) -> Result<Vec<u8>, FormatError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(json_error(file))?;
    text.push(b'\n');
    Ok(text)
}

pub(super) fn json_error(file: &str) -> impl FnOnce(serde_json::Error) -> FormatError + '_ {
    move |source| FormatError::Json {
        file: file.to_owned(),
        source,
    }
}

pub(super) fn create_dir(path: &Path) -> Result<(), FormatError> {
    fs::create_dir_all(path).map_err(io_error("create", path))
}

pub(super) fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FormatError + 'a {
    move |source| FormatError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Makes the names in a directory as durable as what they name.
pub(super) fn sync(dir: &Path) -> Result<(), FormatError> {
    // Only unix opens directories as files; elsewhere a rename is as durable as the system makes it.
    match cfg!(unix) {
        true => File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("write", dir)),
        false => Ok(()),
    }
}

pub(super) fn sync_parent(path: &Path) -> Result<(), FormatError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}
