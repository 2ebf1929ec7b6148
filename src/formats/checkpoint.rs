//! Everything that a run needs to go on as if it had not stopped.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FormatError, TensorFile, checksum, files};

const STATE: &str = "bayeslora_checkpoint";

const WAY_OUT: &str = "put back a copy of it, or train a new run";

/// The state of training after a whole number of epochs.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Epochs done.
    pub epoch: usize,
    /// Optimiser steps done.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// `parameters.*`, `first_moment.*` and `second_moment.*` by layer, and rank ids as integers.
    pub tensors: TensorFile,
    /// The kernel variant chosen for each operation.
    pub kernels: BTreeMap<String, String>,
    /// What else the trainer keeps; numbers come back exactly.
    pub extra: Value,
}

/// What is not a tensor. It travels as one header entry: one file is replaced
/// in one rename, and one entry keeps the bytes reproducible.
#[derive(Serialize, Deserialize)]
struct State {
    epoch: usize,
    step: u64,
    seed: u64,
    kernels: BTreeMap<String, String>,
    extra: Value,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    pub(super) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, FormatError> {
        let state = State {
            epoch: self.epoch,
            step: self.step,
            seed: self.seed,
            kernels: self.kernels.clone(),
            extra: self.extra.clone(),
            metadata: self.tensors.metadata.clone(),
        };
        let state = serde_json::to_string(&state)
            .map_err(files::json_error(&path.display().to_string()))?;
        let metadata = BTreeMap::from([(STATE.to_owned(), state)]);
        let file = TensorFile {
            metadata,
            ..self.tensors.clone()
        };
        let bytes = file.to_bytes(&path.display().to_string())?;
        Ok(checksum::tensors(&bytes))
    }

    /// Replaces a file in one step, with its checksum.
    ///
    /// # Errors
    /// A shape contradicts its data, or the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        let path = path.as_ref();
        files::write_atomic(path, &self.to_bytes(path)?)
    }

    /// Reads what [`write`](Self::write) has written.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no checkpoint.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let bytes = files::read(path, "the checkpoint of a run")?;
        checksum::check_tensors(&file, &bytes, WAY_OUT)?;
        let mut tensors = TensorFile::from_bytes(&file, &bytes)?;
        let Some(state) = tensors.metadata.remove(STATE) else {
            return Err(FormatError::Value {
                file: tensors.source,
                item: format!("the header entry `{STATE}`"),
                found: "absent".to_owned(),
                expected: "the state of a run".to_owned(),
            });
        };
        let state: State =
            serde_json::from_str(&state).map_err(files::json_error(&tensors.source))?;
        tensors.metadata = state.metadata;
        Ok(Self {
            epoch: state.epoch,
            step: state.step,
            seed: state.seed,
            tensors,
            kernels: state.kernels,
            extra: state.extra,
        })
    }
}
