//! What can be wrong with a file, in one sentence each.

use std::io;
use std::path::PathBuf;

use crate::errors::ErrorKind;

/// Why a file or directory was refused.
///
/// Every message is one sentence that names the file, the item in it, what was
/// found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
pub enum FormatError {
    /// Nothing lies at the path.
    #[error("`{path}` does not exist, expected {expected}")]
    NotFound {
        path: PathBuf,
        expected: &'static str,
    },

    /// A file that comes with the program is not where it is looked for.
    #[error(
        "`{file}` is neither inside this program nor in {directories}: copy it there from `assets` in the repository, \
         or build in a clone of it, with the feature `embedded` to have it inside"
    )]
    NoAsset {
        file: &'static str,
        directories: String,
    },

    /// The operating system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    /// The container itself is damaged or is something else.
    #[error(
        "`{file}` ({bytes} bytes) is cut short or not safetensors at all: {found}; download or copy it again"
    )]
    NotSafetensors {
        file: String,
        bytes: u64,
        found: String,
    },

    /// The content is known, and is not safetensors.
    #[error("`{file}` is {found}, expected safetensors: {way_out}")]
    Foreign {
        file: String,
        found: String,
        way_out: String,
    },

    /// A file of PyTorch that is damaged, or holds something else than tensors.
    #[error("`{file}`, a file of PyTorch, {found}: {way_out}")]
    PyTorch {
        file: String,
        found: String,
        way_out: &'static str,
    },

    /// The tensors are those of another network.
    #[error(
        "`{file}` looks like {found}, expected a ResNet-18 or ResNet-34 with the names of torchvision, timm \
         or transformers: no other network is read ({misfit})"
    )]
    Architecture {
        file: String,
        found: String,
        /// The first tensor that tells.
        misfit: String,
    },

    /// The text is not the JSON that was expected.
    #[error("`{file}` is not the JSON expected here")]
    Json {
        file: String,
        source: serde_json::Error,
    },

    /// The content is not what was written.
    #[error("`{file}` was damaged or changed after it was written ({found}): {way_out}")]
    Changed {
        file: String,
        found: &'static str,
        way_out: &'static str,
    },

    /// A tensor has an element type that is not read.
    #[error("`{file}`: tensor `{tensor}` has dtype {found}, expected {expected}")]
    Dtype {
        file: String,
        tensor: String,
        found: String,
        expected: &'static str,
    },

    /// A tensor has the wrong shape.
    #[error("`{file}`: tensor `{tensor}` has shape {found:?}, expected {expected}")]
    Shape {
        file: String,
        tensor: String,
        found: Vec<usize>,
        expected: String,
    },

    /// A tensor is NaN or infinite somewhere.
    #[error("`{file}`: tensor `{tensor}` is {found} at index {index}, expected a finite number")]
    NonFinite {
        file: String,
        tensor: String,
        index: usize,
        found: f32,
    },

    /// Tensors are absent; the first in the order of the network is named.
    #[error("`{file}`: {count} of the expected tensors missing, the first is `{tensor}`")]
    Missing {
        file: String,
        tensor: String,
        count: usize,
    },

    /// Tensors that have no place in the model; the first by name is named.
    #[error(
        "`{file}`: {count} tensors found that have no place in {expected}, the first is `{tensor}`"
    )]
    Unexpected {
        file: String,
        tensor: String,
        count: usize,
        expected: &'static str,
    },

    /// A value is out of its range or contradicts another.
    #[error("`{file}`: {item} is {found}, expected {expected}")]
    Value {
        file: String,
        item: String,
        found: String,
        expected: String,
    },

    /// A file lies where a directory should be.
    #[error("`{path}` is a file, expected a directory")]
    NotADirectory { path: PathBuf },

    /// Another process writes here.
    #[error(
        "`{path}` is being written by {holder}: wait for it or stop it{}",
        if *.elsewhere { format!("; if it is gone, delete `{}`", lock.display()) } else { String::new() }
    )]
    Locked {
        path: PathBuf,
        holder: String,
        lock: PathBuf,
        /// On another machine, where it cannot be checked whether it still runs.
        elsewhere: bool,
    },

    /// The start of a run was interrupted.
    #[error(
        "the run in `{path}` was interrupted before anything was trained: start it again with the same options"
    )]
    Unstarted { path: PathBuf },

    /// What a run needs to go on is missing.
    #[error(
        "`{path}` does not exist, so the run cannot go on: put it back, or train a new run as {config} says (a pruned run has \
         none)"
    )]
    NoCheckpoint { path: PathBuf, config: PathBuf },

    /// The directory of a run is gone while it is written.
    #[error(
        "`{path}` does not exist any more: the run was removed or moved while it was written, and what was \
         not written yet is lost"
    )]
    Gone { path: PathBuf },

    /// What is handed out would mix with what is there, or replace it.
    #[error(
        "`{path}` already holds `{first}` ({count} entries in all), expected a new or an empty folder, or one that an \
         export has made: choose another"
    )]
    Taken {
        path: PathBuf,
        first: String,
        count: usize,
    },

    /// A new run would mix with what is there.
    #[error(
        "`{path}` already holds `{first}` ({count} entries in all), expected an empty directory: \
         continue that run or choose another directory"
    )]
    NotEmpty {
        path: PathBuf,
        first: String,
        count: usize,
    },
}

impl FormatError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::System,
            _ => ErrorKind::Input,
        }
    }
}
