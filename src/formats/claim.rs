//! A directory for a run that is still to be made.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FormatError, LOCK, Lock, RunDir, files};

/// A directory that no other process can make a run in, held from before the work that takes long. It is removed with the claim
/// if it was made for it and no run was.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    lock: Option<Lock>,
    undo: Undo,
}

/// What takes back a claim, for a process that ends without dropping it.
#[derive(Clone, Debug)]
pub struct Undo {
    lock: PathBuf,
    /// Directories that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl Claim {
    /// Makes the directory, where it is not there, and takes its lock.
    ///
    /// # Errors
    /// The path is a file or a directory with something in it, another process has it, or it cannot be made.
    pub fn take(path: impl Into<PathBuf>) -> Result<Self, FormatError> {
        let path = path.into();
        RunDir::require_new(&path)?;
        let mut claim = Self {
            lock: None,
            undo: Undo {
                lock: path.join(LOCK),
                made: missing(&path),
            },
            path,
        };
        files::create_dir(&claim.path)?;
        claim.lock = Some(Lock::take(&claim.path)?);
        // Another start may have been finished until now.
        RunDir::require_new(&claim.path)?;
        Ok(claim)
    }

    /// Where the run is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What dropping it does to the disk.
    pub fn undo(&self) -> Undo {
        self.undo.clone()
    }

    /// For the run itself, whose directory stays.
    pub(super) fn into_parts(mut self) -> (PathBuf, Lock) {
        self.undo.made.clear();
        let lock = self.lock.take().expect("taken until the claim goes");
        (std::mem::take(&mut self.path), lock)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.lock {
            // While it is still locked.
            Some(_) => self.undo.run(),
            None => self.undo.remove_directories(),
        }
    }
}

impl Undo {
    /// Removes the directories that were made, as far as nothing else is in them.
    pub fn run(&self) {
        if !self.made.is_empty() {
            // Nobody can be told of a failure, and the next claim takes what is left.
            let _ = fs::remove_file(&self.lock);
        }
        self.remove_directories();
    }

    fn remove_directories(&self) {
        for made in &self.made {
            if fs::remove_dir(made).is_err() {
                break;
            }
        }
    }
}

/// A path and those above it that are not there, the innermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let above = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    above.map(Path::to_owned).collect()
}
