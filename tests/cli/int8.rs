//! `--backbone-bits 8` as users meet it: every command goes by what the run says, and exports say what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bayeslora::low_level::formats::RunDir;
use bayeslora::low_level::formats::npy::read_probabilities;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::import::{import, picture, refuses};
use crate::program::{adapter, bayeslora, copy, head_alone};

const TRAIN: &str = "train --data sample --limit-train 60 --limit-test 10 --epochs 2 --rank 2 --targets layer4.1 \
                     --resolution 32 --validation 0.2 --threshold 100 --out";

static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let mut train = bayeslora(TRAIN);
    train.arg(dir.path().join("run"));
    train.args(["--backbone-bits", "8"]);
    let output = train.assert().success();
    output.stdout(contains("over weights of 8 bits, rank 2"));
    dir
});

fn run() -> PathBuf {
    TRAINED.path().join("run")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The mean weights' probabilities of one picture.
fn probabilities(run: &Path, more: &[&str]) -> Vec<f32> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("p.npy");
    let mut command = bayeslora("predict --samples 0 --json --run");
    command.arg(run).args(more).arg("--probs-out").arg(&out);
    command.arg(picture(dir.path())).assert().success();
    read_probabilities(&out).unwrap().values
}

/// The largest difference.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn a_run_keeps_its_bits() {
    let directory = tempfile::tempdir().unwrap();
    let config = RunDir::open(run()).unwrap().read_config().unwrap();
    assert!(config.contains("backbone-bits = 8\n"), "{config}");
    let hash = adapter(&run()).backbone_sha256;
    assert!(hash.starts_with("int8:") && hash.len() == 69, "{hash}");
    // Resumed with another setting, or with its own.
    let other = directory.path().join("other");
    copy(&run(), &other);
    fs::remove_file(other.join("checkpoint/state.safetensors")).unwrap();
    let resume = |bits: &[&str]| {
        let mut command = bayeslora("train --resume --out");
        command.arg(&other).args(bits);
        command
    };
    let says = [
        "--backbone-bits is 32, the run was started with 8",
        "leave it out",
    ];
    refuses(&mut resume(&["--backbone-bits", "32"]), &says);
    resume(&["--backbone-bits", "8"]).assert().success();
    let weights = |run: &Path| fs::read(run.join("adapter/adapter_model.safetensors")).unwrap();
    assert!(weights(&other) == weights(&run()), "other bits");
    // A run over 32 bits knows that it is none, and old ones say nothing of it.
    let full = directory.path().join("full");
    bayeslora(TRAIN).arg(&full).assert().success();
    let config = RunDir::open(&full).unwrap().read_config().unwrap();
    assert!(!config.contains("bits"), "{config}");
    let resume = |bits: &str| {
        let mut command = bayeslora("train --resume --out");
        command.arg(&full).args(["--backbone-bits", bits]);
        command
    };
    let says = ["--backbone-bits is 8, the run was started with 32"];
    refuses(&mut resume("8"), &says);
    resume("32").assert().success();
    for bits in ["4", "16", "eight"] {
        let mut train = bayeslora(TRAIN);
        train.arg(directory.path().join("none"));
        train.args(["--backbone-bits", bits]);
        refuses(&mut train, &["expected 8 or 32"]);
    }
    // An adapter goes on over the weights that it was trained over.
    let train_from = |more: &[&str]| {
        let mut train = bayeslora("train --data sample --limit-train 60 --epochs 1 --from");
        train.arg(run()).args(more).arg("--out");
        train.arg(directory.path().join("on"));
        train
    };
    let says = [
        "with weights of 8 bits, these have 32",
        "by --backbone-bits",
    ];
    refuses(&mut train_from(&["--backbone-bits", "32"]), &says);
    train_from(&[]).assert().success();
    let config = fs::read_to_string(directory.path().join("on/config.toml")).unwrap();
    assert!(config.contains("backbone-bits = 8\n"), "{config}");
}

