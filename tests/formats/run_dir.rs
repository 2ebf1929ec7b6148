use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bayeslora::low_level::formats::{
    Adapter, Checkpoint, Claim, FormatError, RunDir, Temperature, TensorFile,
};
use serde_json::json;

use super::adapter::small;
use super::assert_says;

fn checkpoint(epoch: usize) -> Checkpoint {
    let mut tensors = TensorFile::default();
    for part in ["parameters", "first_moment", "second_moment"] {
        let data = vec![epoch as f32, -0.0, f32::from_bits(1)];
        tensors.insert(format!("{part}.layer4.0.conv1.lora_A"), &[3, 1], data);
    }
    tensors.insert_u32s("rank_ids.layer4.0.conv1", &[0, 5, u32::MAX]);
    tensors.metadata.insert("note".into(), "kept".into());
    Checkpoint {
        epoch,
        step: u64::MAX,
        seed: (1 << 53) + 1,
        tensors,
        kernels: BTreeMap::from([("conv".into(), "tiled".into())]),
        // serde_json reads this f64 off by one unit in the last place without `float_roundtrip`.
        extra: json!({"best": 10.323_759_005_323_595, "big": u64::MAX, "none": null}),
    }
}

#[track_caller]
fn assert_same(left: &Checkpoint, right: &Checkpoint) {
    assert_eq!(
        (left.epoch, left.step, left.seed),
        (right.epoch, right.step, right.seed)
    );
    assert_eq!((&left.kernels, &left.extra), (&right.kernels, &right.extra));
    assert_eq!(left.tensors.integers, right.tensors.integers);
    assert_eq!(left.tensors.metadata, right.tensors.metadata);
    let bits = |c: &Checkpoint| -> Vec<_> {
        let all = c.tensors.tensors.iter();
        all.map(|(name, t)| {
            let bits: Vec<u32> = t.data.iter().map(|v| v.to_bits()).collect();
            (name.clone(), t.shape.clone(), bits)
        })
        .collect()
    };
    assert_eq!(bits(left), bits(right));
}

/// A run of which nothing is written but what every run has.
fn create(path: impl Into<PathBuf>) -> RunDir {
    start(path, |_| Ok(())).unwrap()
}

fn start(
    path: impl Into<PathBuf>,
    fill: impl FnOnce(&RunDir) -> Result<(), FormatError>,
) -> Result<RunDir, FormatError> {
    RunDir::create(path, "seed = 1\n", fill)
}

fn newest(run: &RunDir) -> Checkpoint {
    let (checkpoint, damaged) = run.read_checkpoint().unwrap();
    assert!(damaged.is_none());
    checkpoint
}

/// Changes one bit of a file.
fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_new_run_needs_an_empty_directory() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path().join("a/b"), |run| {
        run.write_environment(&json!({"gpu": "none"}))
    });
    let run = run.unwrap();

    let says = ["a/b`", "`config.toml`", "2 entries", "another directory"];
    assert_says(RunDir::require_new(run.path()), &says);
    let file = run.path().join("config.toml");
    assert_says(
        RunDir::require_new(&file),
        &["config.toml", "is a file, expected a directory"],
    );
    assert_says(
        RunDir::open(&file),
        &["config.toml", "is a file, expected a directory"],
    );
    let absent = dir.path().join("absent");
    assert_says(
        RunDir::open(&absent),
        &["absent", "does not exist", "the directory of a run"],
    );
    assert_says(
        RunDir::open(dir.path()),
        &["config.toml", "the configuration of a run"],
    );

    let again = RunDir::open(run.path()).unwrap();
    assert_eq!(again.read_config().unwrap(), "seed = 1\n");
    assert_eq!(again.adapter_dir(), run.path().join("adapter"));
    let environment = again.read_environment().unwrap();
    assert_eq!(environment, json!({"gpu": "none"}));
}

