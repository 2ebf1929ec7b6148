//! `laplace` as users and scripts meet it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::program::bayeslora;

const TINY: &str = "--data sample --limit-train 100 --limit-test 10 --rank 2 --targets layer4.1 \
                    --resolution 32 --epochs 1 --method lora";

fn train(out: &Path, options: &str) {
    let line = format!("train {TINY} {options} --out {}", out.display());
    bayeslora(&line).assert().success();
}

fn laplace(run: &Path, options: &str) -> Command {
    let run = run.display();
    bayeslora(&format!(
        "laplace --run {run} --data sample --limit-test 20 {options}"
    ))
}

fn report(run: &Path, options: &str) -> Value {
    let mut command = laplace(run, &format!("{options} --json"));
    let output = command.assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn structures_are_scored_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, "--validation 0.2");
    // All but the head in full, whose eigenvectors take minutes on two cores.
    // The head has (512 + 1) 10 parameters; the two convolutions 2 (512 9 + 512) each.
    for (structure, parameters, options) in [
        ("last-layer-kron", 5130, "--predictive mc --samples 5"),
        ("adapter-diag", 20480, "--images 10"),
        ("adapter-kron", 20480, "--images 10"),
        ("gates", 4, "--images 30"),
    ] {
        let found = report(&run, &format!("--structure {structure} {options}"));
        assert_eq!(found["structure"], structure);
        assert_eq!(found["parameters"], parameters);
        assert_eq!(found["n"], 20);
        for key in ["delta", "log_evidence", "nll", "signed_gap", "accuracy"] {
            assert!(found[key].is_number(), "{structure}: {key}");
        }
        let kept = fs::read(run.join(format!("laplace/{structure}.json"))).unwrap();
        let mut kept: Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["prior_precision"], found["prior_precision"]);
        assert_eq!(kept["nll"].take(), found["nll"]);
    }
    laplace(
        &run,
        "--structure gates --images 10 --prior-precision marglik",
    )
    .assert()
    .success()
    .stdout(contains("log evidence").and(contains("signed gap")))
    .stderr(contains("the end of its range"));
}

#[test]
fn what_cannot_be_names_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, "--validation 0");
    for (options, hint) in [
        ("--structure head", "last-layer-full"),
        ("--structure gates --prior-precision 0", "a number above 0"),
        ("--structure gates", "take marglik or a number"),
        (
            "--structure last-layer-kron --predictive mc --samples 0",
            "expected 1 to",
        ),
        (
            "--structure last-layer-kron --samples 5",
            "take --predictive mc",
        ),
        (
            "--structure last-layer-kron --gate-samples 8",
            "has no gates to draw; leave it out",
        ),
        (
            "--structure gates --prior-precision 1 --gate-samples 8",
            "take last-layer-full or last-layer-kron",
        ),
        (
            "--structure last-layer-kron --gate-samples 0",
            "expected 1 to",
        ),
    ] {
        laplace(&run, options)
            .assert()
            .failure()
            .code(2)
            .stderr(contains(hint));
    }
}

#[test]
fn the_heads_posterior_is_averaged_over_drawn_gates() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let line = TINY.replace("--method lora", "--method bayeslora");
    bayeslora(&format!("train {line} --out {}", run.display()))
        .assert()
        .success();
    let options = "--structure last-layer-kron --seed 3";
    let mean = report(&run, options);
    let drawn = report(&run, &format!("{options} --gate-samples 4"));
    assert_eq!(
        (&mean["gate_samples"], &drawn["gate_samples"]),
        (&Value::Null, &4.into())
    );
    assert_eq!(
        mean["delta"], drawn["delta"],
        "fitted once, at the mean weights"
    );
    assert_ne!(mean["nll"], drawn["nll"]);
    laplace(&run, &format!("{options} --gate-samples 4"))
        .assert()
        .success()
        .stdout(contains("probit for each of 4 draws of the gates"));
}
