//! A folder of files for other programs, which nothing of this one goes on from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{self, io_error};
use super::publish::{self, Named};
use super::{Adapter, FormatError, TensorFile, checksum};

/// What lists the other files, so that a folder is known again as one of these.
const LIST: &str = "export.json";

const AGAIN: &str = "export into another folder";

/// Files that go into one folder together, with a list of them and their checksums in `export.json`.
#[derive(Debug, Default)]
pub struct Bundle {
    files: Vec<Named>,
}

/// `export.json`
#[derive(Serialize, Deserialize)]
struct List {
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
    /// What the files were made of.
    origin: Value,
}

impl Bundle {
    /// Adds a file.
    pub fn put(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.files.push((name, bytes));
    }

    /// Adds a safetensors file.
    ///
    /// # Errors
    /// A shape contradicts the number of elements.
    pub fn put_tensors(
        &mut self,
        name: &'static str,
        file: &TensorFile,
    ) -> Result<(), FormatError> {
        self.put(name, file.to_bytes(name)?);
        Ok(())
    }

    /// Adds the files that [`Adapter::save_peft`] writes.
    ///
    /// # Errors
    /// The adapter contradicts itself.
    pub fn put_adapter(&mut self, adapter: &Adapter) -> Result<(), FormatError> {
        self.files.extend(adapter.files("the adapter")?);
        Ok(())
    }

    /// What the files are called.
    pub fn names(&self) -> Vec<&'static str> {
        self.files.iter().map(|(name, _)| *name).collect()
    }

    /// Checks that [`write`](Self::write) may write here.
    ///
    /// # Errors
    /// The path is a file, or a folder with anything in it that an export has not left there.
    pub fn require_free(dir: &Path) -> Result<(), FormatError> {
        require_free(&target(dir)?)
    }

    /// Writes the folder, all of it or nothing, in the place of an earlier export. `origin` says what it was made of.
    ///
    /// # Errors
    /// The path is a file, or a folder with anything in it that an export has not left there; a file cannot be written.
    pub fn write(self, dir: &Path, origin: Value) -> Result<(), FormatError> {
        let dir = target(dir)?;
        require_free(&dir)?;
        let sums = self.files.iter().map(|(name, bytes)| {
            let sum = checksum::sha256(&[bytes]);
            ((*name).to_owned(), sum)
        });
        let list = List {
            files: sums.collect(),
            origin,
        };
        let list = checksum::json(&dir.join(LIST).display().to_string(), &list)?;
        let mut all = vec![(LIST, list.into_bytes())];
        all.extend(self.files);
        let [partial, old] = between(&dir);
        let mut earlier = Vec::new();
        for place in [&dir, &partial, &old] {
            earlier.extend(names_of(place)?);
        }
        let earlier = earlier.iter().filter_map(|name| name.to_str());
        let ours: Vec<&str> = all.iter().map(|(name, _)| *name).chain(earlier).collect();
        publish::directory(&dir, &all, &ours)
    }
}

/// Where a link leads, as that folder is to be replaced and not the link.
fn target(dir: &Path) -> Result<PathBuf, FormatError> {
    match dir.exists() {
        true => fs::canonicalize(dir).map_err(io_error("find", dir)),
        false => Ok(dir.to_owned()),
    }
}

fn require_free(dir: &Path) -> Result<(), FormatError> {
    if dir.is_symlink() && !dir.exists() {
        return Err(FormatError::NotFound {
            path: dir.to_owned(),
            expected: "a folder where this link leads",
        });
    }
    let names = names_of(dir)?;
    if !names.is_empty() {
        let list = dir.join(LIST);
        let taken = |first: &OsString| FormatError::Taken {
            path: dir.to_owned(),
            first: first.to_string_lossy().into_owned(),
            count: names.len(),
        };
        let listed = match list.is_file() {
            false => return Err(taken(&names[0])),
            true => checksum::read_json::<List>(&list, "the list of an export", AGAIN)?.files,
        };
        for name in names.iter().filter(|name| *name != LIST) {
            let text = name.to_str().unwrap_or_default();
            let (Some(sum), true) = (listed.get(text), dir.join(name).is_file()) else {
                return Err(taken(name));
            };
            let path = dir.join(name);
            if *sum != checksum::sha256(&[&files::read(&path, "a file of an export")?]) {
                return Err(FormatError::Changed {
                    file: path.display().to_string(),
                    found: "it is not what was exported, and would be lost",
                    way_out: AGAIN,
                });
            }
        }
    }
    // These two are needed in between. What an interrupted export has left there begins with its list.
    for beside in between(dir) {
        let names = names_of(&beside)?;
        if let Some(first) = names.first()
            && !names.iter().any(|name| name == LIST)
        {
            return Err(FormatError::Taken {
                first: first.to_string_lossy().into_owned(),
                count: names.len(),
                path: beside,
            });
        }
    }
    Ok(())
}

fn between(dir: &Path) -> [PathBuf; 2] {
    ["partial", "old"].map(|extension| publish::beside(dir, extension))
}

/// The names in a folder; none where there is none.
fn names_of(dir: &Path) -> Result<Vec<OsString>, FormatError> {
    match dir.exists() {
        true => files::names(dir),
        false => Ok(Vec::new()),
    }
}
