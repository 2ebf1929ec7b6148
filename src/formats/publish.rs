//! Directories and files that are replaced in one step: readers, also those after a crash, find the old one or
//! the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FormatError;
use super::files::{self, io_error};

/// `dir.partial`: what is being written, never read.
const PARTIAL: &str = "partial";

/// `dir.old`: what gives way. It is read where `dir` is missing, as between two renames.
const OLD: &str = "old";

/// A file's name and content.
pub(super) type Named = (&'static str, Vec<u8>);

/// Puts a directory of `files` in the place of `dir`, its parent made where there is none. Files that are
/// neither among these nor among `ours` stay in it: people put notes beside weights.
pub(super) fn directory(dir: &Path, files: &[Named], ours: &[&str]) -> Result<(), FormatError> {
    if dir.is_file() {
        return Err(FormatError::NotADirectory { path: dir.into() });
    }
    let dir = &named(dir)?;
    let (partial, old) = (beside(dir, PARTIAL), beside(dir, OLD));
    recover(dir, ours)?;
    files::create_dir(&partial)?;
    for (name, bytes) in files {
        files::write_synced(&partial.join(name), bytes)?;
    }
    files::sync(&partial)?;
    replace(&partial, dir, &old)?;
    discard(&old, dir, ours)
}

/// Where to read `dir`: the directory itself, or the old one after a crash between two renames.
pub(super) fn readable(dir: &Path) -> PathBuf {
    let old = beside(dir, OLD);
    match !dir.exists() && old.is_dir() {
        true => old,
        false => dir.to_owned(),
    }
}

/// Moves `new` to the place of `current`, which becomes `old`. A crash leaves `current` there or, where the
/// system cannot exchange two names, `old` in its stead.
pub(super) fn replace(new: &Path, current: &Path, old: &Path) -> Result<(), FormatError> {
    let there = current.exists();
    let exchanged = there
        && match exchange(new, current) {
            Err(error) if is_unsupported(&error) => false,
            done => done.map(|()| true).map_err(io_error("replace", current))?,
        };
    for (from, to) in renames(there, exchanged, [new, current, old]) {
        rename(from, to)?;
    }
    files::sync_parent(current)
}

/// What is left to do, from where to where.
fn renames(there: bool, exchanged: bool, [new, current, old]: [&Path; 3]) -> Vec<(&Path, &Path)> {
    match (there, exchanged) {
        (false, _) => vec![(new, current)],
        (true, true) => vec![(new, old)],
        (true, false) => vec![(current, old), (new, current)],
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), FormatError> {
    fs::rename(from, to).map_err(io_error("replace", to))
}

/// Undoes what a crash has left half done.
fn recover(dir: &Path, ours: &[&str]) -> Result<(), FormatError> {
    let (partial, old) = (beside(dir, PARTIAL), beside(dir, OLD));
    if readable(dir) == old {
        rename(&old, dir)?;
    }
    discard(&old, dir, ours)?;
    discard(&partial, dir, ours)
}

/// Removes a directory, if it is there, all but the files that are not `ours`, which move to `dir`.
fn discard(gone: &Path, dir: &Path, ours: &[&str]) -> Result<(), FormatError> {
    if !gone.is_dir() {
        return Ok(());
    }
    for name in files::names(gone)? {
        let (from, to) = (gone.join(&name), dir.join(&name));
        let is_ours = name.to_str().is_some_and(|name| ours.contains(&name));
        if !is_ours && dir.is_dir() && !to.exists() {
            rename(&from, &to)?;
        }
    }
    fs::remove_dir_all(gone).map_err(io_error("remove", gone))
}

/// A path whose last part is a name, unlike that of `.`.
fn named(dir: &Path) -> Result<PathBuf, FormatError> {
    match dir.file_name() {
        Some(_) => Ok(dir.to_owned()),
        None => fs::canonicalize(dir).map_err(io_error("find", dir)),
    }
}

pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Elsewhere two renames have to do.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// By the system or, with another error, by the file system.
fn is_unsupported(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 2] = ["a", "b"];

    fn content(epoch: u8) -> [Named; 2] {
        [("a", vec![epoch; 3]), ("b", vec![epoch; 4])]
    }

    /// What a reader finds: one epoch's files, all of them.
    #[track_caller]
    fn read(dir: &Path) -> u8 {
        let dir = readable(dir);
        let [a, b] = OURS.map(|name| fs::read(dir.join(name)).unwrap());
        assert_eq!(
            (a.len(), b.len(), a[0]),
            (3, 4, b[0]),
            "two epochs in one directory"
        );
        a[0]
    }

    fn write(dir: &Path, epoch: u8) {
        directory(dir, &content(epoch), &OURS).unwrap();
    }

    fn entries(dir: &Path) -> Vec<String> {
        let names = files::names(dir).unwrap();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_directory_or_the_new_one() {
        for (exchanged, cut) in [(true, 0), (true, 1), (false, 0), (false, 1), (false, 2)] {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("adapter");
            let (partial, old) = (beside(&dir, PARTIAL), beside(&dir, OLD));
            write(&dir, 1);
            fs::write(dir.join("notes.md"), "mine").unwrap();
            // The next one is complete, and the crash comes after this many renames.
            write(&partial, 2);
            if exchanged {
                exchange(&partial, &dir).unwrap();
            }
            for (from, to) in &renames(true, exchanged, [&partial, &dir, &old])[..cut] {
                rename(from, to).unwrap();
            }
            let expected = if exchanged || cut == 2 { 2 } else { 1 };
            assert_eq!(read(&dir), expected, "{exchanged} {cut}");
            // Whoever writes next clears up.
            write(&dir, 3);
            assert_eq!(read(&dir), 3);
            assert_eq!(entries(parent.path()), ["adapter"]);
            assert_eq!(fs::read(dir.join("notes.md")).unwrap(), b"mine");
        }
    }

    #[test]
    fn half_a_directory_is_never_read() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("adapter");
        fs::create_dir(beside(&dir, PARTIAL)).unwrap();
        fs::write(beside(&dir, PARTIAL).join("a"), [9]).unwrap();
        assert_eq!(readable(&dir), dir);
        write(&dir, 1);
        assert_eq!(read(&dir), 1);
        assert_eq!(entries(parent.path()), ["adapter"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_directory() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("adapter");
        write(&dir, 1);
        // A name that cannot be written stands for a full disk.
        let files = [("a", vec![2; 3]), ("none/b", vec![2; 4])];
        assert!(directory(&dir, &files, &OURS).is_err());
        assert_eq!(read(&dir), 1);
        write(&dir, 3);
        assert_eq!(read(&dir), 3);
    }
}