#[test]
fn a_start_that_was_interrupted_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let begun = |run: &RunDir| {
        run.write_environment(&json!({"gpu": "none"}))?;
        run.write_checkpoint(&checkpoint(0))
    };
    // Whatever was written before the end, the directory is no run and a new one can be made.
    for cut in 0..3 {
        let failed = start(&path, |run| {
            if cut > 0 {
                run.write_environment(&json!({"gpu": "none"}))?;
            }
            if cut > 1 {
                run.write_checkpoint(&checkpoint(0))?;
            }
            Err(FormatError::Gone { path: "cut".into() })
        });
        assert_says(failed, &["cut"]);
        let says = ["interrupted before", "start it again with the same options"];
        assert_says(RunDir::open(&path), &says);
    }
    // Somebody else's file is not removed.
    fs::write(path.join("notes.md"), "mine").unwrap();
    assert_says(RunDir::require_new(&path), &["`notes.md`", "1 entries"]);
    fs::remove_file(path.join("notes.md")).unwrap();
    let run = start(&path, begun).unwrap();
    assert_same(&newest(&run), &checkpoint(0));
    // A run whose configuration was deleted is none that may be written over.
    fs::remove_file(path.join("config.toml")).unwrap();
    assert_says(RunDir::require_new(&path), &["already holds"]);
}

#[test]
fn a_run_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = create(&path);
    let me = std::process::id().to_string();
    let says = ["being written by process", &me, "wait for it or stop it"];
    assert_says(RunDir::open(&path).unwrap().lock(), &says);
    // Readers do not ask.
    RunDir::open(&path).unwrap().read_config().unwrap();
    drop(run);
    let lock = path.join("lock");
    assert_eq!(fs::read_to_string(&lock).unwrap(), "");
    // A process that is gone has left its name.
    let taken = fs::read_to_string(&lock);
    let run = RunDir::open(&path).unwrap().lock().unwrap();
    let gone = fs::read_to_string(&lock).unwrap();
    assert!(gone.contains(&me) && taken.unwrap().is_empty());
    drop(run);
    fs::write(&lock, &gone).unwrap();
    drop(RunDir::open(&path).unwrap().lock().unwrap());
    // One of another machine may be there yet.
    let mut holder: serde_json::Value = serde_json::from_str(&gone).unwrap();
    holder["host"] = "elsewhere".into();
    fs::write(&lock, holder.to_string()).unwrap();
    let says = ["on elsewhere", "if it is gone, delete", "run/lock`"];
    assert_says(RunDir::open(&path).unwrap().lock(), &says);
}

#[test]
fn a_changed_configuration_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    let path = dir.path().join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    // People and other programs read it as TOML.
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["seed"].as_integer(), Some(1));
    for changed in [
        text.replace("seed = 1", "seed = 2"),
        text.replace("sha256", "sha257"),
        "seed = 1\n".to_owned(),
        String::new(),
    ] {
        fs::write(&path, changed).unwrap();
        let says = [
            "config.toml",
            "changed after it was written",
            "train a new run",
        ];
        assert_says(run.read_config(), &says);
    }
}

#[test]
fn a_run_that_was_removed_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = create(&path);
    let says = ["config.toml", "does not exist any more", "removed or moved"];
    for step in 0..2 {
        match step {
            0 => fs::remove_file(path.join("config.toml")).unwrap(),
            _ => fs::remove_dir_all(&path).unwrap(),
        }
        assert_says(run.append_metrics(&json!({"epoch": 1})), &says);
        assert_says(run.write_checkpoint(&checkpoint(1)), &says);
        assert_says(run.write_results(&json!({})), &says);
        assert_says(run.write_laplace("gates", &json!({})), &says);
    }
    assert!(!path.exists());
}

