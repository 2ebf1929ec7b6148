//! Where a study's files are.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CutLine, CutRecord, CutTo, Fit};
use crate::formats::checksum::{self, PUT_BACK};
use crate::formats::npy::{NpyError, Probabilities, read_probabilities, write_npy};
use crate::formats::{FormatError, read_regular, write_atomic};

/// Why a study's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Predictions(#[from] crate::metrics::PredictionsError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error("{} is not what `reproduce` writes there", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} {what}; {MADE_AGAIN}", path.display())]
    Fault { path: PathBuf, what: String },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What to do about a damaged file.
const MADE_AGAIN: &str = "delete it, and the same command makes it again";

/// The content of `cuts.json`.
#[derive(Serialize, Deserialize)]
struct Cuts {
    cuts: Vec<CutRecord>,
}

/// Keeps what a study is made of.
///
/// # Errors
/// It cannot be written.
pub fn write_study(file: &Path, options: &impl Serialize) -> Result<(), StudyError> {
    Ok(checksum::write_json(file, options)?)
}

/// What [`write_study`] has kept. Earlier versions wrote no checksum.
///
/// # Errors
/// It cannot be read, is damaged, or is something else.
pub fn read_study<T: DeserializeOwned>(file: &Path) -> Result<T, StudyError> {
    let json = |source| StudyError::Json {
        path: file.to_owned(),
        source,
    };
    let bytes = read_regular(file, 1 << 20).map_err(failed_to_read(file))?;
    let object = serde_json::from_slice(&bytes).map_err(json)?;
    let (content, _) = checksum::open_json(&file.display().to_string(), object, PUT_BACK)?;
    serde_json::from_value(content.into()).map_err(json)
}

/// The directory of one run with one seed.
#[derive(Clone, Debug)]
pub struct Place {
    pub run: PathBuf,
}

/// A file of predictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub set: String,
    /// How they were made: `mean`, `samples-8`, `laplace-gates`.
    pub way: String,
}

impl Stored {
    /// By a Laplace posterior.
    pub fn laplace(set: &str, fit: Fit) -> Self {
        Self {
            set: set.to_owned(),
            way: fit.way(),
        }
    }

    /// By an adapter cut to this share of its ranks; 0 samples for its mean weights.
    pub fn cut(set: &str, line: CutLine, share: f64, samples: usize) -> Self {
        let mut stored = Self::samples(set, samples);
        stored.way = format!("{}.{}", line.way(share), stored.way);
        stored
    }

    /// By an adapter cut to fewer ranks; 0 samples for its mean weights.
    pub fn cut_to(set: &str, cut: CutTo, samples: usize) -> Self {
        let mut stored = Self::samples(set, samples);
        stored.way = format!("{}.{}", cut.way(), stored.way);
        stored
    }

    /// With this many gate samples; 0 for the mean weights.
    pub fn samples(set: &str, samples: usize) -> Self {
        let way = match samples {
            0 => "mean".to_owned(),
            count => format!("samples-{count}"),
        };
        Self {
            set: set.to_owned(),
            way,
        }
    }
}

impl Place {
    pub fn new(study: &Path, run: &str, seed: u64) -> Self {
        let run = study.join("runs").join(run).join(format!("seed-{seed}"));
        Self { run }
    }

    pub(super) fn predictions(&self) -> PathBuf {
        self.run.join("predictions")
    }

    pub(super) fn file(&self, stored: &Stored) -> PathBuf {
        let Stored { set, way } = stored;
        self.predictions().join(format!("{set}.{way}.npy"))
    }

    fn cuts_file(&self) -> PathBuf {
        self.run.join("cuts.json")
    }

    pub fn has_cuts(&self) -> bool {
        self.cuts_file().exists()
    }

    /// What is known of the cuts of the finished adapter, beside their answers.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_cuts(&self, cuts: Vec<CutRecord>) -> Result<(), StudyError> {
        Ok(checksum::write_json(&self.cuts_file(), &Cuts { cuts })?)
    }

    /// Nothing where the run was not cut.
    ///
    /// # Errors
    /// They are damaged.
    pub fn read_cuts(&self) -> Result<Option<Vec<CutRecord>>, StudyError> {
        if !self.has_cuts() {
            return Ok(None);
        }
        let Cuts { cuts } = checksum::read_json(&self.cuts_file(), "cuts", MADE_AGAIN)?;
        Ok(Some(cuts))
    }

    /// Whether these predictions are there with their checksum, without which they are made again.
    pub fn has(&self, stored: &Stored) -> bool {
        is_whole(&self.file(stored))
    }

    /// Log probabilities, `[samples, n, classes]`.
    ///
    /// # Errors
    /// They are not there, or damaged.
    pub fn read(&self, stored: &Stored) -> Result<Probabilities, StudyError> {
        read(&self.file(stored))
    }

    /// Keeps log probabilities, `[samples, n, classes]`: all of them or nothing.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(
        &self,
        stored: &Stored,
        values: &[f32],
        samples: usize,
        classes: usize,
    ) -> Result<(), StudyError> {
        let n = values.len() / samples / classes;
        self.put(&self.file(stored), &[samples, n, classes], values)
    }

    fn note_file(&self, stored: &Stored) -> PathBuf {
        self.file(stored).with_extension("json")
    }

    /// Keeps what else is known of predictions beside them, an object in JSON.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_note(&self, stored: &Stored, note: &impl Serialize) -> Result<(), StudyError> {
        Ok(checksum::write_json(&self.note_file(stored), note)?)
    }

    /// What was kept beside predictions.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn read_note(&self, stored: &Stored) -> Result<Value, StudyError> {
        Ok(checksum::read_json(
            &self.note_file(stored),
            "a note",
            MADE_AGAIN,
        )?)
    }

    /// The checksum comes first: one without its file is nothing, the file without its checksum would be unchecked.
    pub(super) fn put(
        &self,
        path: &Path,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), StudyError> {
        let folder = self.predictions();
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let partial = path.with_extension("partial");
        write_npy(&partial, shape, values)?;
        let bytes = fs::read(&partial).map_err(failed(&partial))?;
        write_atomic(&sum_file(path), checksum::line(path, &bytes).as_bytes())?;
        fs::rename(&partial, path).map_err(failed(path))
    }
}

pub(super) fn is_whole(path: &Path) -> bool {
    path.exists() && sum_file(path).exists()
}

/// Beside a file of numbers, as `sha256sum` writes it.
fn sum_file(path: &Path) -> PathBuf {
    path.with_extension("npy.sha256")
}

pub(super) fn read(path: &Path) -> Result<Probabilities, StudyError> {
    checksum::check_line(path, &sum_file(path), MADE_AGAIN)?;
    Ok(read_probabilities(path)?)
}

fn failed_to_read(path: &Path) -> impl Fn(std::io::Error) -> StudyError {
    let path = path.to_owned();
    move |source| StudyError::Read {
        path: path.clone(),
        source,
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> StudyError {
    let path = path.to_owned();
    move |source| StudyError::Write {
        path: path.clone(),
        source,
    }
}
