//! `train --method ensemble` and what can be asked of it.

use std::fs;
use std::path::Path;

use predicates::str::contains;
use serde_json::Value;

use crate::program::bayeslora;

const TINY: &str = "--data sample --limit-train 100 --limit-test 10 --rank 2 --targets layer4.1 \
                    --resolution 32 --validation 0.2 --epochs 1 --lr 0.01";

fn json(line: &str) -> Value {
    let output = bayeslora(line).assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
}

#[test]
fn members_are_plain_runs_that_answer_together() {
    let directory = tempfile::tempdir().unwrap();
    let (run, alone) = (directory.path().join("run"), directory.path().join("alone"));
    let line = format!(
        "train {TINY} --method ensemble --members 2 --out {}",
        run.display()
    );
    bayeslora(&line)
        .assert()
        .success()
        .stdout(contains("member 2 of 2"))
        .stdout(contains("2 members"));
    let line = format!(
        "train {TINY} --method lora --seed 2 --split-seed 1 --out {}",
        alone.display()
    );
    bayeslora(&line).assert().success();
    let [first, second] = ["members/1", "members/2"].map(|member| run.join(member));
    assert_eq!(weights(&second), weights(&alone), "the second seed's LoRA");
    assert_ne!(weights(&first), weights(&second));

    let eval = |run: &Path| {
        let run = run.display();
        json(&format!(
            "eval --run {run} --data sample --limit-test 20 --json"
        ))
    };
    let (together, one, two) = (eval(&run), eval(&first), eval(&second));
    let number = |scores: &Value, name: &str| scores[name].as_f64().unwrap();
    assert!(number(&together, "mean_mutual_information") > 0.0);
    assert_eq!(together["rank_count"], 8, "2 members, 2 layers, rank 2");
    // The mean of two distributions: its NLL is at most the mean of theirs (Jensen).
    let mean = (number(&one, "nll") + number(&two, "nll")) / 2.0;
    assert!(number(&together, "nll") <= mean + 1e-6);

    for command in ["prune --threshold 0", "tune"] {
        bayeslora(&format!("{command} --run {}", run.display()))
            .assert()
            .code(2)
            .stderr(contains("members"));
    }
    // Nothing is left to do, and that is no error.
    bayeslora(&format!("train --resume --out {}", run.display()))
        .assert()
        .success();
}

#[test]
fn members_belong_to_ensembles() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    bayeslora(&format!(
        "train {TINY} --method lora --members 3 --out {}",
        out.display()
    ))
    .assert()
    .code(2)
    .stderr(contains("--members is 3"));
}