#[test]
fn metrics_are_lines_and_resume_drops_the_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    assert!(run.read_metrics().unwrap().is_empty());
    let nll = 10.323_759_005_323_595;
    let records = [
        json!({"epoch": 1, "zebra": nll, "acc": f64::NAN}),
        json!({"epoch": 2, "step": u64::MAX}),
        json!({"epoch": 3}),
    ];
    for record in &records {
        run.append_metrics(record).unwrap();
    }
    assert_eq!(run.read_metrics().unwrap(), records);

    let path = dir.path().join("metrics.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    // A crash in the middle of a line; whatever follows the epoch that is gone on from is dropped.
    for tail in ["{\"epoch\": 4, \"nl", "{\"epoch\": 4}\nrubbish"] {
        fs::write(&path, whole.clone() + tail).unwrap();
        if !tail.contains('\n') {
            assert_eq!(run.read_metrics().unwrap(), records);
        }
        run.truncate_metrics(3).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }
    // Or before the line's end.
    fs::write(&path, whole.trim_end()).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records);
    run.truncate_metrics(3).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);

    run.truncate_metrics(2).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records[..2]);
    run.append_metrics(&records[2]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    let says = ["metrics.jsonl:4", "the line of that epoch is not there"];
    assert_says(run.truncate_metrics(4), &says);
    run.truncate_metrics(0).unwrap();
    assert!(run.read_metrics().unwrap().is_empty());

    fs::write(&path, format!("{whole}not json\n")).unwrap();
    assert_says(run.read_metrics(), &["metrics.jsonl:4", "not the JSON"]);
}

#[test]
fn checkpoints_come_back_exactly_and_the_last_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    let says = [
        "checkpoint` does not exist",
        "put it back",
        "train a new run",
    ];
    assert_says(run.read_checkpoint(), &says);
    for epoch in [1, 2, 3] {
        run.write_checkpoint(&checkpoint(epoch)).unwrap();
        assert_same(&newest(&run), &checkpoint(epoch));
    }
    let names = fs::read_dir(dir.path().join("checkpoint")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["previous.safetensors", "state.safetensors"]);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    let path = dir.path().join("checkpoint/state.safetensors");
    let bytes = |epoch| {
        run.write_checkpoint(&checkpoint(epoch - 1)).unwrap();
        run.write_checkpoint(&checkpoint(epoch)).unwrap();
        fs::read(&path).unwrap().len()
    };
    let falls_back = |says: &[&str]| {
        let (found, damaged) = run.read_checkpoint().unwrap();
        assert_same(&found, &checkpoint(1));
        assert_says(damaged.map_or(Ok(()), Err), says);
    };
    let length = bytes(2);
    // Anywhere: in the header's length, its names and its checksum, in the first and the last number.
    for byte in [0, 9, 40, length / 4, length / 2, length - 60, length - 1] {
        bytes(2);
        flip(&path, byte);
        falls_back(&["state.safetensors"]);
    }
    bytes(2);
    let whole = fs::read(&path).unwrap();
    for cut in [0, 5, 100, length - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        falls_back(&["state.safetensors"]);
    }
    fs::remove_file(&path).unwrap();
    falls_back(&["state.safetensors", "does not exist"]);

    // The damaged one does not become the previous one.
    run.drop_newest_checkpoint().unwrap();
    assert_same(&newest(&run), &checkpoint(1));
    run.write_checkpoint(&checkpoint(2)).unwrap();
    flip(&path, length - 1);
    falls_back(&["state.safetensors", "checksum does not fit"]);
    flip(&dir.path().join("checkpoint/previous.safetensors"), 60);
    assert_says(run.read_checkpoint(), &["state.safetensors"]);
}

#[test]
fn what_a_crash_leaves_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    let leftover = dir.path().join("checkpoint/state.safetensors.partial");
    fs::create_dir(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, b"half a checkpoint").unwrap();
    assert_says(run.read_checkpoint(), &["checkpoint` does not exist"]);
    run.write_checkpoint(&checkpoint(1)).unwrap();
    fs::write(&leftover, b"half a checkpoint").unwrap();
    assert_same(&newest(&run), &checkpoint(1));
    run.write_checkpoint(&checkpoint(2)).unwrap();
    assert_same(&newest(&run), &checkpoint(2));
    assert!(!leftover.exists());
}

#[test]
fn a_write_that_fails_keeps_the_old_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    run.write_checkpoint(&checkpoint(1)).unwrap();
    // A directory in the way of the temporary file stands for a full disk.
    fs::create_dir(dir.path().join("checkpoint/state.safetensors.partial")).unwrap();
    assert_says(
        run.write_checkpoint(&checkpoint(2)),
        &["cannot create", "partial"],
    );
    assert_same(&newest(&run), &checkpoint(1));
}

