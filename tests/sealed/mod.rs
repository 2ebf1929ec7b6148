//! Changes to a run's files as the program itself would make them, checksums included.

use std::fs;
use std::path::Path;

use bayeslora::low_level::formats::{FormatError, RunDir};

/// Replaces text in `config.toml`.
#[track_caller]
pub fn change_config(run: &Path, from: &str, to: &str) {
    let config = RunDir::open(run).unwrap().read_config().unwrap();
    assert!(config.contains(from), "`{from}` is not in {config}");
    let other = tempfile::tempdir().unwrap();
    let nothing = |_: &RunDir| Ok::<_, FormatError>(());
    RunDir::create(other.path(), &config.replace(from, to), nothing).unwrap();
    fs::copy(other.path().join("config.toml"), run.join("config.toml")).unwrap();
}
