//! `prune` as users meet it: bases, orders, limits, what is refused and why.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use bayeslora::low_level::formats::{Adapter, RunDir};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{adapter, bayeslora, copy};

const TRAIN: &str = "train --data sample --limit-train 100 --limit-test 10 --epochs 1 --rank 3 --targets layer4.1 \
                     --resolution 32 --validation 0.2 --lr 0.01";

fn train(options: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{TRAIN} {options}");
    bayeslora(&line)
        .arg("--out")
        .arg(dir.path().join("run"))
        .assert()
        .success();
    dir
}

static LORA: LazyLock<TempDir> = LazyLock::new(|| train("--method lora"));
static GATED: LazyLock<TempDir> = LazyLock::new(|| train("--method bayeslora --threshold 100"));

/// A copy of a run that a test may change.
fn run(of: &TempDir) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("run");
    copy(&of.path().join("run"), &to);
    (dir, to)
}

fn on(run: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = bayeslora("");
    command.args(words.next());
    command.arg("--run").arg(run).args(words);
    command
}

#[track_caller]
fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refuses(run: &Path, line: &str, parts: &[&str]) {
    let mut assert = on(run, line).assert().code(2).stdout("");
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

fn edit(run: &Path, edit: impl Fn(&mut Adapter)) {
    let mut changed = adapter(run);
    edit(&mut changed);
    changed
        .save_peft(RunDir::open(run).unwrap().adapter_dir())
        .unwrap();
}

/// Every layer's third rank repeats the first, with B shared between them: B A has rank 2, and no rank is small.
fn plant(run: &Path) {
    edit(run, |adapter| {
        for layer in &mut adapter.layers {
            let inputs = layer.lora_a.len() / 3;
            layer.lora_a.copy_within(..inputs, 2 * inputs);
            for b in layer.lora_b.chunks_mut(3) {
                (b[0], b[2]) = (0.4 * b[0], 0.6 * b[0]);
            }
        }
    });
}

#[test]
fn plain_lora_loses_what_it_does_not_need_for_nothing() {
    let (dir, run) = run(&LORA);
    plant(&run);
    let free = json(&mut on(&run, "prune --keep-ranks 4 --dry-run --json"));
    for key in "gauge by posterior nll_before nll_after accuracy_before accuracy_after kl scalars_before scalars_after \
                curve ranks_before ranks_after written"
        .split_whitespace()
    {
        assert!(free.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&free["gauge"], &free["by"]),
        (&"svd".into(), &"singular-value".into())
    );
    assert_eq!(
        (&free["ranks_before"], &free["ranks_after"]),
        (&6.into(), &4.into())
    );
    assert!(number(&free["kl"]) < 1e-9, "{}", free["kl"]);
    assert!(number(&free["max_log_prob_change"]) < 1e-4);
    // The trained basis has no small rank to give away.
    let line = "prune --keep-ranks 4 --gauge none --dry-run --json";
    let dear = json(&mut on(&run, line));
    assert_eq!(dear["by"], "magnitude");
    assert!(number(&dear["kl"]) > 1e-6, "{}", dear["kl"]);

    let out = dir.path().join("cut");
    let written = json(on(&run, "prune --keep .66 --json --out").arg(&out));
    assert_eq!(written["ranks_after"], 4);
    let cut = adapter(&out);
    assert!(
        cut.layers
            .iter()
            .all(|layer| layer.rank() == 2 && layer.rank_ids == [0, 1])
    );
    let scalars = cut
        .layers
        .iter()
        .map(|layer| layer.lora_a.len() + layer.lora_b.len());
    assert_eq!(written["scalars_after"], scalars.sum::<usize>());
    assert_eq!(
        (cut.scale(), cut.method.as_str()),
        (adapter(&run).scale(), "lora")
    );
    // Both runs answer alike.
    let line = "eval --data sample --limit-test 20 --samples 0 --json";
    let nll = |run: &Path| number(&json(&mut on(run, line))["nll"]);
    assert!((nll(&run) - nll(&out)).abs() < 1e-5);
}

#[test]
fn the_curve_goes_from_all_ranks_to_few() {
    let (_dir, run) = run(&LORA);
    let report = json(&mut on(&run, "prune --keep .5 --dry-run --json"));
    let curve = report["curve"].as_array().unwrap();
    let ranks: Vec<_> = curve
        .iter()
        .map(|point| point["ranks"].as_u64().unwrap())
        .collect();
    assert_eq!(ranks, [6, 5, 3, 2, 1]);
    // Turned and uncut it is the model from before.
    assert!(number(&curve[0]["kl"]).abs() < 1e-9);
    assert!(curve.is_sorted_by(|a, b| number(&a["scalars"]) > number(&b["scalars"])));
    for point in curve {
        let change = number(&point["nll"]) - number(&report["nll_before"]);
        assert_eq!(number(&point["nll_change"]), change);
    }
    let half = &curve[2];
    assert_eq!(
        (&half["nll"], &half["kl"]),
        (&report["nll_after"], &report["kl"])
    );
    let text = on(&run, "prune --keep .5 --dry-run").assert().success();
    text.stdout(contains("singular value cut").and(contains("ranks left")));
}

#[test]
fn limits_hold() {
    let (_dir, run) = run(&LORA);
    let all = json(&mut on(
        &run,
        "prune --max-accuracy-drop 1 --min-rank 1 --dry-run --json",
    ));
    assert_eq!(
        (&all["candidates"], &all["ranks_after"]),
        (&4.into(), &2.into())
    );
    plant(&run);
    let free = json(&mut on(
        &run,
        "prune --max-nll-increase 0.00001 --dry-run --json",
    ));
    assert!(number(&free["nll_after"]) <= number(&free["nll_before"]) + 1e-5);
    assert!(free["ranks_after"].as_u64().unwrap() <= 4);
    let both = json(&mut on(
        &run,
        "prune --max-nll-increase 99 --max-accuracy-drop 0 --dry-run --json",
    ));
    assert!(number(&both["accuracy_after"]) >= number(&both["accuracy_before"]));
}

#[test]
fn gates_are_not_left_behind_unsaid() {
    let (dir, run) = run(&GATED);
    let trained = json(&mut on(
        &run,
        "prune --keep .5 --gauge none --dry-run --json",
    ));
    assert_eq!(
        (&trained["by"], &trained["posterior"]),
        (&"alpha".into(), &Value::Null)
    );
    let out = dir.path().join("cut");
    let line = "prune --keep .5 --gauge svd --posterior mean --json --out";
    let mean = json(on(&run, line).arg(&out));
    assert_eq!(mean["posterior"], "mean");
    let cut = adapter(&out);
    assert!(cut.layers.iter().all(|layer| layer.log_alpha.is_none()));
    assert_eq!(cut.method, "bayeslora, mean weights");
}

/// A, B and, where it is learnt, log alpha: whoever counts.
#[test]
fn scalars_are_those_that_are_trained() {
    let per_rank = 512 * 9 + 512;
    for (of, expected) in [(&LORA, 6 * per_rank), (&GATED, 6 * (per_rank + 1))] {
        let (_dir, run) = run(of);
        let trained = std::fs::read_to_string(run.join("results.json")).unwrap();
        let trained: Value = serde_json::from_str(&trained).unwrap();
        assert_eq!(trained["mean"]["adapter_parameters"], expected);
        let line = "eval --data sample --limit-test 10 --samples 0 --json";
        assert_eq!(json(&mut on(&run, line))["adapter_parameters"], expected);
        let line = "prune --keep 1 --gauge none --dry-run --json";
        assert_eq!(json(&mut on(&run, line))["scalars_before"], expected);
    }
}

#[test]
fn refusals_name_the_way_out() {
    let (dir, lora) = run(&LORA);
    refuses(&lora, "prune", &["--keep-ranks", "--threshold"]);
    let alpha = ["--threshold", "without gates", "--keep"];
    refuses(&lora, "prune --threshold 0", &alpha);
    refuses(
        &lora,
        "prune --keep .5 --by alpha",
        &["--by alpha", "without gates", "--gauge svd"],
    );
    refuses(
        &lora,
        "prune --keep .5 --posterior mean",
        &["--posterior", "leave it out"],
    );
    refuses(
        &lora,
        "prune --keep .5 --gauge none --by singular-value",
        &["--gauge svd", "--by magnitude"],
    );
    refuses(&lora, "prune --keep 1.5", &["--keep", "0", "1"]);
    refuses(
        &lora,
        "prune --keep-ranks 7",
        &["--keep-ranks 7", "has 6 ranks"],
    );
    refuses(
        &lora,
        "prune --keep-ranks 1 --min-rank 2",
        &["--min-rank 2", "smaller"],
    );
    refuses(
        &lora,
        "prune --keep .5 --keep-ranks 1",
        &["cannot be used with"],
    );
    refuses(
        &lora,
        "prune --keep .5 --threshold 0",
        &["cannot be used with"],
    );
    let (_dir, gated) = run(&GATED);
    refuses(
        &gated,
        "prune --threshold 0 --gauge svd",
        &["--threshold", "--gauge none", "--keep"],
    );
    refuses(
        &gated,
        "prune --threshold 0 --by magnitude",
        &["--threshold", "leave out --by"],
    );
    refuses(
        &gated,
        "prune --keep .5 --gauge none --posterior mean",
        &["--posterior", "--gauge none"],
    );
    edit(&lora, |adapter| adapter.layers[1].lora_a[3] = f32::NAN);
    refuses(&lora, "prune --keep .5", &["layer4.1"]);
    drop(dir);
}

/// NLL of some samples on test images, which are the same for the same gates.
fn sampled(run: &Path) -> Value {
    json(&mut on(
        run,
        "eval --data sample --limit-test 20 --samples 4 --json",
    ))
}

#[test]
fn mixed_gates_are_those_that_were_trained() {
    let (dir, run) = run(&GATED);
    let [whole, cut, again] = ["whole", "cut", "again"].map(|name| dir.path().join(name));
    let line = "prune --keep 1 --gauge svd --json --out";
    let report = json(on(&run, line).arg(&whole));
    assert_eq!(
        (&report["posterior"], &report["ranks_after"]),
        (&"mixed".into(), &6.into())
    );
    assert!(adapter(&whole).is_mixed());
    let (before, after) = (sampled(&run), sampled(&whole));
    assert!(
        (number(&before["nll"]) - number(&after["nll"])).abs() < 1e-5,
        "{before} {after}"
    );
    let deterministic = json(&mut on(
        &run,
        "eval --data sample --limit-test 20 --samples 0 --json",
    ));
    assert!(
        (number(&before["nll"]) - number(&deterministic["nll"])).abs() > 1e-4,
        "gates show"
    );

    let report = json(on(&run, "prune --keep .5 --gauge svd --json --out").arg(&cut));
    let scores = sampled(&cut);
    assert_eq!(scores["rank_count"], 3);
    assert_eq!(scores["adapter_parameters"], report["scalars_after"]);
    assert_eq!(scores["effective_rank"], report["effective_rank_after"]);
    let soft = number(&scores["effective_rank"]);
    assert!(soft > 0.0 && soft < 3.0, "{soft}");
    // A Laplace approximation is around the mean weights of the ranks that are left.
    let line = "laplace --structure gates --images 20 --data sample --limit-test 10 --prior-precision 10 --json";
    assert_eq!(json(&mut on(&cut, line))["parameters"], 3);
    // What is mixed is cut again in a basis of its own.
    let report = json(on(&cut, "prune --keep-ranks 2 --gauge svd --json --out").arg(&again));
    assert_eq!(
        (&report["ranks_before"], &report["ranks_after"]),
        (&3.into(), &2.into())
    );
    assert!(number(&report["curve"][0]["kl"]).abs() < 1e-8);
    assert!(adapter(&again).is_mixed());
    refuses(
        &cut,
        "prune --keep .5 --gauge none",
        &["mixed", "--gauge svd"],
    );
    refuses(&cut, "prune --threshold 0", &["mixed", "--keep"]);
}

#[test]
fn noise_on_weights_does_not_turn() {
    let (_dir, run) = run(&GATED);
    edit(&run, |adapter| {
        adapter.gates = bayeslora::low_level::formats::GateDistribution::Weights;
    });
    refuses(
        &run,
        "prune --keep .5 --gauge svd",
        &["draws its weights", "--posterior mean", "--gauge none"],
    );
    on(
        &run,
        "prune --keep .5 --gauge svd --posterior mean --dry-run",
    )
    .assert()
    .success();
    let kept = json(&mut on(&run, "prune --keep .5 --dry-run --json"));
    assert_eq!(kept["gauge"], "none");
}

#[test]
fn evidence_comes_from_training_images() {
    let (dir, run) = run(&GATED);
    let report = json(&mut on(&run, "prune --keep .5 --dry-run --json"));
    assert_eq!(
        (&report["gauge"], &report["by"]),
        (&"evidence".into(), &"evidence".into())
    );
    assert_eq!(
        (&report["posterior"], &report["evidence_images"]),
        (&"mixed".into(), &80.into())
    );
    let curve = report["curve"].as_array().unwrap();
    assert!(number(&curve[0]["kl"]).abs() < 1e-8 && curve[0]["predicted_kl"] == 0.0);
    for point in &curve[1..] {
        let ratio = number(&point["predicted_kl"]) / number(&point["kl"]);
        assert!(ratio > 0.2 && ratio < 5.0, "{point}");
    }
    for point in curve {
        let [nll, change] = ["nll", "nll_change"].map(|name| number(&point[name]));
        let foretold = number(&point["predicted_nll"]) - (nll - change);
        assert!(
            (foretold - change).abs() < 0.5 * change.abs() + 0.01,
            "{point}"
        );
        assert!(number(&point["nll_change_se"]) < 0.1);
    }
    let few = "prune --keep .5 --dry-run --evidence-images 20 --json";
    assert_eq!(json(&mut on(&run, few))["evidence_images"], 20);
    on(&run, few)
        .assert()
        .stderr(contains("20 training images say little"));
    let all = on(&run, "prune --keep 0 --dry-run").assert().success();
    all.stdout(contains("all ").and(contains("the backbone with its new head")));
    let unasked = "prune --keep .5 --gauge svd --dry-run --evidence-images 20";
    refuses(&run, unasked, &["--evidence-images", "--by evidence"]);
    refuses(
        &run,
        "prune --keep .5 --evidence-images 0",
        &["--evidence-images"],
    );
    let text = on(&run, "prune --keep .5 --dry-run").assert().success();
    text.stdout(
        contains("evidence cut")
            .and(contains("foretold"))
            .and(contains("from 80 training images")),
    );
    // The order in any basis, and nothing foretold without.
    for gauge in ["none", "svd", "evidence"] {
        for by in ["evidence", "evidence-per-scalar", "magnitude"] {
            let line = format!("prune --keep .5 --gauge {gauge} --by {by} --dry-run --json");
            let report = json(&mut on(&run, &line));
            assert_eq!(report["ranks_after"], 3);
            let foretold = by != "magnitude" || gauge == "evidence";
            assert_eq!(report["predicted_kl"].is_null(), !foretold, "{line}");
        }
    }
    let out = dir.path().join("refitted");
    let line = "prune --keep .5 --posterior refit --json --out";
    let report = json(on(&run, line).arg(&out));
    assert_eq!(report["posterior"], "refit");
    let cut = adapter(&out);
    assert!(!cut.is_mixed() && cut.layers.iter().all(|layer| layer.log_alpha.is_some()));
    let alphas: Vec<f32> = cut
        .layers
        .iter()
        .flat_map(|layer| layer.log_alpha.clone().unwrap())
        .collect();
    assert!(
        alphas.iter().all(|t| (-10.0..=8.0).contains(t)) && alphas.iter().any(|t| *t != alphas[0])
    );
    let (_dir, lora) = self::run(&LORA);
    let report = json(&mut on(
        &lora,
        "prune --keep .5 --gauge evidence --dry-run --json",
    ));
    assert_eq!(
        (&report["posterior"], &report["by"]),
        (&Value::Null, &"evidence".into())
    );
    refuses(
        &lora,
        "prune --keep .5 --posterior refit",
        &["--posterior", "has none"],
    );
}
