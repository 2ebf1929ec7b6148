//! Joins what the shards of a study have written.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Copies the runs of another directory that are not here yet. A run that both have is taken from the
/// one that has got further.
pub fn take_runs(from: &Path, out: &Path) -> Result<()> {
    let runs = from.join("runs");
    ensure!(
        runs.is_dir(),
        "--merge {}: no runs in it; expected what `reproduce --shard` has written",
        from.display()
    );
    for run in folders(&runs)? {
        for seed in folders(&runs.join(&run))? {
            let (source, place) = (
                runs.join(&run).join(&seed),
                out.join("runs").join(&run).join(&seed),
            );
            if place.exists() && size(&place)? >= size(&source)? {
                continue;
            }
            copy(&source, &place)
                .with_context(|| format!("copying {} to {}", source.display(), place.display()))?;
        }
    }
    Ok(())
}

fn folders(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Files below a directory: a run that has got further has more.
fn size(path: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => 1,
        };
    }
    Ok(count)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &place)?,
            false => {
                fs::copy(entry.path(), &place)?;
            }
        }
    }
    Ok(())
}
