//! The directory of a training run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::files::{self, io_error};
use super::publish::{self, beside};
use super::{Adapter, Checkpoint, Claim, DataManifest, FormatError, LOCK, Lock, checksum};

const CONFIG: &str = "config.toml";
const DATA: &str = "data.json.gz";
/// Written first and renamed last: alone it says that a start was interrupted.
const STARTING: &str = "config.toml.partial";
const ENVIRONMENT: &str = "environment.json";
const METRICS: &str = "metrics.jsonl";
const RESULTS: &str = "results.json";
const ADAPTER: &str = "adapter";
const MEMBERS: &str = "members";
const LAPLACE: &str = "laplace";
const CHECKPOINTS: &str = "checkpoint";
const NEWEST: &str = "state.safetensors";
const PREVIOUS: &str = "previous.safetensors";

/// What the start of a run may write beside its configuration.
const STARTED: [&str; 9] = [
    LOCK,
    ENVIRONMENT,
    "environment.json.partial",
    DATA,
    "data.json.gz.partial",
    METRICS,
    CHECKPOINTS,
    ADAPTER,
    "adapter.partial",
];

const NEW_RUN: &str = "train a new run";

/// What a run leaves on the disk: its configuration, environment, metrics, two newest checkpoints, adapter
/// and results.
///
/// Every file that is read back has a checksum, and a crash at any time leaves a run that can be opened
/// and gone on with, or a start that can be made again.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    /// Held by those who write.
    lock: Option<Arc<Lock>>,
}

impl RunDir {
    /// Makes a new run, of which `fill` writes what is there before `config.toml`, and locks it. An empty
    /// directory may exist, or one in which the start of a run was interrupted.
    ///
    /// # Errors
    /// The path is a file or a directory with something in it, another process has it, it cannot be made, and
    /// what `fill` says.
    pub fn create<E: From<FormatError>>(
        path: impl Into<PathBuf>,
        config: &str,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        Self::create_in(Claim::take(path)?, config, fill)
    }

    /// The same in a directory that was claimed before.
    ///
    /// # Errors
    /// It cannot be written, and what `fill` says.
    pub fn create_in<E: From<FormatError>>(
        claim: Claim,
        config: &str,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (path, lock) = claim.into_parts();
        let lock = Some(Arc::new(lock));
        let run = Self { path, lock };
        run.clear_start()?;
        let (starting, config_path) = (run.path.join(STARTING), run.path.join(CONFIG));
        files::write_synced(&starting, checksum::text(config).as_bytes())?;
        files::sync(&run.path)?;
        fill(&run)?;
        fs::rename(&starting, &config_path).map_err(io_error("replace", &config_path))?;
        files::sync_parent(&config_path)?;
        Ok(run)
    }

    /// Checks that a run can be made here.
    ///
    /// # Errors
    /// The path is a file or a directory with something in it.
    pub fn require_new(path: &Path) -> Result<(), FormatError> {
        if !path.exists() {
            return Ok(());
        }
        let interrupted = Self::is_unstarted(path);
        let mut names: Vec<_> = files::names(path)?;
        names.retain(|name| {
            let name = name.to_str().unwrap_or_default();
            !(name == LOCK || interrupted && (name == STARTING || STARTED.contains(&name)))
        });
        match names.first() {
            None => Ok(()),
            Some(first) => Err(FormatError::NotEmpty {
                first: first.to_string_lossy().into_owned(),
                count: names.len(),
                path: path.to_owned(),
            }),
        }
    }

    fn is_unstarted(path: &Path) -> bool {
        path.join(STARTING).exists() && !path.join(CONFIG).exists()
    }

