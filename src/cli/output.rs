//! Standard output: one document, and no complaint when its reader leaves early (`| head`).

use std::io::{ErrorKind, Write};

use anyhow::Result;
use serde::Serialize;

/// One JSON document on a line of its own.
pub fn json(value: &impl Serialize) -> Result<()> {
    text(&serde_json::to_string(value)?)
}

/// Text, with a newline at its end.
pub fn text(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
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
