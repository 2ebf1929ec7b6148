//! From `results.json` of one or more directories to the page and the figures' files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::error::writing;
use super::page::{Part, render};
use super::{ReportError, Results, raster, theme};

/// What a study's directory holds its results in.
pub const RESULTS_FILE: &str = "results.json";

/// Ready to be written.
pub struct Report {
    parts: Vec<Part>,
    directories: Vec<PathBuf>,
}

impl Report {
    /// Reads `results.json` of every directory.
    ///
    /// # Errors
    /// If one cannot be read or holds something else.
    pub fn read(directories: &[PathBuf]) -> Result<Self, ReportError> {
        let part = |directory: &PathBuf| {
            let path = directory.join(RESULTS_FILE);
            let results: Results = match fs::read(&path) {
                Err(source) => return Err(ReportError::Read { path, source }),
                Ok(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|source| ReportError::Json { path, source })?,
            };
            let name = directory.file_name().unwrap_or(directory.as_os_str());
            Ok(Part::new(&name.to_string_lossy(), &results))
        };
        Ok(Self {
            parts: directories.iter().map(part).collect::<Result<_, _>>()?,
            directories: directories.to_vec(),
        })
    }

    /// The page, complete in itself.
    pub fn html(&self) -> String {
        render(&self.parts)
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
            let directory = directory.join("figures");
            fs::create_dir_all(&directory).map_err(writing(&directory))?;
            let figures: Vec<_> = part.figures().collect();
            figures.par_iter().try_for_each(|figure| {
                let path = |ending: &str| directory.join(format!("{}.{ending}", figure.name));
                write(&path("svg"), figure.svg().as_bytes())?;
                write(&path("csv"), figure.numbers.csv().as_bytes())?;
                let png = raster::png(&figure.standalone(&theme::light_css()));
                write(&path("png"), &png.expect("our own SVG is one"))?;
                done(written.fetch_add(1, Ordering::Relaxed) + 1, all);
                Ok(())
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

fn write(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(writing(path))
}