    /// Removes what an interrupted start has written.
    fn clear_start(&self) -> Result<(), FormatError> {
        for name in STARTED.iter().filter(|name| **name != LOCK) {
            let path = self.path.join(name);
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            } else if path.exists() {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Opens the directory of a run, to read it.
    ///
    /// # Errors
    /// The path does not exist, is a file, or has no `config.toml`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FormatError> {
        let path = path.into();
        if !path.exists() {
            let expected = "the directory of a run";
            return Err(FormatError::NotFound { path, expected });
        }
        files::names(&path)?;
        if Self::is_unstarted(&path) {
            return Err(FormatError::Unstarted { path });
        }
        let config = path.join(CONFIG);
        if !config.exists() {
            return Err(FormatError::NotFound {
                path: config,
                expected: "the configuration of a run",
            });
        }
        Ok(Self { path, lock: None })
    }

    /// The same run for its only writer.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be written.
    pub fn lock(mut self) -> Result<Self, FormatError> {
        if self.lock.is_none() {
            self.lock = Some(Arc::new(Lock::take(&self.path)?));
        }
        Ok(self)
    }

    /// Checks that the run has not been removed while it is written.
    fn require_there(&self) -> Result<(), FormatError> {
        let config = [CONFIG, STARTING].map(|name| self.path.join(name));
        match config.iter().any(|config| config.exists()) {
            true => Ok(()),
            false => {
                let [path, _] = config;
                Err(FormatError::Gone { path })
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the newest adapter is.
    pub fn adapter_dir(&self) -> PathBuf {
        self.path.join(ADAPTER)
    }

    /// The newest adapter; where its file does not say at which resolution it was trained, as those of other programs, it
    /// gets this one.
    ///
    /// # Errors
    /// There is none yet, or its files are damaged.
    pub fn read_adapter(&self, resolution: usize) -> Result<Adapter, FormatError> {
        let path = self.adapter_dir();
        if !path.exists() {
            let expected = "an adapter, which training writes after each epoch";
            return Err(FormatError::NotFound { path, expected });
        }
        let mut adapter = Adapter::load_peft(path)?;
        if adapter.resolution == 0 {
            adapter.resolution = resolution;
        }
        Ok(adapter)
    }

    /// Puts an adapter in the place of the one from before, in one step.
    ///
    /// # Errors
    /// The adapter contradicts itself, it cannot be written, or the run was removed.
    pub fn write_adapter(&self, adapter: &Adapter) -> Result<(), FormatError> {
        self.require_there()?;
        adapter.save_peft(self.adapter_dir())
    }

    /// The run of an ensemble's member, from 0.
    pub fn member_dir(&self, number: usize) -> PathBuf {
        self.path.join(MEMBERS).join((number + 1).to_string())
    }

    /// Copies what says how the run was trained (images, environment and metrics) into another run's directory;
    /// neither adapter nor checkpoint.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy_description(&self, to: &RunDir) -> Result<(), FormatError> {
        for name in [DATA, ENVIRONMENT, METRICS] {
            let from = self.path.join(name);
            if from.exists() {
                let bytes = files::read(&from, "a part of a run")?;
                files::write_synced(&to.path.join(name), &bytes)?;
            }
        }
        Ok(())
    }

    /// The text of `config.toml`.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, or is not what the run has written.
    pub fn read_config(&self) -> Result<String, FormatError> {
        let path = self.path.join(CONFIG);
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        Ok(checksum::parse_text(&path.display().to_string(), &text, NEW_RUN)?.to_owned())
    }

    /// Puts another text in the place of `config.toml`, atomically.
    ///
    /// # Errors
    /// The file cannot be written, or the run was removed.
    pub fn replace_config(&self, config: &str) -> Result<(), FormatError> {
        self.require_there()?;
        files::write_atomic(&self.path.join(CONFIG), checksum::text(config).as_bytes())
    }

    /// Writes `data.json.gz`, atomically. It comes before the configuration, which makes the directory a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_data(&self, data: &DataManifest) -> Result<(), FormatError> {
        data.write(&self.path.join(DATA))
    }

    /// What the run was trained on; `None` where an earlier version of this program has made it.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read_data(&self) -> Result<Option<DataManifest>, FormatError> {
        let path = self.path.join(DATA);
        path.exists().then(|| DataManifest::read(&path)).transpose()
    }

    /// Writes `environment.json`, atomically.
    ///
    /// # Errors
    /// The value has no JSON form, or the file cannot be written.
    pub fn write_environment(&self, environment: &impl Serialize) -> Result<(), FormatError> {
        checksum::write_json(&self.path.join(ENVIRONMENT), environment)
    }

    /// Writes `results.json`, atomically.
    ///
    /// # Errors
    /// The value is not a JSON object, or the file cannot be written.
    pub fn write_results(&self, results: &impl Serialize) -> Result<(), FormatError> {
        self.require_there()?;
        checksum::write_json(&self.path.join(RESULTS), results)
    }

    /// What `results.json` says; nothing if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub fn read_results(&self) -> Result<Value, FormatError> {
        self.read_value(RESULTS, "the results of a run")
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
        self.require_there()?;
        let path = self.path.join(LAPLACE).join(format!("{name}.json"));
        checksum::write_json(&path, report)?;
        Ok(path)
    }