#[test]
fn commands_go_by_the_run() {
    let scored = json(&run().join("results.json"));
    let mut eval = bayeslora("eval --json --limit-test 10 --samples 8 --run");
    let output = eval.arg(run()).assert().success().get_output().clone();
    let eval: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(eval["n"], 10);
    assert_eq!(eval["accuracy"], scored["samples_8"]["accuracy"]);
    // The embedded file is the run's, wherever it lies.
    let own = probabilities(&run(), &[]);
    assert_eq!(own, probabilities(&run(), &["--backbone", "embedded"]));
    let plan = |options: &str| -> Value {
        let mut command = bayeslora("plan --mode train --json");
        command.args(options.split_whitespace());
        let output = command.assert().success().get_output().clone();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let of_run = plan(&format!("--run {}", run().display()));
    assert_eq!(of_run["backbone_bits"], 8);
    let bytes = |bits: &str| {
        let plan = plan(&format!("--backbone-bits {bits}"));
        plan["weight_bytes"].as_f64().unwrap()
    };
    let ratio = bytes("8") / bytes("32");
    // In the second case filters of f32 lie in the Winograd domain, as software adapters have them.
    let expected = [0.25..0.26, 0.155..0.165];
    assert!(
        expected.iter().any(|range| range.contains(&ratio)),
        "{ratio}"
    );
    let mut plan = bayeslora("plan --mode train --backbone-bits 8 --run");
    plan.arg(run()).assert().code(2);
    let mut plan = bayeslora("plan --mode forward --backbone-bits 8");
    plan.assert()
        .success()
        .stdout(contains("frozen weights of 8 bits"));
    let mut prune = bayeslora("prune --threshold 0 --dry-run --json --run");
    prune.arg(run()).assert().success();
}

#[test]
fn bench_says_its_bits_and_compares_like_with_like() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("eight.json");
    let mut bench = bayeslora("bench --filter memory --batch 2 --size 32 --backbone-bits 8 --out");
    let said = bench.arg(&out).assert().success();
    said.stdout(contains("ResNet-18 with weights of 8 bits at 32x32"));
    assert_eq!(json(&out)["settings"]["backbone_bits"], 8);
    let mut bench = bayeslora("bench --filter memory --batch 2 --size 32 --compare");
    bench.arg(&out);
    refuses(
        &mut bench,
        &["--compare", "--backbone-bits \"8\"", "\"32\""],
    );
}

#[test]
fn every_export_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let to = |format: &str| dir.path().join(format);
    for format in ["peft", "safetensors", "merged", "onnx"] {
        let mut export = bayeslora(&format!("export --format {format} --run"));
        export.arg(run()).arg("--to").arg(to(format));
        export.assert().success();
        let card = fs::read_to_string(to(format).join("README.md")).unwrap();
        assert!(
            card.contains("Its frozen convolutions have 8 bits"),
            "{card}"
        );
        assert!(!card.contains("int8:"), "the file's own hash: {card}");
        let rounds = card.contains("# to 8 bits");
        assert_eq!(rounds, format == "peft", "{card}");
        let origin = &json(&to(format).join("export.json"))["origin"];
        assert_eq!(origin["backbone_bits"], 8);
        assert!(
            origin["backbone_sha256"]
                .as_str()
                .unwrap()
                .starts_with("int8:")
        );
    }
    assert!(
        json(&to("peft").join("bayeslora.json"))["backbone_sha256"]
            .as_str()
            .unwrap()
            .starts_with("int8:")
    );
    let graph = fs::read(to("onnx").join("model.onnx")).unwrap();
    let says = |text: &[u8]| graph.windows(text.len()).any(|window| window == text);
    assert!(says(b"backbone_bits") && says(b"whole numbers from -127 to 127"));

    // The head alone over the merged weights answers as the run does.
    let own = probabilities(&run(), &[]);
    let plain = dir.path().join("plain");
    head_alone(&run(), &plain);
    let config = plain.join("config.toml");
    let text = RunDir::open(&plain).unwrap().read_config().unwrap();
    let text = text.replace("backbone-bits = 8\n", "");
    let whole = RunDir::open(&plain).unwrap().lock().unwrap();
    whole.replace_config(&text).unwrap();
    assert!(!fs::read_to_string(&config).unwrap().contains("bits"));
    let merged = to("merged").join("model.safetensors");
    let found = probabilities(&plain, &["--backbone", merged.to_str().unwrap()]);
    assert!(apart(&own, &found) < 1e-5, "{own:?} {found:?}");
    // Rounding does something.
    let full = probabilities(&plain, &["--backbone", "embedded"]);
    assert!(apart(&own, &full) > 1e-4);

    // What PEFT would load comes back with its bits.
    let back = dir.path().join("back");
    import(&to("peft"), &back, "--backbone embedded")
        .assert()
        .success();
    let config = RunDir::open(&back).unwrap().read_config().unwrap();
    assert!(config.contains("backbone-bits = 8\n"), "{config}");
    assert_eq!(probabilities(&back, &[]), own);
    let mut train = bayeslora("train --data sample --limit-train 60 --epochs 1 --from");
    train
        .arg(to("peft"))
        .arg("--out")
        .arg(dir.path().join("on"));
    train.assert().success().stderr(contains("panicked").not());
    let config = fs::read_to_string(dir.path().join("on/config.toml")).unwrap();
    assert!(config.contains("backbone-bits = 8\n"), "{config}");
}
