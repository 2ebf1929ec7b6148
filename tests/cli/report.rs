//! `bayeslora report` as its user meets it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

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
