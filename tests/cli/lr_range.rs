//! `train --find-lr` as users and scripts meet it.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::tempdir;
use toml::Table;

use crate::program::bayeslora;

const TINY: &str = "train --data sample --limit-train 100 --limit-test 10 --epochs 1 --rank 2 --targets layer4.1.conv2 \
                    --resolution 32 --batch-size 8 --no-tune";

fn lr(run: &Path) -> f64 {
    let text = fs::read_to_string(run.join("config.toml")).unwrap();
    let table: Table = text.parse().unwrap();
    table["lr"].as_float().unwrap()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
}

#[test]
fn a_run_trains_with_the_rate_that_its_test_found_and_keeps_both() {
    let out = tempdir().unwrap();
    let [found, again, given] = ["found", "again", "given"].map(|name| out.path().join(name));
    bayeslora(&format!("{TINY} --find-lr --out {}", found.display()))
        .assert()
        .success()
        .stdout(
            contains("steps that are thrown away").and(contains("where the loss falls fastest")),
        );
    let rate = lr(&found);
    assert!((1e-4..0.3).contains(&rate), "{rate}");
    let table = fs::read_to_string(found.join("lr-range.csv")).unwrap();
    assert_eq!(table.lines().next(), Some("learning_rate,loss,smoothed"));
    assert!(
        table.lines().nth(1).unwrap().starts_with("1e-5,") || table.contains("0.00001,"),
        "{table}"
    );

    // The test leaves no trace in the training, and always finds the same.
    bayeslora(&format!("{TINY} --lr {rate} --out {}", given.display()))
        .assert()
        .success();
    assert!(weights(&given) == weights(&found), "the same bits");
    assert!(!given.join("lr-range.csv").exists());
    let output = bayeslora(&format!(
        "{TINY} --find-lr --json --out {}",
        again.display()
    ))
    .assert()
    .success()
    .get_output()
    .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["lr_range_test"]["suggestion"], rate);
    assert_eq!(
        fs::read_to_string(again.join("lr-range.csv")).unwrap(),
        table
    );
    assert_eq!(lr(&again), rate);

    let resume = format!("train --resume --out {} --no-tune", found.display());
    bayeslora(&resume).assert().success();
    assert_eq!(lr(&found), rate, "resuming takes what was recorded");
    bayeslora(&format!("{resume} --find-lr")).assert().code(2);
    bayeslora(&format!(
        "{TINY} --find-lr --lr 0.1 --out {}",
        out.path().join("no").display()
    ))
    .assert()
    .code(2)
    .stderr(contains("--lr").and(contains("--find-lr")));
    assert!(!out.path().join("no").exists());
}

#[test]
fn members_share_the_rate() {
    let out = tempdir().unwrap();
    let run = out.path().join("run");
    bayeslora(&format!(
        "{TINY} --method ensemble --members 2 --find-lr --out {}",
        run.display()
    ))
    .assert()
    .success();
    assert!(run.join("lr-range.csv").exists());
    for member in ["members/1", "members/2"] {
        assert_eq!(lr(&run.join(member)), lr(&run), "{member}");
    }
}
