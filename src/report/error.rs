//! Why there is no report.

use std::io;
use std::path::PathBuf;

use crate::formats::FormatError;

/// Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// No results where they were looked for.
    #[error("cannot read `{path}`, which `bayeslora reproduce --out DIR` writes")]
    Read { path: PathBuf, source: io::Error },

    /// What was scored has no number for something.
    #[error(
        "`{path}` was not written: a score is no finite number, so a file of the study must be damaged"
    )]
    NoNumber { path: PathBuf },

    /// The file is something else.
    #[error(
        "`{path}` does not hold the results of a study, as `bayeslora reproduce --out DIR` writes them"
    )]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },

    /// It is JSON, of something else.
    #[error(
        "`{path}` is {found}, expected the results of a study: name a directory that `bayeslora reproduce \
         --out` has written"
    )]
    NotAStudy { path: PathBuf, found: String },

    /// It is not as it was written, or cannot be kept.
    #[error(transparent)]
    File(#[from] FormatError),

    /// The operating system refused.
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
}

/// For `map_err`: a failure to write `path`.
pub(super) fn writing(path: &std::path::Path) -> impl FnOnce(io::Error) -> ReportError + '_ {
    move |source| ReportError::Write {
        path: path.to_owned(),
        source,
    }
}
