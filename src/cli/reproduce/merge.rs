//! Joins what the shards of a study have written.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::formats::RunDir;

/// Copies the runs of another directory that are not here yet. A run that both have is taken from the
/// one that has got further; equally far, the predictions of both are.
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
            // Where both got equally far they are the same run, each with predictions of its own.
            if epochs(&place) > epochs(&source) {
                continue;
            }
            let keep = epochs(&place) == epochs(&source);
            copy(&source, &place, keep)
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

/// How far a run has got; 0 where there is none.
fn epochs(run: &Path) -> usize {
    let records = RunDir::open(run).and_then(|run| run.read_metrics());
    records.map_or(0, |records| records.len())
}

/// Copies everything below a directory; what is there already is written over or kept.
fn copy(from: &Path, to: &Path, keep: bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &place, keep)?,
            false if keep && place.exists() => {}
            false => {
                fs::copy(entry.path(), &place)?;
            }
        }
    }
    Ok(())
}