    /// Appends one line to `metrics.jsonl`.
    ///
    /// [`RunDir::truncate_metrics`] goes by the integer field `epoch`. NaN and
    /// infinities become null, as JSON has none.
    ///
    /// # Errors
    /// The record is not a JSON object, the file cannot be written, or the run was removed.
    pub fn append_metrics(&self, record: &impl Serialize) -> Result<(), FormatError> {
        self.require_there()?;
        let path = self.path.join(METRICS);
        let line = checksum::json_line(&path.display().to_string(), record)?;
        // One unbuffered write: a reader sees a whole line or none.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_all()
            })
            .map_err(io_error("append to", &path))
    }

    /// What `environment.json` says; nothing if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub fn read_environment(&self) -> Result<Value, FormatError> {
        self.read_value(ENVIRONMENT, "the environment of a run")
    }

    fn read_value(&self, name: &str, expected: &'static str) -> Result<Value, FormatError> {
        let path = self.path.join(name);
        match path.exists() {
            true => checksum::read_json(&path, expected, checksum::PUT_BACK),
            false => Ok(Value::Null),
        }
    }

    /// The records of `metrics.jsonl` in order; none if nothing was written yet.
    ///
    /// A last line that is cut short is what a crash leaves, and is left out.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not what was written.
    pub fn read_metrics(&self) -> Result<Vec<Value>, FormatError> {
        let text = self.metrics_text()?;
        let records = self.metrics(&text);
        records.map(|line| line.map(|(_, record)| record)).collect()
    }

    /// Drops all that comes after the record of an epoch, as a run that goes on from there writes it again.
    ///
    /// # Errors
    /// The file cannot be read or written, or a line up to there is missing or not what was written.
    pub fn truncate_metrics(&self, after_epoch: usize) -> Result<(), FormatError> {
        let path = self.path.join(METRICS);
        let text = self.metrics_text()?;
        let mut kept = 0;
        let mut records = self.metrics(&text);
        for epoch in 1..=after_epoch {
            let (line, record) = records.next().transpose()?.unwrap_or_default();
            if record.get("epoch").and_then(Value::as_u64) != Some(epoch as u64) {
                return Err(FormatError::Changed {
                    file: format!("{}:{epoch}", path.display()),
                    found: "the line of that epoch is not there, though a checkpoint of it is",
                    way_out: checksum::PUT_BACK,
                });
            }
            kept += line.len();
        }
        let kept = match text[..kept].strip_suffix('\n') {
            // A crash may take the line's end alone.
            None if kept > 0 => format!("{}\n", &text[..kept]),
            _ => text[..kept].to_owned(),
        };
        match kept == text {
            true => Ok(()),
            false => files::write_atomic(&path, kept.as_bytes()),
        }
    }

    /// Replaces the newest checkpoint, which becomes the previous one; a crash leaves a sound one.
    ///
    /// # Errors
    /// A shape contradicts its data, the file cannot be written, or the run was removed.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), FormatError> {
        self.require_there()?;
        let [newest, previous] = self.checkpoints();
        let partial = beside(&newest, "partial");
        files::create_dir(&self.path.join(CHECKPOINTS))?;
        files::write_synced(&partial, &checkpoint.to_bytes(&newest)?)?;
        publish::replace(&partial, &newest, &previous)
    }

    /// The newest sound checkpoint and, where that is the previous one, why the newest is not.
    ///
    /// # Errors
    /// There is none, neither can be read, or both are damaged.
    pub fn read_checkpoint(&self) -> Result<(Checkpoint, Option<FormatError>), FormatError> {
        let [newest, previous] = self.checkpoints();
        let error = match Checkpoint::read(&newest) {
            Ok(checkpoint) => return Ok((checkpoint, None)),
            Err(error) => error,
        };
        match Checkpoint::read(&previous) {
            Ok(checkpoint) => Ok((checkpoint, Some(error))),
            Err(_) if newest.exists() => Err(error),
            Err(FormatError::NotFound { .. }) => Err(FormatError::NoCheckpoint {
                path: self.path.join(CHECKPOINTS),
                config: self.path.join(CONFIG),
            }),
            Err(error) => Err(error),
        }
    }

    /// Makes the previous checkpoint the newest one, in the place of a damaged one.
    ///
    /// # Errors
    /// There is none, or it cannot be renamed.
    pub fn drop_newest_checkpoint(&self) -> Result<(), FormatError> {
        let [newest, previous] = self.checkpoints();
        fs::rename(&previous, &newest).map_err(io_error("replace", &newest))?;
        files::sync_parent(&newest)
    }

    fn checkpoints(&self) -> [PathBuf; 2] {
        [NEWEST, PREVIOUS].map(|name| self.path.join(CHECKPOINTS).join(name))
    }

    fn metrics_text(&self) -> Result<String, FormatError> {
        let path = self.path.join(METRICS);
        match path.exists() {
            true => fs::read_to_string(&path).map_err(io_error("read", &path)),
            false => Ok(String::new()),
        }
    }

    /// Lines, their ends included, and what they say.
    fn metrics<'a>(
        &self,
        text: &'a str,
    ) -> impl Iterator<Item = Result<(&'a str, Value), FormatError>> + use<'a> {
        let path = self.path.join(METRICS).display().to_string();
        let lines = text.split_inclusive('\n').enumerate();
        lines.filter_map(move |(index, line)| {
            let place = format!("{path}:{}", index + 1);
            match checksum::parse_json(&place, line.as_bytes(), checksum::PUT_BACK) {
                Err(_) if is_cut_short(line) => None,
                record => Some(record.map(|record| (line, record))),
            }
        })
    }
}

/// Whether a line is the beginning of one, as a crash leaves it.
fn is_cut_short(line: &str) -> bool {
    let parsed = serde_json::from_str::<Value>(line);
    !line.ends_with('\n') && parsed.is_err_and(|error| error.is_eof())
}
