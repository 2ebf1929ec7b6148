//! What `reproduce` refuses before it opens a device. That it works is shown by the smoke study of CI.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

use crate::program::bayeslora;

#[track_caller]
fn refuses(out: &Path, options: &str, parts: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command.arg("reproduce").arg("--out").arg(out);
    let mut assert = command.args(options.split_whitespace()).assert().code(2);
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
}

#[test]
fn bad_input_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("study");
    refuses(&out, "", &["--data is missing"]);
    refuses(
        &out,
        "--scale paper --data sample",
        &["--scale paper needs --backbone"],
    );
    refuses(
        &out,
        "--scale huge",
        &["expected paper, desk, long, small, unfamiliar or smoke"],
    );
    refuses(
        &out,
        "--scale small --data sample --unfamiliar odd=sample",
        &["--unfamiliar has no place at --scale small"],
    );
    refuses(&out, "--scale smoke --shard 3/2", &["expected i/n"]);
    refuses(
        &out,
        "--scale smoke --unfamiliar here",
        &["expected NAME=D"],
    );
    refuses(
        &out,
        "--scale smoke --unfamiliar test=sample",
        &["`test` names images of the study's own"],
    );
    refuses(
        &out,
        "--scale smoke --unfamiliar ../odd=sample",
        &["files are named by it"],
    );
    refuses(
        &out,
        "--scale smoke --unfamiliar odd=sample --unfamiliar odd=photos",
        &["--unfamiliar odd: two sets have this name"],
    );
    refuses(
        &out,
        "--scale smoke --shard 1/2 --merge a",
        &["cannot be used with"],
    );
    assert!(!out.exists(), "nothing is left behind");
    let none = directory.path().join("none");
    refuses(
        &out,
        &format!("--scale smoke --merge {}", none.display()),
        &["no study in it"],
    );
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letter.txt"), "dear").unwrap();
    refuses(
        directory.path(),
        "--scale smoke",
        &["holds something else than a study"],
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_study_keeps_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let kept =
        r#"{ "scale": "smoke", "data": "sample", "backbone": "embedded", "unfamiliar": [] }"#;
    fs::write(directory.path().join("study.json"), kept).unwrap();
    let parts = ["--scale is desk", "was started with smoke", "leave it out"];
    refuses(directory.path(), "--scale desk", &parts);
    let study = directory.path().join("study.json");
    assert_eq!(fs::read_to_string(&study).unwrap(), kept);
    let changed = kept.replace(" }", r#", "sha256": "00" }"#);
    fs::write(&study, changed).unwrap();
    refuses(directory.path(), "", &["study.json", "checksum"]);
}

/// Predictions are held against the labels of the images that they were made of.
#[test]
fn a_study_knows_its_images() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let study = |more: &str| {
        let text = format!(
            r#"{{ "scale": "smoke", "data": "sample", "backbone": "embedded", "unfamiliar": [] {more} }}"#
        );
        fs::write(out.join("study.json"), text).unwrap();
    };
    study("");
    let run = out.join("runs/bayeslora-r4-kappa-unit/seed-1");
    bayeslora(
        "train --data sample --limit-train 30 --limit-test 10 --rank 2 --targets layer4.1 --resolution 32 --epochs 1 \
         --validation 0.3",
    )
    .arg("--out")
    .arg(&run)
    .assert()
    .success();
    let parts = ["--data sample", "seed-1", "other images", "--out"];
    refuses(out, "--score-only", &parts);
    refuses(out, "", &parts);
    // Nor are the predictions of one unfamiliar set taken for another's.
    let content = r#", "unfamiliar_contents": { "odd": "00112233445566778899aabbccddeeff" }"#;
    study(content);
    refuses(
        out,
        "--unfamiliar odd=sample",
        &["--unfamiliar odd", "give them another name"],
    );
    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    let merge = format!("--merge {}", other.display());
    let theirs = fs::read_to_string(out.join("study.json")).unwrap();
    fs::write(
        other.join("study.json"),
        theirs.replace("00112233", "ffffffff"),
    )
    .unwrap();
    refuses(out, &merge, &["--merge", "set odd has other images"]);
    fs::write(other.join("study.json"), theirs.replace("smoke", "desk")).unwrap();
    refuses(out, &merge, &["of scale desk", "of scale smoke"]);
}
