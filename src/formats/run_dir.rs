//! The directory of a training run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::files::{self, io_error};
use super::{Adapter, Checkpoint, FormatError};

const CONFIG: &str = "config.toml";
const ENVIRONMENT: &str = "environment.json";
const METRICS: &str = "metrics.jsonl";
const ADAPTER: &str = "adapter";
const BEFORE_PRUNE: &str = "adapter-before-prune";
const MEMBERS: &str = "members";
const LAPLACE: &str = "laplace";
const CHECKPOINT: &str = "checkpoint/state.safetensors";

/// What a run leaves on the disk: its configuration, environment, metrics,
/// newest checkpoint and finished adapter.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a directory for a new run, with its parents; an empty one may exist.
    ///
    /// # Errors
    /// The path is a file or a directory with something in it, or cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, FormatError> {
        let path = path.into();
        if path.exists() {
            let names = entries(&path)?;
            if let Some(first) = names.first() {
                return Err(FormatError::NotEmpty {
                    first: first.clone(),
                    count: names.len(),
                    path,
                });
            }
        }
        files::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Opens the directory of a run that has written its configuration.
    ///
    /// # Errors
    /// The path does not exist, is a file, or has no `config.toml`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FormatError> {
        let path = path.into();
        if !path.exists() {
            let expected = "the directory of a run";
            return Err(FormatError::NotFound { path, expected });
        }
        entries(&path)?;
        let config = path.join(CONFIG);
        if !config.exists() {
            return Err(FormatError::NotFound {
                path: config,
                expected: "the configuration of a run",
            });
        }
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the finished adapter goes; made by [`Adapter::save_peft`](super::Adapter::save_peft).
    pub fn adapter_dir(&self) -> PathBuf {
        self.path.join(ADAPTER)
    }

    /// The run of an ensemble's member, from 0.
    pub fn member_dir(&self, number: usize) -> PathBuf {
        self.path.join(MEMBERS).join((number + 1).to_string())
    }

    /// Puts a pruned adapter in the place of the finished one, which stays as
    /// `adapter-before-prune` (or `adapter-before-prune-2` and so on where there is one from an
    /// earlier prune). Returns where that is.
    ///
    /// A crash never leaves a half-written adapter: the new one is complete before the names
    /// change, and between the two renames the old one is there under its new name.
    ///
    /// # Errors
    /// The adapter contradicts itself, or something cannot be written or renamed.
    pub fn replace_adapter(&self, adapter: &Adapter) -> Result<PathBuf, FormatError> {
        let (current, partial) = (self.adapter_dir(), self.path.join("adapter.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io_error("remove", &partial))?;
        }
        adapter.save_peft(&partial)?;
        let names = (1..).map(|number| match number {
            1 => BEFORE_PRUNE.to_owned(),
            _ => format!("{BEFORE_PRUNE}-{number}"),
        });
        let mut paths = names.map(|name| self.path.join(name));
        let kept = paths
            .find(|path| !path.exists())
            .expect("endless candidates");
        fs::rename(&current, &kept).map_err(io_error("rename", &current))?;
        fs::rename(&partial, &current).map_err(io_error("rename", &partial))?;
        Ok(kept)
    }

    /// Copies what describes the run (configuration, environment, metrics) into another run's
    /// directory; neither adapter nor checkpoint.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy_description(&self, to: &RunDir) -> Result<(), FormatError> {
        for name in [CONFIG, ENVIRONMENT, METRICS] {
            let from = self.path.join(name);
            if from.exists() {
                fs::copy(&from, to.path.join(name)).map_err(io_error("copy", &from))?;
            }
        }
        Ok(())
    }

    /// Writes `config.toml`, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_config(&self, toml: &str) -> Result<(), FormatError> {
        files::write_atomic(&self.path.join(CONFIG), toml.as_bytes())
    }

    /// The text of `config.toml`.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8.
    pub fn read_config(&self) -> Result<String, FormatError> {
        let path = self.path.join(CONFIG);
        fs::read_to_string(&path).map_err(io_error("read", &path))
    }

    /// Writes `environment.json`, atomically.
    ///
    /// # Errors
    /// The value has no JSON form, or the file cannot be written.
    pub fn write_environment(&self, environment: &impl Serialize) -> Result<(), FormatError> {
        files::write_json(&self.path.join(ENVIRONMENT), environment)
    }

    /// Writes `laplace/NAME.json`, atomically; returns where that is.
    ///
    /// # Errors
    /// The value has no JSON form, or the file cannot be written.
    pub fn write_laplace(
        &self,
        name: &str,
        report: &impl Serialize,
    ) -> Result<PathBuf, FormatError> {
        let directory = self.path.join(LAPLACE);
        files::create_dir(&directory)?;
        let path = directory.join(format!("{name}.json"));
        files::write_json(&path, report)?;
        Ok(path)
    }

    /// Appends one line to `metrics.jsonl`.
    ///
    /// [`RunDir::truncate_metrics`] goes by the integer field `epoch`. NaN and
    /// infinities become null, as JSON has none.
    ///
    /// # Errors
    /// The record has no JSON form, or the file cannot be written.
    pub fn append_metrics(&self, record: &impl Serialize) -> Result<(), FormatError> {
        let path = self.path.join(METRICS);
        let mut line =
            serde_json::to_vec(record).map_err(files::json_error(&path.display().to_string()))?;
        line.push(b'\n');
        // One unbuffered write: a reader sees a whole line or none.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&line))
            .map_err(io_error("append to", &path))
    }

    /// What `environment.json` says; nothing if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not JSON.
    pub fn read_environment(&self) -> Result<Value, FormatError> {
        let path = self.path.join(ENVIRONMENT);
        if !path.exists() {
            return Ok(Value::Null);
        }
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        serde_json::from_str(&text).map_err(files::json_error(&path.display().to_string()))
    }

    /// The records of `metrics.jsonl` in order; none if nothing was written yet.
    ///
    /// A last line without its end is what a crash leaves, and is left out.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not JSON.
    pub fn read_metrics(&self) -> Result<Vec<Value>, FormatError> {
        let lines = self.metrics_lines()?;
        Ok(lines.into_iter().map(|(_, record)| record).collect())
    }

    /// Drops all from the first record whose `epoch` is past `after_epoch`, as
    /// a run resumed from that epoch writes them again, and the torn line of a crash.
    ///
    /// # Errors
    /// As in [`RunDir::read_metrics`], or the file cannot be written.
    pub fn truncate_metrics(&self, after_epoch: usize) -> Result<(), FormatError> {
        let past = |record: &Value| {
            let epoch = record.get("epoch").and_then(Value::as_u64);
            epoch.is_some_and(|epoch| epoch > after_epoch as u64)
        };
        let lines = self.metrics_lines()?.into_iter();
        let kept = lines.take_while(|(_, record)| !past(record));
        let kept: String = kept.map(|(line, _)| line).collect();
        files::write_atomic(&self.path.join(METRICS), kept.as_bytes())
    }

    /// Replaces the checkpoint; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// A shape contradicts its data, or the file cannot be written.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), FormatError> {
        checkpoint.write_atomic(&self.path.join(CHECKPOINT))
    }

    /// The newest checkpoint, if one was written.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no checkpoint.
    pub fn read_checkpoint(&self) -> Result<Option<Checkpoint>, FormatError> {
        let path = self.path.join(CHECKPOINT);
        path.exists().then(|| Checkpoint::read(&path)).transpose()
    }

    /// Whole lines, their ends included, and what they say.
    fn metrics_lines(&self) -> Result<Vec<(String, Value)>, FormatError> {
        let path = self.path.join(METRICS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let whole = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let parsed = whole.enumerate().map(|(index, line)| {
            let place = format!("{}:{}", path.display(), index + 1);
            let record = serde_json::from_str(line).map_err(files::json_error(&place))?;
            Ok((line.to_owned(), record))
        });
        parsed.collect()
    }
}

/// The sorted names in a directory.
fn entries(path: &Path) -> Result<Vec<String>, FormatError> {
    if !path.is_dir() {
        return Err(FormatError::NotADirectory { path: path.into() });
    }
    let mut names = fs::read_dir(path)
        .and_then(|list| {
            list.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(io_error("list", path))?;
    names.sort();
    Ok(names)
}
