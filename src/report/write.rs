//! From `results.json` of one or more directories to the page and the figures' files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde_json::{Number, Value};

use super::by_images::overview;
use super::error::writing;
use super::page::{Part, render};
use super::{ReportError, Results, raster, theme};
use crate::formats::{checksum, read_regular, write_atomic};

/// What a study's directory holds its results in.
pub const RESULTS_FILE: &str = "results.json";

/// Bytes that the results of a study may have.
const LIMIT: u64 = 256 << 20;

/// Ready to be written.
pub struct Report {
    /// Of studies that are read beside each other.
    overview: Option<Part>,
    parts: Vec<Part>,
    directories: Vec<PathBuf>,
    unsealed: Vec<PathBuf>,
}

impl Results {
    /// Writes them with their checksum, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let text = checksum::json_line(&path.display().to_string(), self)?;
        // A number that is none would be written as null, and no reader would take it.
        serde_json::from_str::<Self>(&text).map_err(|_| ReportError::NoNumber {
            path: path.to_owned(),
        })?;
        Ok(write_atomic(path, text.as_bytes())?)
    }
}

impl Report {
    /// Reads `results.json` of every directory.
    ///
    /// # Errors
    /// If one cannot be read, is damaged or holds something else.
    pub fn read(directories: &[PathBuf]) -> Result<Self, ReportError> {
        let mut unsealed = Vec::new();
        let mut studies = Vec::new();
        let part = |directory: &PathBuf| -> Result<Part, ReportError> {
            let path = directory.join(RESULTS_FILE);
            let (results, is_sealed) = results(path.clone())?;
            if !is_sealed {
                unsealed.push(path);
            }
            let name = directory.file_name().unwrap_or(directory.as_os_str());
            let part = Part::new(&name.to_string_lossy(), &results);
            studies.push(results);
            Ok(part)
        };
        let parts = directories.iter().map(part);
        let parts = parts.collect::<Result<_, ReportError>>()?;
        Ok(Self {
            overview: overview(&studies),
            parts,
            directories: directories.to_vec(),
            unsealed,
        })
    }

    /// Files without a checksum, as early versions wrote them: whether they are as written cannot be told.
    pub fn unsealed(&self) -> &[PathBuf] {
        &self.unsealed
    }

    /// The page, complete in itself.
    pub fn html(&self) -> String {
        render(
            "BayesLoRA: results",
            "study",
            self.overview.iter().chain(&self.parts),
        )
    }

    /// Figures of all studies.
    pub fn figures(&self) -> usize {
        self.parts.iter().map(|part| part.figures().count()).sum()
    }

    /// Writes `figures/NAME.svg`, `.png` and `.csv` into every directory; after each figure, `done` hears
    /// from any thread how many are there and how many there will be.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_figures(&self, done: impl Fn(usize, usize) + Sync) -> Result<(), ReportError> {
        let (written, all) = (AtomicUsize::new(0), self.figures());
        for (part, directory) in self.parts.iter().zip(&self.directories) {
            part.write_figures(&directory.join("figures"), || {
                done(written.fetch_add(1, Ordering::Relaxed) + 1, all);
            })?;
        }
        Ok(())
    }

    /// Writes the page.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_page(&self, path: &Path) -> Result<(), ReportError> {
        write(path, self.html().as_bytes())
    }
}

impl Part {
    /// Writes `NAME.svg`, `.png` and `.csv` of every figure into a directory, which is made; `done` hears of each.
    pub(super) fn write_figures(
        &self,
        directory: &Path,
        done: impl Fn() + Sync,
    ) -> Result<(), ReportError> {
        fs::create_dir_all(directory).map_err(writing(directory))?;
        let figures: Vec<_> = self.figures().collect();
        figures.par_iter().try_for_each(|figure| {
            let path = |ending: &str| directory.join(format!("{}.{ending}", figure.name));
            write(&path("svg"), figure.svg().as_bytes())?;
            write(&path("csv"), figure.numbers.csv().as_bytes())?;
            let png = raster::png(&figure.standalone(&theme::light_css()));
            write(&path("png"), &png.expect("our own SVG is one"))?;
            done();
            Ok(())
        })
    }
}

/// A study's results, and whether they had a checksum. Every field has a default, so that what else is JSON must
/// be found out first.
fn results(path: PathBuf) -> Result<(Results, bool), ReportError> {
    let bytes = match read_regular(&path, LIMIT) {
        Err(source) => return Err(ReportError::Read { path, source }),
        Ok(bytes) => bytes,
    };
    let json = |source, path| ReportError::Json { path, source };
    let value: Value = match serde_json::from_slice(&bytes) {
        Err(source) => return Err(json(source, path)),
        Ok(value) => value,
    };
    let found = match &value {
        Value::Object(object) if object.contains_key("study") && object.contains_key("rows") => {
            unlikely(&value).map(|number| format!("a file with the number {number}"))
        }
        Value::Object(object) if object.contains_key("mean") || object.contains_key("ensemble") => {
            Some("the results of one run, whose page `bayeslora report --run` makes".to_owned())
        }
        _ => Some("JSON of another kind".to_owned()),
    };
    if let Some(found) = found {
        return Err(ReportError::NotAStudy { path, found });
    }
    let object = value.as_object().cloned().unwrap_or_default();
    let (content, is_sealed) =
        checksum::open_json(&path.display().to_string(), object, checksum::PUT_BACK)?;
    let results = serde_json::from_value(content.into()).map_err(|source| json(source, path))?;
    Ok((results, is_sealed))
}

/// A number that no count, score or time is, so that neither sums overflow nor axes run on for ever. Seeds may
/// be anything.
fn unlikely(value: &Value) -> Option<&Number> {
    const LARGEST: f64 = 1e12;
    match value {
        Value::Number(number) => number
            .as_f64()
            .is_none_or(|v| v.abs() > LARGEST)
            .then_some(number),
        Value::Array(items) => items.iter().find_map(unlikely),
        Value::Object(entries) => entries
            .iter()
            .filter(|(key, _)| !key.starts_with("seed"))
            .find_map(|(_, value)| unlikely(value)),
        _ => None,
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(writing(path))
}