#[test]
fn a_checkpoint_of_nothing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = create(dir.path());
    run.write_checkpoint(&checkpoint(1)).unwrap();
    let path = dir.path().join("checkpoint/state.safetensors");
    TensorFile::default().write_atomic(&path).unwrap();
    assert_says(
        run.read_checkpoint(),
        &["state.safetensors", "it has no checksum"],
    );
}

#[test]
fn a_flipped_bit_is_found_in_every_file_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), |run| {
        run.write_environment(&json!({"gpu": "none", "threads": 2}))
    });
    let run = run.unwrap();
    run.append_metrics(&json!({"epoch": 1, "loss": 0.25}))
        .unwrap();
    run.append_metrics(&json!({"epoch": 2, "loss": 0.125}))
        .unwrap();
    let adapter = small();
    run.write_adapter(&adapter).unwrap();
    let sum = adapter.sha256().unwrap();
    let fitted = Temperature {
        temperature: 1.5,
        samples: 8,
        seed: 1,
        images: 100,
        nll_before: 0.5,
        nll_after: 0.4,
    };
    fitted.save(run.adapter_dir(), &sum).unwrap();
    type Read<'a> = &'a dyn Fn() -> Result<(), FormatError>;
    let load = || Adapter::load_peft(run.adapter_dir()).map(drop);
    let temperature = || Temperature::load_all(run.adapter_dir(), &sum).map(drop);
    let files: [(&str, Read); 8] = [
        ("config.toml", &|| run.read_config().map(drop)),
        ("environment.json", &|| run.read_environment().map(drop)),
        ("metrics.jsonl", &|| run.read_metrics().map(drop)),
        ("adapter/adapter_config.json", &load),
        ("adapter/adapter_model.safetensors", &load),
        ("adapter/bayeslora.json", &load),
        ("adapter/bayeslora.safetensors", &load),
        ("adapter/temperature.json", &temperature),
    ];
    for (name, read) in files {
        let path = dir.path().join(name);
        let before = fs::read(&path).unwrap();
        read().unwrap();
        for share in 0..24 {
            let byte = share * (before.len() - 1) / 23;
            // Space that is spelt otherwise says the same.
            if before[byte].is_ascii_whitespace()
                && name.ends_with("son")
                && !name.contains("config")
            {
                continue;
            }
            flip(&path, byte);
            let file = name.rsplit('/').next().unwrap();
            assert_says(read(), &[file]);
            fs::write(&path, &before).unwrap();
        }
    }
}

#[test]
fn a_claim_keeps_others_out_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/photos");
    let claim = Claim::take(&path).unwrap();
    assert_says(
        Claim::take(&path).map(drop),
        &["runs/photos", "being written by"],
    );
    drop(claim);
    assert!(
        !dir.path().join("runs").exists(),
        "what was made for it goes with it"
    );

    // What was there stays, as does what somebody has put there.
    fs::create_dir_all(&path).unwrap();
    drop(Claim::take(&path).unwrap());
    assert!(path.exists());
    let deeper = path.join("deeper");
    let claim = Claim::take(&deeper).unwrap();
    fs::write(deeper.join("notes.md"), "mine").unwrap();
    drop(claim);
    assert_eq!(fs::read_to_string(deeper.join("notes.md")).unwrap(), "mine");

    // A run stays locked by who has claimed its place.
    let other = dir.path().join("other/run");
    let claim = Claim::take(&other).unwrap();
    let run = RunDir::create_in(claim, "seed = 1", |_| Ok::<_, FormatError>(())).unwrap();
    assert_says(
        RunDir::open(&other).and_then(RunDir::lock),
        &["being written by"],
    );
    assert_says(Claim::take(&other).map(drop), &["config.toml"]);
    drop(run);
    assert!(RunDir::open(&other).and_then(RunDir::lock).is_ok());
}
