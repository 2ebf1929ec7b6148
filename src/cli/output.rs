//! What the program says: one document on standard output, notes on standard error, and no complaint when the
//! reader of either leaves early (`| head`).

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::printable;
use serde::Serialize;

/// Adds to an error what could not be kept or shown because of it: a failure outside the program (a full disk),
/// not of its input.
#[derive(Debug)]
pub struct Unkept(pub String);

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Before any long work: a file that an option names cannot be written where it is to be.
pub fn check_place(option: &str, file: &Path) -> Result<()> {
    let shown = printable(file.display());
    ensure!(
        !file.is_dir() && file.file_name().is_some(),
        "{option} {shown}: a directory; name a file in it"
    );
    let parent = file.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    ensure!(
        parent.is_none_or(Path::is_dir),
        "{option} {shown}: there is no such directory to put it in; make it first"
    );
    Ok(())
}

/// One JSON document on a line of its own.
pub fn json(value: &impl Serialize) -> Result<()> {
    text(&serde_json::to_string(value)?)
}

/// Text on standard output, with a newline at its end.
pub fn text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context(Unkept("cannot write to standard output".into())),
    }
}

/// A note on standard error, which no program reads as data. Names in it, of files and of what they hold, reach the
/// terminal without escape codes.
pub fn note(text: &str) {
    let lines: Vec<_> = text.lines().map(printable).collect();
    let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
}

/// A size in the largest binary unit that leaves at least 1.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut name = "B";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, unit);
    }
    match value.fract() == 0.0 || value >= 100.0 {
        true => format!("{value:.0} {name}"),
        false => format!("{value:.1} {name}"),
    }
}
