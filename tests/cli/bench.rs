//! `bench` as users and CI meet it: the report, the comparison, exit status.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::bayeslora;

/// The quickest scenario with a speed, at the smallest setting.
const QUICK: &str = "bench --filter train-cached --batch 2 --size 32 --rank 1";

/// The one JSON document on standard output.
fn json(output: &[u8]) -> Value {
    let text = std::str::from_utf8(output).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(text).unwrap()
}

fn measured(line: &str) -> Value {
    let output = bayeslora(line).assert().success().get_output().clone();
    assert!(output.stderr.is_empty(), "progress is for terminals");
    json(&output.stdout)
}

/// The report of `QUICK`.
static REPORT: LazyLock<Value> = LazyLock::new(|| measured(&format!("{QUICK} --json")));

/// That report with its speed multiplied, or changed otherwise, in a file.
fn baseline(change: impl FnOnce(&mut Value)) -> (TempDir, PathBuf) {
    let mut report = REPORT.clone();
    change(&mut report);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("baseline.json");
    fs::write(&path, report.to_string()).unwrap();
    (directory, path)
}

fn times(factor: f64) -> impl FnOnce(&mut Value) {
    move |report| {
        let value = &mut report["results"][0]["value"];
        *value = (value.as_f64().unwrap() * factor).into();
    }
}

#[test]
fn the_report_says_what_was_measured_where() {
    let report = &*REPORT;
    let mut keys: Vec<_> = report.as_object().unwrap().keys().collect();
    keys.sort_unstable();
    let expected = [
        "comparison",
        "date",
        "environment",
        "results",
        "schema",
        "settings",
        "targets",
    ];
    assert_eq!(keys, expected);
    assert_eq!(report["schema"], 1);
    assert!(report["date"].as_str().unwrap().ends_with('Z'));
    for field in ["adapter", "backend", "driver_info", "threads", "bayeslora"] {
        assert!(!report["environment"][field].is_null(), "{field}");
    }
    let settings = &report["settings"];
    assert_eq!(
        (
            &settings["batch"],
            &settings["size"],
            &settings["rank"],
            &settings["samples"]
        ),
        (&2.into(), &32.into(), &1.into(), &8.into())
    );
    let [row] = &report["results"].as_array().unwrap()[..] else {
        panic!("one scenario, one row");
    };
    assert_eq!(row["name"], "train-cached");
    assert_eq!(row["unit"], "images/s");
    assert_eq!(
        (&row["kind"], &row["better"]),
        (&"speed".into(), &"higher".into())
    );
    assert!(row["runs"].as_u64().unwrap() >= 5);
    let [low, value, high] = ["low", "value", "high"].map(|key| row[key].as_f64().unwrap());
    assert!(0.0 < low && low <= value && value <= high, "{row}");
    // The goals are for other settings.
    assert_eq!(report["targets"], Value::Array(Vec::new()));
    assert!(report["comparison"].is_null());
}

#[test]
fn the_table_and_the_file_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    bayeslora("bench --filter memory --out")
        .arg(&path)
        .assert()
        .success()
        .stdout(contains("memory/train, plan").and(contains("memory/weights")));
    let report: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let rows = report["results"].as_array().unwrap();
    let weights = rows.iter().find(|row| row["name"] == "memory/weights");
    // 11.2 million weights in f32, and those above the cut a second time for the gradients; on software adapters the 3x3 filters
    // of layer1 to layer3 have 36 values for 9.
    let bytes = weights.unwrap()["value"].as_f64().unwrap();
    let expected = [44.0..90.0, 134.0..136.0];
    assert!(
        expected.iter().any(|range| range.contains(&bytes)),
        "{bytes} MB"
    );
}

#[test]
fn a_comparison_passes() {
    // A hundredth of the speed, so that no noise makes it fail.
    let (_directory, path) = baseline(times(0.01));
    let output = bayeslora(&format!("{QUICK} --json --compare"))
        .arg(&path)
        .assert()
        .success();
    let report = json(&output.get_output().stdout);
    let row = &report["comparison"]["rows"][0];
    assert_eq!(
        (&row["name"], &row["failed"]),
        (&"train-cached".into(), &false.into())
    );
    assert!(row["ratio"].as_f64().unwrap() > 10.0);
}

#[test]
fn a_slower_program_fails_with_status_1() {
    let (_directory, path) = baseline(times(100.0));
    bayeslora(&format!("{QUICK} --compare"))
        .arg(&path)
        .assert()
        .code(1)
        .stdout(contains("too slow"))
        .stderr(contains(
            "error: 1 of 1 speeds fell below 0.8 of the baseline: train-cached (0.0",
        ));
    bayeslora(&format!("{QUICK} --fail-below 0.0001 --compare"))
        .arg(&path)
        .assert()
        .success();
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let refused = |change: fn(&mut Value), message: &str| {
        let (_directory, path) = baseline(change);
        bayeslora(&format!("{QUICK} --compare"))
            .arg(&path)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(message).and(contains("--compare")));
    };
    refused(
        |report| report["environment"]["adapter"] = "Another GPU".into(),
        "it was measured with the adapter \"Another GPU\"",
    );
    refused(
        |report| report["settings"]["batch"] = 64.into(),
        "it was measured with --batch \"64\", this run with \"2\"",
    );
    refused(|report| report["schema"] = 0.into(), "its schema is 0");
    refused(
        |report| *report = Value::Array(Vec::new()),
        "not a report of `bayeslora bench",
    );
    refused(
        |report| report["results"][0]["name"] = "something else".into(),
        "none of the rows",
    );
    bayeslora("bench --compare missing.json")
        .assert()
        .code(2)
        .stderr(contains("--compare missing.json"));
}

#[test]
fn wrong_options_are_named() {
    for (options, message) in [
        (
            "--filter nonsense",
            "there are forward, train, train-cached",
        ),
        ("--size 8", "32 to 4096"),
        ("--batch 0", "1 to 65536"),
        ("--fail-below -1", "--fail-below"),
        ("--rounds 3", "--against"),
        ("--against /nowhere/bayeslora", "no such program"),
        ("--against /etc/passwd", "--against /etc/passwd"),
    ] {
        bayeslora(&format!("bench {options}"))
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(message));
    }
}

/// It takes seven rounds for one row to fail.
#[test]
fn a_program_is_compared_with_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rounds.json");
    let program = bayeslora("").get_program().to_owned();
    let output = bayeslora(&format!("{QUICK} --rounds 2 --json"))
        .arg("--against")
        .arg(program)
        .arg("--out")
        .arg(&path)
        .assert()
        .success()
        .stderr(contains("7 rounds or more"))
        .get_output()
        .clone();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [row] = &report["results"].as_array().unwrap()[..] else {
        panic!("one scenario, one row");
    };
    assert_eq!(row["name"], "train-cached");
    assert_eq!(row["failed"], false);
    let of = |key: &str| row[key].as_f64().unwrap();
    assert!(
        of("low") <= of("ratio") && of("ratio") <= of("high"),
        "{row}"
    );
    let rounds = &report["rounds"][0];
    assert_eq!(rounds["base"].as_array().unwrap().len(), 2);
    assert_eq!(report["base"]["adapter"], report["head"]["adapter"]);
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept, report);
}
