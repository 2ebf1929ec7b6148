//! `train` as users and scripts meet it: what it writes, bad input, resuming, Ctrl-C.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

const TINY: &str = "--data sample --limit-train 100 --limit-test 10 --rank 2 --targets layer4.1 \
                    --resolution 32 --validation 0.2 --augment none";

fn train(out: &Path, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command
        .env_remove("BAYESLORA_ADAPTER")
        .arg("train")
        .arg("--out")
        .arg(out);
    command.args(options.split_whitespace());
    command
}

/// Status 2, one message with all of `parts`, and no run left behind.
#[track_caller]
fn refuses(options: &str, parts: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let mut assert = train(&out, options).assert().code(2);
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
    assert!(!out.exists(), "a half-written run");
}

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The adapter's tensors, byte for byte.
fn weights(run: &Path) -> [Vec<u8>; 2] {
    ["adapter_model.safetensors", "bayeslora.safetensors"]
        .map(|name| fs::read(run.join("adapter").join(name)).unwrap())
}

#[test]
fn a_run_is_written_whole() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    train(&out, &format!("{TINY} --epochs 2"))
        .assert()
        .success()
        .stdout(predicate::str::starts_with("adapter "))
        .stdout(contains("80 training, 20 validation, 10 test images"))
        .stdout(contains("8 samples"));
    for file in [
        "config.toml",
        "environment.json",
        "results.json",
        "checkpoint/state.safetensors",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let config: toml::Table = fs::read_to_string(out.join("config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    for key in [
        "data",
        "backbone",
        "batch-size",
        "lr-log-alpha",
        "kl-multiplicity",
        "lora-alpha",
    ] {
        assert!(config.contains_key(key), "{key} is not in force by itself");
    }
    let lines = lines(&out);
    assert_eq!(lines.len(), 2);
    for key in [
        "epoch",
        "step",
        "loss",
        "cross_entropy",
        "kl",
        "beta",
        "train_accuracy",
        "accuracy",
        "nll",
        "ece",
        "soft_rank",
        "rank",
        "ranks",
        "images_per_second",
        "utilisation",
        "input_wait_seconds",
        "prune",
    ] {
        assert!(!lines[1][key].is_null() || key == "prune", "{key}");
    }
    let environment: Value =
        serde_json::from_str(&fs::read_to_string(out.join("environment.json")).unwrap()).unwrap();
    assert!(environment["adapter"].is_string() && environment["driver"].is_string());
    // A second run does not write over the first.
    train(&out, TINY)
        .assert()
        .code(2)
        .stderr(contains("already holds"))
        .stderr(contains("--resume"));
}

#[test]
fn json_is_a_line_an_epoch_and_the_test_set() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let assert = train(&out, &format!("{TINY} --epochs 2 --method lora --json"))
        .assert()
        .success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let documents: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1]["epoch"], 2);
    assert_eq!(documents[2]["mean"]["n"], 10);
}

#[test]
fn flags_win_over_the_config_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("options.toml");
    fs::write(
        &file,
        "rank = 3\nepochs = 7\nprune-from = 2\nbatch-size = 16\n",
    )
    .unwrap();
    let out = directory.path().join("run");
    train(&out, &format!("{TINY} --epochs 1"))
        .arg("--config")
        .arg(&file)
        .assert()
        .success();
    let config: toml::Table = fs::read_to_string(out.join("config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(config["rank"].as_integer(), Some(2));
    assert_eq!(config["epochs"].as_integer(), Some(1));
    assert_eq!(config["batch-size"].as_integer(), Some(16));
    assert_eq!(config["prune-from"].as_str(), Some("2"));

    fs::write(&file, "rnak = 3\n").unwrap();
    let other = directory.path().join("other");
    train(&other, TINY)
        .arg("--config")
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("options.toml").and(contains("rnak")));
}

