//! `tune` as users and scripts meet it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::program::bayeslora;
use crate::sealed::change_config;

/// Nine steps, six of them before the one prune: enough for log alpha to get from -5 past 0 where
/// nothing but the KL moves it.
const TINY: &str = "--data sample --limit-train 100 --limit-test 10 --rank 3 --targets layer4.1 \
                    --resolution 32 --validation 0.2 --epochs 3 --lr 0.01 --lr-log-alpha 1.2 \
                    --lr-schedule constant --kl-freeze 0 --beta-warmup 0 --prune-from 2";

fn train(out: &Path, options: &str) {
    let line = format!("train {TINY} {options} --out {}", out.display());
    bayeslora(&line).assert().success();
}

/// The last line of standard output.
fn curve(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn weights(run: &Path) -> [Vec<u8>; 2] {
    ["adapter_model.safetensors", "bayeslora.safetensors"]
        .map(|name| fs::read(run.join("adapter").join(name)).unwrap())
}

#[test]
fn the_curve_is_that_of_single_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (run, alone) = (directory.path().join("run"), directory.path().join("alone"));
    train(&run, "--kl-multiplicity 0.001");
    train(&alone, "--kl-multiplicity 50");
    let line = format!(
        "tune --run {} --kl-multiplicity unit,50 --samples 2 --json",
        run.display()
    );
    let first = curve(&mut bayeslora(&line));
    assert_eq!(
        (&first["validation_images"], &first["samples"]),
        (&20.into(), &2.into())
    );
    let points = first["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for point in points {
        for key in ["accuracy", "nll", "ece", "effective_rank", "rank_count"] {
            assert!(point["mean"][key].is_number() && point["sampled"][key].is_number());
        }
        assert_eq!(point["rank_count"], point["mean"]["rank_count"]);
    }
    // A price that hardly moves a rank, and one that none can pay.
    let ranks = |point: &Value| point["rank_count"].as_u64().unwrap();
    assert!(ranks(&points[0]) > ranks(&points[1]), "{points:?}");
    let nll = |point: &Value| point["sampled"]["nll"].as_f64().unwrap();
    let best = usize::from(nll(&points[1]) < nll(&points[0]));
    assert_eq!(first["lowest_nll"], points[best]["run"]);
    let fewest = points
        .iter()
        .find(|point| point["run"] == first["fewest_ranks"]);
    assert!(ranks(fewest.unwrap()) <= ranks(&points[best]));

    // What the sweep shares changes nothing.
    assert!(weights(&run.join("tune/50")) == weights(&alone));
    let eval = format!(
        "eval --run {} --data sample --limit-test 10",
        run.join("tune/unit").display()
    );
    bayeslora(&eval).assert().success();

    // A second call trains nothing anew, a third value is added to the others.
    let seconds = |run: &Path| fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let before = seconds(&run.join("tune/50"));
    let again = curve(&mut bayeslora(&line));
    assert_eq!(
        again["points"][1]["sampled"]["nll"],
        points[1]["sampled"]["nll"]
    );
    assert_eq!(seconds(&run.join("tune/50")), before);
    bayeslora(&line.replace("unit,50", "unit,0").replace("--json", ""))
        .assert()
        .success()
        .stdout(contains("kl-multiplicity 0 (2 of 2)"))
        .stdout(contains(
            "20 validation images; the test set was not looked at",
        ))
        .stdout(contains("lowest NLL"));

    // Other options are another sweep.
    change_config(&run, "lr = 0.01", "lr = 0.02");
    bayeslora(&line)
        .assert()
        .code(2)
        .stderr(contains("other options").and(contains("--out")));
}

#[test]
fn runs_that_cannot_be_tuned_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, "--method lora");
    let refuses = |line: &str, part: &'static str| {
        let line = format!("tune --run {} {line}", run.display());
        bayeslora(&line)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(part));
    };
    refuses("", "its method is lora");
    refuses("--samples 0", "1 to 10000");
    refuses("--kl-multiplicity much", "--kl-multiplicity");
    change_config(&run, "method = \"lora\"", "method = \"bayeslora\"");
    change_config(&run, "validation = 0.2", "validation = 0.0");
    refuses("", "no held-out images");
    change_config(&run, "validation = 0.0", "validation = 0.2");
    change_config(&run, "data = \"sample\"", "data = \"gone\"");
    refuses("", "gone: no such directory");
    assert!(!run.join("tune").exists());
}
