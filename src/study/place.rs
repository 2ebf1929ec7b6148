//! Where a study's files are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::formats::npy::{NpyError, Probabilities, read_probabilities, write_npy};

/// Why a study's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The directory of one run with one seed.
#[derive(Clone, Debug)]
pub struct Place {
    pub run: PathBuf,
}

/// The predictions of one set, as they lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    pub set: &'a str,
    /// 0 for the mean weights.
    pub samples: usize,
}

impl Place {
    pub fn new(study: &Path, run: &str, seed: u64) -> Self {
        let run = study.join("runs").join(run).join(format!("seed-{seed}"));
        Self { run }
    }

    fn predictions(&self) -> PathBuf {
        self.run.join("predictions")
    }

    fn file(&self, stored: Stored) -> PathBuf {
        let kind = match stored.samples {
            0 => "mean".to_owned(),
            count => format!("samples-{count}"),
        };
        self.predictions()
            .join(format!("{}.{kind}.npy", stored.set))
    }

    /// Where the traces of equation (16) are, `[n, 1]`.
    fn trace_file(&self, set: &str) -> PathBuf {
        self.predictions().join(format!("{set}.trace.npy"))
    }

    pub fn has(&self, stored: Stored) -> bool {
        self.file(stored).exists()
    }

    pub fn has_trace(&self, set: &str) -> bool {
        self.trace_file(set).exists()
    }

    /// Log probabilities, `[samples, n, classes]`.
    ///
    /// # Errors
    /// They are not there, or damaged.
    pub fn read(&self, stored: Stored) -> Result<Probabilities, StudyError> {
        Ok(read_probabilities(self.file(stored))?)
    }

    /// Keeps log probabilities, `[samples, n, classes]`: all of them or nothing.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, stored: Stored, values: &[f32], classes: usize) -> Result<(), StudyError> {
        let samples = stored.samples.max(1);
        let n = values.len() / samples / classes;
        self.put(&self.file(stored), &[samples, n, classes], values)
    }

    /// # Errors
    /// They are not there, or damaged.
    pub fn read_trace(&self, set: &str) -> Result<Vec<f32>, StudyError> {
        Ok(read_probabilities(self.trace_file(set))?.values)
    }

    /// # Errors
    /// They cannot be written.
    pub fn write_trace(&self, set: &str, values: &[f32]) -> Result<(), StudyError> {
        self.put(&self.trace_file(set), &[values.len(), 1], values)
    }

    fn put(&self, path: &Path, shape: &[usize], values: &[f32]) -> Result<(), StudyError> {
        let folder = self.predictions();
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let partial = path.with_extension("partial");
        write_npy(&partial, shape, values)?;
        fs::rename(&partial, path).map_err(failed(path))
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> StudyError {
    let path = path.to_owned();
    move |source| StudyError::Write {
        path: path.clone(),
        source,
    }
}