#[test]
fn bad_input_is_named() {
    refuses("", &["--data is missing"]);
    refuses("--data nowhere", &["nowhere", "no such directory"]);
    refuses(
        "--data sample --backbone nothing.safetensors",
        &["--backbone", "nothing.safetensors"],
    );
    refuses(
        "--data sample --targets layer9",
        &["--targets", "layer9", "layer4.1.conv2"],
    );
    refuses("--data sample --rank 0", &["--rank", "at least 1"]);
    refuses("--data sample --rank 513", &["--rank", "0 to 512"]);
    refuses(
        "--data sample --rank 4 --min-rank 5",
        &["--min-rank is 5", "--rank (4)"],
    );
    refuses("--data sample --lr nan", &["--lr", "above 0"]);
    refuses(
        "--data sample --validation 0.95",
        &["--validation", "0 to below 0.9"],
    );
    refuses(
        "--data sample --method dropout",
        &["--method", "lora", "bayeslora", "mc-dropout"],
    );
    refuses(
        "--data sample --method mc-dropout --dropout 1",
        &["--dropout", "0.001 to 0.99"],
    );
    refuses(
        "--data sample --dropout 0.2",
        &["--dropout is 0.2", "--method mc-dropout"],
    );
    refuses(
        "--data sample --prune-from soon",
        &["--prune-from", "soon", "fraction"],
    );
    refuses("--data sample --adapter Voodoo", &["Voodoo"]);
    refuses("--data sample --limit-train 0", &["limit"]);
}

#[test]
fn a_damaged_backbone_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.safetensors");
    let whole = fs::read("assets/resnet18-cifar100-tin200-64px.safetensors").unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let options = format!("{TINY} --backbone {}", path.display());
    refuses(&options, &["weights.safetensors", "cut short"]);
    // NaN in the last f16 of the file.
    let mut bytes = whole;
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0x00, 0x7e]);
    fs::write(&path, &bytes).unwrap();
    refuses(&options, &["weights.safetensors", "NaN"]);
}

#[test]
fn images_that_do_not_decode_stop_it_unless_told() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("photos");
    for (set, class, shade) in [
        ("train", "dark", 20u8),
        ("train", "light", 220),
        ("test", "dark", 30),
        ("test", "light", 200),
    ] {
        let folder = root.join(set).join(class);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..6u8 {
            image::RgbImage::from_pixel(20 + u32::from(index), 31, image::Rgb([shade + index; 3]))
                .save(folder.join(format!("{index}.png")))
                .unwrap();
        }
    }
    fs::write(root.join("train/dark/broken.jpg"), b"no picture").unwrap();
    let options = format!(
        "--data {} --epochs 1 --rank 2 --targets layer4.1 --resolution 32 --validation 0",
        root.display()
    );
    refuses(&options, &["broken.jpg", "--skip-bad-images"]);
    let out = directory.path().join("run");
    train(&out, &format!("{options} --skip-bad-images"))
        .assert()
        .success()
        .stderr(contains("broken.jpg"))
        .stdout(contains("12 training, 12 test images"));
    // Without a validation split an epoch has no held-out scores.
    assert!(lines(&out)[0]["nll"].is_null());
}

#[test]
fn resuming_refuses_other_options_and_empty_directories() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    train(&out, "--resume")
        .assert()
        .code(2)
        .stderr(contains("run"));
    train(&out, &format!("{TINY} --epochs 1"))
        .assert()
        .success();
    train(&out, "--resume --lr 0.5")
        .assert()
        .code(2)
        .stderr(contains("--lr is 0.5, the run was started with 0.002"));
    // A new run in its place.
    let both = contains("expected an empty directory").and(contains("`train --resume` goes on"));
    train(&out, TINY).assert().code(2).stderr(both);
    // A finished run has nothing left to do and scores itself again.
    train(&out, "--resume")
        .assert()
        .success()
        .stderr(contains("finished (1/1 epochs)"))
        .stdout(contains("mean weights"));
    assert_eq!(lines(&out).len(), 1);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_run_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, cut) = (directory.path().join("whole"), directory.path().join("cut"));
    let options = format!("{TINY} --epochs 6 --batch-size 8");
    train(&whole, &options).assert().success();

    let child = Process::new(env!("CARGO_BIN_EXE_bayeslora"))
        .args(["train", "--out"])
        .arg(&cut)
        .args(options.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    // The last file of a start; before it nothing has been trained, and there is nothing to go on with.
    while !cut.join("config.toml").exists() {
        assert!(Instant::now() < deadline, "not started yet");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = ["-s", "INT", &child.id().to_string()].map(str::to_owned);
    Process::new("kill").args(interrupt).status().unwrap();
    let output = child.wait_with_output().unwrap();
    // The run may have been quicker than the signal.
    assert!(
        matches!(output.status.code(), Some(130 | 0)),
        "{:?}",
        output.status
    );

    train(&cut, "--resume").assert().success();
    assert_eq!(lines(&cut).len(), 6);
    assert_eq!(weights(&cut), weights(&whole));
}

#[test]
fn a_folder_beyond_the_memory_trains_as_it_does_within() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("photos");
    for (part, shift) in [("train", 0), ("test", 2)] {
        for (class, level) in [("dark", 40u8), ("light", 200)] {
            let folder = data.join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..6 {
                let colour = image::Rgb([level + 5 * number, level + shift, level]);
                let image = image::RgbImage::from_pixel(40, 36, colour);
                image.save(folder.join(format!("{number}.jpg"))).unwrap();
            }
        }
    }
    let run = |name: &str, memory: &str, says: &'static str| {
        let out = directory.path().join(name);
        let options = format!(
            "--data {} --rank 2 --targets layer4.1 --resolution 32 --validation 0.2 --epochs 1 \
             --prefix-cache 0 {memory}",
            data.display()
        );
        let assert = train(&out, &options).assert().success();
        assert.stdout(contains(says)).stdout(contains("busy"));
        weights(&out)
    };
    let within = run("within", "", "images on the GPU");
    let uploaded = run("uploaded", "--resident-images 0", "images uploaded with it");
    let beyond = "--host-memory 0 --resident-images 0";
    let beyond = run("beyond", beyond, "images decoded every epoch");
    assert!(within == uploaded && within == beyond);
}

