//! Places as users name them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use bayeslora::low_level::formats::printable;
use serde::{Deserialize, Serialize};

/// A path, or a word in its place such as `sample` or `embedded`.
///
/// Files keep it as text, or, where it is not UTF-8, as the system's own units: `{ Unix = [47, 255] }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Location(OsString);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Text(String),
    Raw(OsString),
}

impl Location {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without the way to the current directory, where it is below that: for files that others may read.
    pub fn seen_from_here(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let path: &Path = self.as_ref();
        printable(path.strip_prefix(here).unwrap_or(path).display())
    }

    /// The same place as named from the root; symbolic links stay.
    pub fn absolute(&self) -> std::io::Result<Self> {
        Ok(std::path::absolute(&self.0)?.into())
    }
}

impl AsRef<Path> for Location {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&printable(self.0.display()))
    }
}

impl From<OsString> for Location {
    fn from(named: OsString) -> Self {
        Self(named)
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self(path.into())
    }
}

impl From<&OsStr> for Location {
    fn from(named: &OsStr) -> Self {
        Self(named.into())
    }
}

impl From<&str> for Location {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl PartialEq<str> for Location {
    fn eq(&self, word: &str) -> bool {
        self.0 == word
    }
}

impl From<Kept> for Location {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Text(text) => Self(text.into()),
            Kept::Raw(raw) => Self(raw),
        }
    }
}

impl From<Location> for Kept {
    fn from(Location(named): Location) -> Self {
        match named.into_string() {
            Ok(text) => Self::Text(text),
            Err(raw) => Self::Raw(raw),
        }
    }
}
