//! Joins what the shards of a study have written.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{LOCK, RunDir};

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
        // Who writes the one does not write the other.
        if entry.file_name() == LOCK {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bayeslora::low_level::formats::FormatError;
    use serde_json::json;

    /// A run of a shard that has got so far, with files of predictions.
    fn shard(directory: &Path, epochs: usize, files: &[(&str, &str)]) {
        let place = directory.join("runs/lora-r8/seed-1");
        let run = RunDir::create(&place, "", |_| Ok::<_, FormatError>(())).unwrap();
        for epoch in 1..=epochs {
            run.append_metrics(&json!({ "epoch": epoch })).unwrap();
        }
        let predictions = place.join("predictions");
        fs::create_dir_all(&predictions).unwrap();
        for (file, content) in files {
            fs::write(predictions.join(file), content).unwrap();
        }
    }

    fn predicted(out: &Path, file: &str) -> Option<String> {
        fs::read_to_string(out.join("runs/lora-r8/seed-1/predictions").join(file)).ok()
    }

    #[test]
    fn the_run_that_has_got_further_is_taken_and_equal_ones_are_joined() {
        let directory = tempfile::tempdir().unwrap();
        let [out, half, whole, other] =
            ["out", "half", "whole", "other"].map(|name| directory.path().join(name));
        shard(&half, 1, &[("test.npy", "of half a training")]);
        shard(&whole, 2, &[("test.npy", "of all of it")]);
        let files = [("test.npy", "the same again"), ("noise.npy", "its own")];
        shard(&other, 2, &files);
        take_runs(&half, &out).unwrap();
        assert_eq!(predicted(&out, "test.npy").unwrap(), "of half a training");
        take_runs(&whole, &out).unwrap();
        let after = [predicted(&out, "test.npy"), predicted(&out, "noise.npy")];
        assert_eq!(after, [Some("of all of it".into()), None]);
        assert_eq!(epochs(&out.join("runs/lora-r8/seed-1")), 2);
        take_runs(&other, &out).unwrap();
        assert_eq!(predicted(&out, "test.npy").unwrap(), "of all of it");
        assert_eq!(predicted(&out, "noise.npy").unwrap(), "its own");
        take_runs(&half, &out).unwrap();
        assert_eq!(predicted(&out, "test.npy").unwrap(), "of all of it");
    }
}
