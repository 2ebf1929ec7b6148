use std::collections::BTreeMap;
use std::fs;

use bayeslora::formats::{Checkpoint, RunDir, TensorFile};
use serde_json::json;

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

#[test]
fn a_new_run_needs_an_empty_directory() {
    let dir = tempfile::tempdir().unwrap();
    RunDir::create(dir.path()).unwrap();
    let run = RunDir::create(dir.path().join("a/b")).unwrap();
    run.write_config("seed = 1\n").unwrap();
    run.write_environment(&json!({"gpu": "none"})).unwrap();

    let says = ["a/b`", "`config.toml`", "2 entries", "--resume", "--out"];
    assert_says(RunDir::create(run.path()), &says);
    let file = run.path().join("config.toml");
    assert_says(
        RunDir::create(&file),
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
    let environment = fs::read(run.path().join("environment.json")).unwrap();
    let environment: serde_json::Value = serde_json::from_slice(&environment).unwrap();
    assert_eq!(environment, json!({"gpu": "none"}));
}

#[test]
fn metrics_are_lines_and_resume_drops_the_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    assert!(run.read_metrics().unwrap().is_empty());
    let nll = 10.323_759_005_323_595;
    let records = [
        json!({"kind": "start"}),
        json!({"epoch": 1, "zebra": nll, "acc": f64::NAN}),
        json!({"epoch": 2, "step": u64::MAX}),
        json!({"epoch": 3}),
        json!({"kind": "prune"}),
        json!({"epoch": 4}),
    ];
    for record in &records {
        run.append_metrics(record).unwrap();
    }
    assert_eq!(run.read_metrics().unwrap(), records);

    // A crash in the middle of a line.
    let path = dir.path().join("metrics.jsonl");
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(br#"{"epoch": 5, "nl"#);
    fs::write(&path, text).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records);

    run.truncate_metrics(2).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records[..3]);
    run.append_metrics(&records[3]).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records[..4]);
    run.truncate_metrics(0).unwrap();
    assert_eq!(run.read_metrics().unwrap(), records[..1]);

    fs::write(&path, "{\"epoch\": 1}\nnot json\n").unwrap();
    assert_says(run.read_metrics(), &["metrics.jsonl:2", "not the JSON"]);
}

#[test]
fn truncation_keeps_lines_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    let path = dir.path().join("metrics.jsonl");
    let first = "{\"zebra\": 1.50, \"epoch\": 1}\n";
    fs::write(&path, format!("{first}{{\"epoch\":2}}\n")).unwrap();
    run.truncate_metrics(1).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
}

#[test]
fn checkpoints_come_back_exactly_and_replace_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    assert!(run.read_checkpoint().unwrap().is_none());
    for epoch in [1, 2] {
        run.write_checkpoint(&checkpoint(epoch)).unwrap();
        assert_same(&run.read_checkpoint().unwrap().unwrap(), &checkpoint(epoch));
    }
    let files = fs::read_dir(dir.path().join("checkpoint")).unwrap().count();
    assert_eq!(files, 1, "a temporary file stayed behind");
}

#[test]
fn what_a_crash_leaves_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    let leftover = dir.path().join("checkpoint/state.safetensors.partial");
    fs::create_dir(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, b"half a checkpoint").unwrap();
    assert!(run.read_checkpoint().unwrap().is_none());
    run.write_checkpoint(&checkpoint(1)).unwrap();
    fs::write(&leftover, b"half a checkpoint").unwrap();
    assert_same(&run.read_checkpoint().unwrap().unwrap(), &checkpoint(1));
    run.write_checkpoint(&checkpoint(2)).unwrap();
    assert_same(&run.read_checkpoint().unwrap().unwrap(), &checkpoint(2));
    assert!(!leftover.exists());
}

#[test]
fn a_write_that_fails_keeps_the_old_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    run.write_checkpoint(&checkpoint(1)).unwrap();
    // A directory in the way of the temporary file stands for a full disk.
    fs::create_dir(dir.path().join("checkpoint/state.safetensors.partial")).unwrap();
    assert_says(
        run.write_checkpoint(&checkpoint(2)),
        &["cannot create", "partial"],
    );
    assert_same(&run.read_checkpoint().unwrap().unwrap(), &checkpoint(1));
}

#[test]
fn damaged_checkpoints_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path()).unwrap();
    let path = dir.path().join("checkpoint/state.safetensors");
    run.write_checkpoint(&checkpoint(1)).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_says(run.read_checkpoint(), &["state.safetensors", "cut short"]);
    TensorFile::default().write_atomic(&path).unwrap();
    assert_says(
        run.read_checkpoint(),
        &["bayeslora_checkpoint", "absent", "the state of a run"],
    );
}