/// `--rank 0`: the backbone stays as it is, and every command takes the run.
#[test]
fn the_head_is_trained_alone() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let tiny = TINY.replace("--rank 2", "--method lora --rank 0");
    train(&out, &format!("{tiny} --epochs 2"))
        .assert()
        .success();
    let epochs = lines(&out);
    let loss = |epoch: usize| epochs[epoch]["loss"].as_f64().unwrap();
    assert!(epochs[1]["rank"] == 0 && loss(1) < loss(0));
    let peft = fs::read_to_string(out.join("adapter/adapter_config.json")).unwrap();
    let peft: Value = serde_json::from_str(&peft).unwrap();
    assert_eq!(peft["r"], 1, "PEFT has no rank 0");
    let run = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
        let run = format!("{line} --run {}", out.display());
        command.args(run.split_whitespace()).assert().success()
    };
    run("eval --samples 0 --json").stdout(contains("\"nll\""));
    run("predict assets/cifar10-sample-test.webp").stdout(contains("entropy"));
    run("laplace --structure last-layer-kron").stdout(contains("nll"));
}

#[test]
fn ranks_are_found_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let tiny = TINY.replace("--rank 2 ", "");
    let line = format!("{tiny} --epochs 3 --method lora --rank auto:6 --prune-from 1");
    train(&out, &line).assert().success();
    let lines = lines(&out);
    let ranks: Vec<u64> = lines
        .iter()
        .map(|line| line["rank"].as_u64().unwrap())
        .collect();
    assert!(ranks[0] <= 12 && ranks[2] <= ranks[0], "{ranks:?}");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(
        config.contains("rank = 6\n") && config.contains("auto-rank = true\n"),
        "{config}"
    );
    // The same words go on with it.
    train(&out, "--resume --rank auto:6").assert().success();
    let file = directory.path().join("auto.toml");
    fs::write(&file, "rank = \"auto:5\"\n").unwrap();
    let other = directory.path().join("other");
    let line = format!(
        "{tiny} --epochs 1 --method lora --config {}",
        file.display()
    );
    let said = train(&other, &line).assert().success();
    said.stdout(contains("--rank auto has cut none"));
    let config = fs::read_to_string(other.join("config.toml")).unwrap();
    assert!(
        config.contains("rank = 5\n") && config.contains("auto-rank = true\n"),
        "{config}"
    );

    refuses(
        &format!("{tiny} --rank auto:0 --method lora"),
        &["--rank", "at least 1"],
    );
    refuses(
        &format!("{tiny} --rank 0"),
        &["--rank", "at least 1", "--method lora"],
    );
    refuses(&format!("{tiny} --rank some"), &["--rank"]);
    refuses(
        &format!("{} --rank auto", tiny.replace("0.2", "0")),
        &["--validation", "--rank auto"],
    );
    refuses(
        &format!("{tiny} --rank auto --threshold 1"),
        &["--threshold", "held-out NLL"],
    );
    refuses(
        &format!("{tiny} --rank auto --method mc-dropout"),
        &["--rank", "mc-dropout"],
    );
    refuses(
        &format!("{tiny} --rank auto --prune-gauge none"),
        &["--prune-gauge", "evidence"],
    );
    refuses(
        &format!("{tiny} --method lora --prune-gauge svd"),
        &["--prune-gauge", "--method lora"],
    );
    refuses(
        &format!("{tiny} --method weight-noise --prune-gauge svd"),
        &["--prune-gauge", "does not turn"],
    );
}
