//! Adapters that were saved without a classifier, over a backbone that has none for their classes.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use bayeslora::low_level::formats::{Asset, TensorFile};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;
use tempfile::TempDir;

use crate::import::{CIFAR, Fc, close, import, peft, picture, refuses, train};
use crate::program::{adapter, bayeslora};

/// `peft`, an adapter without a classifier; `run`, what `import` makes of it for ten classes; `classes.txt`.
static IMPORTED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    peft(&dir.path().join("peft"), Fc::Base, json!({}));
    fs::write(dir.path().join("classes.txt"), CIFAR).unwrap();
    for run in ["run", "again"] {
        let mut command = import(
            &dir.path().join("peft"),
            &dir.path().join(run),
            "--backbone embedded --resolution 32 --classes",
        );
        let assert = command
            .arg(dir.path().join("classes.txt"))
            .assert()
            .success();
        assert.stdout(
            contains("10 classes at 32 x 32; its head is UNTRAINED").and(contains("train --from")),
        );
    }
    dir
});

/// The embedded backbone without its classifier.
fn bare(dir: &Path) -> std::path::PathBuf {
    let bytes = Asset::Backbone.bytes().unwrap();
    let mut file = TensorFile::from_bytes("the backbone", &bytes).unwrap();
    file.tensors.retain(|name, _| !name.starts_with("fc."));
    let path = dir.join("bare.safetensors");
    file.write_atomic(&path).unwrap();
    path
}

#[test]
fn the_run_gets_a_head_that_nobody_asks_for_answers() {
    let dir = IMPORTED.path();
    let run = adapter(&dir.join("run"));
    assert_eq!((run.head.trained, run.head.classes), (false, 10));
    assert_eq!(run.classes.join("\n") + "\n", CIFAR);
    let bound = 512f32.sqrt().recip();
    assert!(run.head.weight.iter().all(|w| w.abs() <= bound));
    assert!(run.head.weight.iter().any(|w| w.abs() > bound / 2.0));
    assert_eq!(
        run.sha256().unwrap(),
        adapter(&dir.join("again")).sha256().unwrap()
    );

    let picture = picture(dir);
    let says = ["--run", "its head was never trained", "train --from"];
    let mut predict = bayeslora("predict --run");
    refuses(predict.arg(dir.join("run")).arg(&picture), &says);
    let mut explain = bayeslora("explain --out nowhere --run");
    refuses(
        explain.arg(dir.join("run")).arg(&picture).current_dir(dir),
        &says,
    );
    for line in [
        "eval --data sample --run",
        "prune --keep-ranks 1 --data sample --run",
        "calibrate --max-risk 0.05 --run",
        "laplace --structure gates --run",
        "export --format merged --to nowhere --run",
        "export --format peft --to nowhere --run",
        "export --format onnx --to nowhere --run",
    ] {
        refuses(bayeslora(line).arg(dir.join("run")).current_dir(dir), &says);
    }
    assert!(!dir.join("nowhere").exists());
}

#[test]
fn training_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let [kept, other] = ["kept", "other"].map(|name| dir.path().join(name));
    // So slowly that nothing moves.
    let still = "--method lora --lr 1e-12 --weight-decay 0 --from";
    let run = IMPORTED.path().join("run");
    let assert = train(&kept, still).arg(&run).assert().success();
    assert.stderr(contains(
        "its head was never trained, so the head is trained from the start",
    ));
    let (before, after) = (adapter(&run), adapter(&kept));
    assert!(after.head.trained);
    assert_eq!(after.classes, before.classes);
    assert!(close(&before.head.weight, &after.head.weight));
    assert!(close(&before.layers[0].lora_a, &after.layers[0].lora_a));
    assert!(close(&before.layers[0].lora_b, &after.layers[0].lora_b));
    let mut predict = bayeslora("predict --run");
    let predict = predict.arg(&kept).arg(picture(dir.path()));
    predict.assert().success().stdout(contains("nats"));

    // For other classes than were named.
    let names = dir.path().join("names.txt");
    fs::write(&names, CIFAR.replace("cat", "kitten")).unwrap();
    let renamed = dir.path().join("renamed");
    let mut command = import(
        &IMPORTED.path().join("peft"),
        &renamed,
        "--backbone embedded --resolution 32 --classes",
    );
    command.arg(&names).assert().success();
    let assert = train(&other, still).arg(&renamed).assert().success();
    assert.stderr(contains(
        "is for other classes than the images have, so the head is trained",
    ));
    let other = adapter(&other);
    assert_eq!(other.classes.join("\n") + "\n", CIFAR);
    assert!(!close(&other.head.weight, &after.head.weight));
}

#[test]
fn a_backbone_without_a_classifier_gives_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (bare, run) = (bare(dir.path()), dir.path().join("run"));
    let source = IMPORTED.path().join("peft");
    let options = "--resolution 32 --backbone";
    refuses(
        import(&source, &run, options).arg(&bare),
        &[
            "--peft",
            "that of --backbone, which has none",
            "--classes",
            "`train --from`",
            "modules_to_save is empty",
        ],
    );
    let mut command = import(&source, &run, options);
    command
        .arg(&bare)
        .arg("--classes")
        .arg(IMPORTED.path().join("classes.txt"));
    command.assert().success().stdout(contains("UNTRAINED"));
    assert_eq!(
        adapter(&run).head,
        adapter(&IMPORTED.path().join("run")).head
    );

    // Without a run in between.
    let trained = dir.path().join("trained");
    let mut command = train(&trained, "--method lora --backbone");
    let assert = command
        .arg(&bare)
        .arg("--from")
        .arg(&source)
        .assert()
        .success();
    assert.stderr(contains(
        "it was saved without a classifier, so the head is trained from the start",
    ));
    let trained = adapter(&trained);
    assert_eq!((trained.head.trained, trained.classes.len()), (true, 10));
    assert_eq!(trained.layers[0].name, "layer4.1.conv2");

    // What LoRA on a classifier adds is to the one that it was trained on.
    let adapted = dir.path().join("adapted");
    peft(&adapted, Fc::Adapted, json!({}));
    let says = [
        "target_modules is the classifier among others",
        "name the file that has it",
    ];
    for classes in ["--classes", ""] {
        let mut command = import(&adapted, &dir.path().join("none"), options);
        command.arg(&bare);
        if !classes.is_empty() {
            command
                .arg(classes)
                .arg(IMPORTED.path().join("classes.txt"));
        }
        refuses(&mut command, &[&["--peft"], &says[..]].concat());
    }
    let mut command = train(&dir.path().join("none"), "--backbone");
    refuses(
        command.arg(&bare).arg("--from").arg(&adapted),
        &[&["--from"], &says[..]].concat(),
    );
}

#[test]
fn a_backbone_with_as_many_classes_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (names, run) = (dir.path().join("names.json"), dir.path().join("run"));
    let all: Vec<String> = (0..300).map(|class| format!("class {class}")).collect();
    fs::write(&names, serde_json::to_string(&all).unwrap()).unwrap();
    let mut command = import(
        &IMPORTED.path().join("peft"),
        &run,
        "--backbone embedded --resolution 32 --classes",
    );
    let assert = command.arg(&names).assert().success();
    assert.stdout(contains("300 classes").and(contains("the classifier is that of --backbone")));
    assert!(adapter(&run).head.trained);
    fs::write(&names, "one\n").unwrap();
    let mut command = import(
        &IMPORTED.path().join("peft"),
        &dir.path().join("none"),
        "--backbone embedded --resolution 32 --classes",
    );
    refuses(command.arg(&names), &["--classes", "1 names", "at least 2"]);
}
