//! `bayeslora report` as its user meets it, on studies and on runs.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

use crate::commands::{json, on, run};

fn report(args: &[&Path]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command.arg("report").args(args).assert()
}

/// A directory with the results of a study that has only begun.
fn begun() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let results = r#"{"study": {}, "rows": [], "kappa": [{"kl_multiplicity": "5e-7", "rank": 40, "nll": 0.46, "chosen": true}]}"#;
    fs::write(dir.path().join("results.json"), results).unwrap();
    dir
}

#[test]
fn one_study_has_its_page_beside_it() {
    let dir = begun();
    let printed = report(&[dir.path()]).success().get_output().clone();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.lines().count(), 1);
    assert!(printed.contains("report.html: 1 figure"), "{printed}");
    assert!(dir.path().join("report.html").exists());
    for ending in ["svg", "png", "csv"] {
        assert!(
            dir.path()
                .join("figures/kappa")
                .with_extension(ending)
                .exists()
        );
    }
}

#[test]
fn several_studies_need_a_place_for_their_page() {
    let (first, second) = (begun(), begun());
    let dirs = [first.path(), second.path()];
    report(&dirs)
        .failure()
        .code(2)
        .stderr(contains("--out FILE.html"));

    let page = first.path().join("both.html");
    report(&[dirs[0], dirs[1], Path::new("--out"), &page]).success();
    let html = fs::read_to_string(page).unwrap();
    for dir in dirs {
        let name = dir.file_name().unwrap().to_str().unwrap();
        assert!(
            html.contains(&format!("<h2 class=\"study\">{name}</h2>")),
            "{name}"
        );
        assert!(dir.join("figures/kappa.svg").exists());
    }
}

#[test]
fn a_directory_without_results_is_named() {
    let dir = tempfile::tempdir().unwrap();
    report(&[dir.path()])
        .failure()
        .code(2)
        .stderr(contains("results.json"))
        .stderr(contains("bayeslora reproduce"));
}

#[test]
fn other_json_is_refused_before_anything_is_written() {
    let hostile = format!(
        "{{\"study\": {{}}, \"rows\": [{{\"test_images\": {}}}]}}",
        u64::MAX
    );
    for (content, found) in [
        (
            r#"{"mean": {"accuracy": 0.5}, "samples_8": {"accuracy": 0.6}}"#,
            "the results of one run",
        ),
        (
            r#"{"ensemble": {"accuracy": 0.5}}"#,
            "the results of one run",
        ),
        (r#"{"version": 1}"#, "JSON of another kind"),
        ("[]", "JSON of another kind"),
        (&hostile, "the number 18446744073709551615"),
        ("<!DOCTYPE html>", "does not hold the results of a study"),
        (
            r#"{"study": 1, "rows": []}"#,
            "does not hold the results of a study",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("results.json"), content).unwrap();
        report(&[dir.path()])
            .failure()
            .code(2)
            .stdout("")
            .stderr(contains(found))
            .stderr(contains("bayeslora reproduce"));
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "{content}: something was written");
    }
}

/// Of a study that this version has written: a digit changed is found, a space is not one.
#[test]
fn the_results_of_a_study_have_a_checksum() {
    let dir = begun();
    let path = dir.path().join("results.json");
    report(&[dir.path()])
        .success()
        .stderr(contains("results.json has no checksum"));
    let mut results = bayeslora::low_level::report::Results::default();
    results.study.scale = "desk".into();
    results.study.epochs = 30;
    results.write(&path).unwrap();
    report(&[dir.path()])
        .success()
        .stderr(contains("checksum").not());
    let written = fs::read_to_string(&path).unwrap();
    let changed = written.replacen("\"epochs\":30", "\"epochs\":31", 1);
    assert_ne!(changed, written);
    fs::write(&path, changed).unwrap();
    report(&[dir.path()])
        .code(2)
        .stderr(contains("its checksum does not fit its content"));
}

#[test]
fn a_run_has_its_page_beside_it() {
    let (_dir, path) = run();
    let scored = json(&mut on(&path, "eval --limit-test 40 --samples 2 --json"));
    let accuracy = scored["accuracy"].as_f64().unwrap();
    on(&path, "report --limit-test 40 --samples 2")
        .assert()
        .success()
        .stdout(contains(
            "scoring 40 of the 1000 images in the test part of sample",
        ))
        .stdout(contains(format!("accuracy {accuracy:.4}")))
        .stdout(contains("report-mistakes.csv"));
    let html = fs::read_to_string(path.join("report.html")).unwrap();
    for text in [
        "Scored on 40 of the 1000 images in the test part of sample, with 2 samples",
        &format!("{:.0} of 40 images are classified right", 40.0 * accuracy),
        "bayeslora report --run",
        " train --data sample",
        "No threshold has been chosen",
    ] {
        assert!(html.contains(text), "{text}");
    }
    let wrong = fs::read_to_string(path.join("report-mistakes.csv")).unwrap();
    let mistakes = (40.0 * (1.0 - accuracy)).round() as usize;
    assert_eq!(wrong.lines().count(), 1 + mistakes);
    for ending in ["svg", "png", "csv"] {
        let figure = path.join("report-figures/confusion").with_extension(ending);
        assert!(figure.exists(), "{ending}");
    }
}

#[test]
fn the_pages_of_runs_and_studies_are_told_apart() {
    let (dir, path) = run();
    let name = path.display().to_string();
    let study = begun();
    let study = study.path().display().to_string();
    let out = dir.path().join("nowhere/page.html").display().to_string();
    for (line, parts) in [
        (String::new(), &["--run RUN", "reproduce"] as &[&str]),
        (
            format!("{study} --run {name}"),
            &["a run has a page of its own"],
        ),
        (format!("{study} --samples 3"), &["--run <RUN>"]),
        (format!("{study} --limit-test 3"), &["--run <RUN>"]),
        (name.clone(), &["the results of one run", "report --run"]),
        (format!("--run {study}"), &["config.toml"]),
        (
            format!("--run {name} --out {out}"),
            &["there is no such directory"],
        ),
    ] {
        let printed = Command::new(env!("CARGO_BIN_EXE_bayeslora"))
            .arg("report")
            .args(line.split_whitespace())
            .assert()
            .code(2)
            .stdout("")
            .get_output()
            .clone();
        let message = String::from_utf8(printed.stderr).unwrap();
        for part in parts {
            assert!(
                message.contains(part),
                "`{part}` in `{message}` of `{line}`"
            );
        }
    }
    assert!(!path.join("report.html").exists());
}
