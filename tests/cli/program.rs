//! The program, and copies of what it has written.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

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
