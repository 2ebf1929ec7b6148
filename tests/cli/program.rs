//! The program, and copies of what it has written.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use bayeslora::low_level::formats::{Adapter, RunDir};

/// The program with the words of a line, on the adapter that it takes by itself.
pub fn bayeslora(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command.env_remove("BAYESLORA_ADAPTER");
    command.args(line.split_whitespace());
    command
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// What a run has trained.
pub fn adapter(run: &Path) -> Adapter {
    Adapter::load_peft(RunDir::open(run).unwrap().adapter_dir()).unwrap()
}

/// A copy of a run without its adapter, of whatever backbone.
pub fn head_alone(run: &Path, to: &Path) {
    copy(run, to);
    let mut bare = adapter(to);
    bare.layers.clear();
    bare.backbone_sha256.clear();
    bare.save_peft(to.join("adapter")).unwrap();
    fs::remove_file(to.join("data.json.gz")).unwrap();
}
