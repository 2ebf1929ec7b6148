//! The commands as users and scripts meet them: output, exit status, messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use bayeslora::low_level::formats::{Adapter, RunDir};
use bayeslora::{Gpu, GpuOptions, Picture, Session, SessionOptions};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::copy;
use crate::sealed::change_config;

fn bayeslora() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command.env_remove("BAYESLORA_ADAPTER");
    // Whatever has been measured on this machine, tests take the defaults.
    command.env("XDG_CACHE_HOME", CACHE.path());
    // The driver's compiled shaders stay where they are.
    if let (Some(home), None) = (std::env::home_dir(), std::env::var_os("XDG_CACHE_HOME")) {
        command.env("MESA_SHADER_CACHE_DIR", home.join(".cache"));
    }
    command
}

static CACHE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// A tiny run on the embedded sample: 100 images, one epoch, rank 2 on the last block.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let options = "train --data sample --limit-train 100 --limit-test 10 --epochs 1 --rank 2 \
                   --targets layer4.1 --resolution 32 --validation 0.2";
    bayeslora()
        .args(options.split_whitespace())
        .arg("--out")
        .arg(dir.path().join("run"))
        .assert()
        .success();
    dir
});

/// A copy of the tiny run that a test may change.
pub fn run() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (TRAINED.path().join("run"), dir.path().join("run"));
    copy(&from, &to);
    (dir, to)
}

/// A command on the given run.
pub fn on(run: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = bayeslora();
    command.args(words.next());
    command.arg("--run").arg(run).args(words);
    command
}

/// The one JSON document on standard output.
#[track_caller]
pub fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
pub fn assert_keys(value: &Value, expected: &str) {
    let (mut found, mut expected) = (keys(value), expected.split(' ').collect::<Vec<_>>());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Status 2, nothing on standard output, one message with all of `parts`.
#[track_caller]
pub fn refuses(command: &mut Command, parts: &[&str]) {
    let mut assert = command.assert().code(2).stdout("");
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
}

pub fn picture(path: &Path, width: u32, height: u32) {
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, (x ^ y) as u8])
    })
    .save(path)
    .unwrap();
}

#[test]
fn devices_lists_adapters() {
    let devices = json(bayeslora().args(["devices", "--json"]));
    assert_keys(&devices, "chosen adapters");
    let adapter = &devices["adapters"][0];
    assert_keys(
        adapter,
        "index name type backend driver features limits kernels choices error",
    );
    assert_keys(&adapter["kernels"], "convolution low-rank");
    assert_eq!(devices["chosen"], 0);
    let name = adapter["name"].as_str().unwrap();
    let text = bayeslora().arg("devices").assert().success();
    text.stdout(contains(name).and(contains("kernels")));
}

#[test]
fn measured_kernels_are_kept_and_shown() {
    let cache = tempfile::tempdir().unwrap();
    let choices = |line: &str| {
        let mut command = bayeslora();
        command.env("XDG_CACHE_HOME", cache.path());
        let devices = json(command.args(line.split_whitespace()));
        devices["adapters"][0]["choices"]
            .as_object()
            .unwrap()
            .clone()
    };
    assert!(choices("devices --json").is_empty());
    let measured = choices("devices --json --tune --batch-size 1 --resolution 32");
    // On hardware by the whole shape, on software adapters by what decides the tile.
    let has = |what: &str| measured.keys().any(|key| key.contains(what));
    let both = ["few", "many"].map(|channels| format!(" to {channels} channels, 8 rows"));
    assert!(
        has("gradient 3x3/1") || both.iter().all(|kind| has(kind)),
        "{measured:?}"
    );
    assert_eq!(choices("devices --json"), measured);
    assert!(choices("devices --json --no-tune").is_empty());
}

#[test]
fn an_unknown_adapter_is_named_as_it_was_given() {
    refuses(
        bayeslora().args(["devices", "--adapter", "No Such GPU"]),
        &["--adapter No Such GPU;", "this system has 0: "],
    );
    refuses(
        &mut on(
            &TRAINED.path().join("run"),
            "eval --data sample --adapter 99",
        ),
        &["no adapter matches --adapter 99;"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn without_any_adapter_there_is_a_way_out() {
    let mut command = bayeslora();
    command
        .arg("devices")
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json");
    refuses(
        &mut command,
        &["no GPU adapter was found", "VK_DRIVER_FILES", "setup.sh"],
    );
}

#[test]
fn a_back_end_that_the_kernels_do_not_run_on_is_refused() {
    for (names, said) in [
        ("gl", "WGPU_BACKEND=gl: the kernels run on vulkan"),
        ("vulkan, cuda", "\"cuda\" is no back end"),
    ] {
        refuses(
            bayeslora().arg("devices").env("WGPU_BACKEND", names),
            &[said],
        );
    }
    let elsewhere = if cfg!(windows) { "metal" } else { "dx12" };
    let mut command = bayeslora();
    refuses(
        command.arg("devices").env("WGPU_BACKEND", elsewhere),
        &["no GPU adapter was found", "WGPU_BACKEND"],
    );
    // Of several those that can be used are.
    let mut command = bayeslora();
    let several = command
        .arg("devices")
        .env("WGPU_BACKEND", "gl,Vulkan,metal,dx12");
    several.assert().success();
}

#[test]
fn eval_prints_the_agreed_keys() {
    let run = TRAINED.path().join("run");
    let line = "eval --data sample --limit-test 40 --json --samples";
    let mean = json(&mut on(&run, &format!("{line} 0")));
    assert_keys(
        &mean,
        "n accuracy balanced_accuracy nll brier ece adaptive_ece classwise_ece signed_gap aurc mean_entropy \
         mean_mutual_information effective_rank rank_count adapter_parameters seconds \
         scored_on",
    );
    assert_keys(
        &mean["scored_on"],
        "data part images of seen near_copies of_other_classes gone gone_seen held_out_classes unknown_classes classes_by",
    );
    assert_eq!((&mean["n"], &mean["rank_count"]), (&40.into(), &4.into()));
    assert_eq!(mean["mean_mutual_information"], 0.0);
    let sampled = json(&mut on(&run, &format!("{line} 3 --seed 2")));
    assert!(sampled["mean_mutual_information"].as_f64().unwrap() > 0.0);
    let again = json(&mut on(&run, &format!("{line} 3 --seed 2")));
    assert_eq!(again["nll"], sampled["nll"], "the same seed");
}

#[test]
fn mc_dropout_keeps_its_gates() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let options = "train --data sample --limit-train 100 --limit-test 10 --epochs 1 --rank 4 \
                   --targets layer4.1 --resolution 32 --validation 0.2 --method mc-dropout \
                   --dropout 0.25";
    let text = bayeslora()
        .args(options.split_whitespace())
        .arg("--out")
        .arg(&run)
        .assert()
        .success();
    text.stdout(
        contains("MC dropout of ranks with p = 0.25, rank 4 on layer4.1")
            .and(contains("8 samples")),
    );
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("method = \"mc-dropout\"") && config.contains("dropout = 0.25"));
    let line = "eval --data sample --limit-test 20 --json --samples";
    let sampled = json(&mut on(&run, &format!("{line} 4")));
    assert!(sampled["mean_mutual_information"].as_f64().unwrap() > 0.0);
    // 8 ranks, three quarters of which are there on average.
    assert!((sampled["effective_rank"].as_f64().unwrap() - 6.0).abs() < 1e-5);
    let image = dir.path().join("image.png");
    picture(&image, 40, 30);
    let answer = json(on(&run, "predict --json --samples 4").arg(&image));
    let answer = &answer["images"][0];
    assert!(answer["mutual_information"].as_f64().unwrap() > 0.0);
    assert!(answer["covariance_trace"].as_f64().unwrap() > 0.0);
    refuses(
        &mut on(&run, "prune --threshold 0 --dry-run"),
        &["fixed probability (method mc-dropout)"],
    );
    on(&run, "plan --mode train --batch-size 2")
        .assert()
        .success();
}

#[test]
fn a_temperature_comes_from_the_validation_split_and_serves_predict() {
    let (dir, path) = run();
    let image = dir.path().join("image.png");
    picture(&image, 40, 30);
    let predict = |options: &str| {
        let mut command = on(&path, &format!("predict --json {options}"));
        command.arg(&image);
        command
    };
    refuses(
        &mut predict("--samples 3 --temperature"),
        &["none was fitted", "eval --run", "--samples 3 --temperature"],
    );
    let eval = |options: &str| {
        json(&mut on(
            &path,
            &format!("eval --data sample --json {options}"),
        ))
    };
    let scores = eval("--limit-test 40 --samples 3 --temperature --force");
    let plain = eval("--limit-test 40 --samples 3");
    let fitted = &scores["temperature"];
    assert_keys(
        fitted,
        "temperature samples seed images nll_before nll_after",
    );
    assert_eq!(
        (&fitted["images"], &fitted["samples"]),
        (&20.into(), &3.into())
    );
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(number(&fitted["nll_after"]) < number(&fitted["nll_before"]));
    assert_keys(
        &scores["tempered"],
        "n accuracy balanced_accuracy nll brier ece adaptive_ece classwise_ece signed_gap aurc mean_entropy \
         mean_mutual_information",
    );
    assert_eq!(scores["nll"], plain["nll"], "the scores without it stay");
    assert_eq!(scores["tempered"]["accuracy"], plain["accuracy"]);
    assert_ne!(scores["tempered"]["nll"], plain["nll"]);
    // Whatever the test set is.
    assert_eq!(
        &eval("--limit-test 10 --samples 3 --temperature --force")["temperature"],
        fitted
    );

    // softmax(ln p / T), the deviations and the mutual information untouched.
    let before = json(&mut predict("--samples 3"));
    let after = json(&mut predict("--samples 3 --temperature"));
    let t = number(&after["temperature"]);
    assert_eq!(after["temperature"], fitted["temperature"]);
    let by_class = |answer: &Value, key: &str| -> Vec<f64> {
        let mut classes = answer["images"][0]["classes"].as_array().unwrap().clone();
        classes.sort_by_key(|class| class["class"].to_string());
        classes.iter().map(|class| number(&class[key])).collect()
    };
    let (p, q) = (
        by_class(&before, "probability"),
        by_class(&after, "probability"),
    );
    let mass: f64 = p.iter().map(|p| p.powf(1.0 / t)).sum();
    let mut entropy = 0.0;
    for (p, q) in p.iter().zip(&q) {
        assert!((p.powf(1.0 / t) / mass - q).abs() < 1e-5, "{p} at {t}: {q}");
        entropy -= q * q.ln();
    }
    assert!((number(&after["images"][0]["entropy"]) - entropy).abs() < 1e-5);
    assert_eq!(by_class(&before, "std"), by_class(&after, "std"));
    let information = |answer: &Value| answer["images"][0]["mutual_information"].clone();
    assert_eq!(information(&before), information(&after));

    // An application's session says the same of the run, with the temperature unless it names one itself.
    let bytes = fs::read(&image).unwrap();
    let session = |temperature| {
        let options = SessionOptions {
            samples: 3,
            temperature,
            ..Default::default()
        };
        let gpu = Gpu::open(GpuOptions::default()).unwrap();
        let mut session = Session::open(&gpu, &path, options).unwrap();
        let answer = session
            .predict(&[Picture::Encoded(&bytes)])
            .unwrap()
            .remove(0);
        let mut classes = answer.classes;
        classes.sort_by(|a, b| a.class.cmp(&b.class));
        classes
            .iter()
            .map(|class| f64::from(class.probability))
            .collect::<Vec<_>>()
    };
    for (temperature, expected) in [(None, &q), (Some(1.0), &p)] {
        let found = session(temperature);
        let close = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close, "{temperature:?}: {found:?} {expected:?}");
    }

    // Another number of samples has another temperature; both are kept.
    refuses(&mut predict("--temperature"), &["--samples 3, not for 8"]);
    let text = on(
        &path,
        "eval --data sample --limit-test 20 --samples 0 --temperature --force",
    )
    .assert()
    .success();
    text.stdout(contains("from 20 validation images").and(contains("T = 1 ")));
    predict("--samples 0 --temperature").assert().success();
    predict("--samples 3 --temperature").assert().success();

    // A pruned adapter is another one.
    spread(&path);
    refuses(
        &mut predict("--samples 3 --temperature"),
        &["none was fitted"],
    );

    change_config(&path, "validation = 0.2", "validation = 0.0");
    refuses(
        &mut on(&path, "eval --data sample --temperature"),
        &["--temperature", "--validation 0,"],
    );
    change_config(&path, "validation = 0.0", "validation = 0.2");
    change_config(&path, "data = \"sample\"", "data = \"gone\"");
    refuses(
        &mut on(&path, "eval --temperature"),
        &["config.toml", "gone", "--data"],
    );
}

#[test]
fn eval_corrupts_the_test_images() {
    let run = TRAINED.path().join("run");
    let line = "eval --data sample --limit-test 40 --samples 0";
    let clean = json(&mut on(&run, &format!("{line} --json")));
    assert!(clean.get("corruption").is_none());
    let snowed = json(&mut on(&run, &format!("{line} --json --corruption snow")));
    assert_eq!(
        (&snowed["corruption"], &snowed["severity"]),
        (&"snow".into(), &3.into())
    );
    assert_ne!(snowed["nll"], clean["nll"]);
    on(&run, &format!("{line} --corruption contrast --severity 5"))
        .assert()
        .success()
        .stdout(contains("40 images, contrast at severity 5, 10 classes"));
    refuses(
        &mut on(&run, &format!("{line} --corruption mist")),
        &["--corruption", "mist", "zoom_blur"],
    );
    refuses(
        &mut on(&run, &format!("{line} --corruption fog --severity 6")),
        &["--severity", "1..=5"],
    );
    refuses(
        &mut on(&run, &format!("{line} --severity 2")),
        &["--corruption"],
    );
}

#[test]
fn eval_explains_itself() {
    let run = TRAINED.path().join("run");
    let text = on(&run, "eval --data sample --limit-test 20 --samples 2")
        .assert()
        .success();
    let parts = [
        "scoring 20 of the 1000 images in the test part of sample\n",
        "20 images, 10 classes, 2 samples",
        "brier",
        "airplane",
    ];
    for part in parts {
        assert!(String::from_utf8_lossy(&text.get_output().stdout).contains(part));
    }
}

#[test]
fn a_run_that_is_none_is_named() {
    let (dir, path) = run();
    let missing = dir.path().join("nothing");
    refuses(
        &mut on(&missing, "eval --data sample"),
        &["--run", "nothing` does not exist"],
    );
    fs::remove_dir_all(path.join("adapter")).unwrap();
    refuses(
        &mut on(&path, "eval --data sample"),
        &["--run", "adapter` does not exist", "after each epoch"],
    );
    fs::remove_file(path.join("config.toml")).unwrap();
    refuses(
        &mut on(&path, "predict x.png"),
        &["config.toml` does not exist"],
    );
}

#[test]
fn an_adapter_of_another_backbone_is_refused() {
    let (_dir, path) = run();
    let dir = RunDir::open(&path).unwrap().adapter_dir();
    let mut adapter = Adapter::load_peft(&dir).unwrap();
    adapter.backbone_sha256 = "0123456789abcdef".repeat(4);
    adapter.save_peft(&dir).unwrap();
    let parts = ["SHA-256 0123456789ab...", "--backbone"];
    refuses(&mut on(&path, "eval --data sample --limit-test 10"), &parts);
    refuses(&mut on(&path, "prune --threshold 0 --dry-run"), &parts);
    refuses(&mut on(&path, "plan --mode predict"), &parts);
    refuses(
        &mut on(&path, "eval --data sample --backbone nowhere.safetensors"),
        &["--backbone", "nowhere.safetensors` does not exist"],
    );
}

#[test]
fn labels_follow_the_class_names() {
    let (dir, path) = run();
    let set = dir.path().join("set");
    for class in ["red", "green", "blue"] {
        for number in 0..2 {
            let folder = set.join("test").join(class);
            fs::create_dir_all(&folder).unwrap();
            picture(&folder.join(format!("{number}.png")), 20 + number, 16);
        }
    }
    let data = set.display().to_string();
    refuses(
        &mut on(&path, &format!("eval --data {data}")),
        &[
            "does not know these 3 classes (blue, green, red)",
            "it knows airplane, ",
        ],
    );
    // The sample's names in another order are put in order, other names are refused.
    let adapter_dir = RunDir::open(&path).unwrap().adapter_dir();
    let mut adapter = Adapter::load_peft(&adapter_dir).unwrap();
    let line = "eval --data sample --limit-test 20 --samples 0 --json";
    let accuracy = json(&mut on(&path, line))["accuracy"].clone();
    adapter.classes.reverse();
    let features = adapter.head.features;
    let rows: Vec<_> = adapter.head.weight.chunks(features).rev().collect();
    adapter.head.weight = rows.concat();
    adapter.head.bias.reverse();
    adapter.save_peft(&adapter_dir).unwrap();
    assert_eq!(json(&mut on(&path, line))["accuracy"], accuracy);
    adapter.classes[0] = "lorry".into();
    adapter.save_peft(&adapter_dir).unwrap();
    refuses(
        &mut on(&path, line),
        &[
            "does not know this class (truck)",
            "--ignore-unknown-classes",
        ],
    );
}

#[test]
fn predict_answers_for_files_and_directories() {
    let run = TRAINED.path().join("run");
    let dir = tempfile::tempdir().unwrap();
    picture(&dir.path().join("wide.png"), 90, 40);
    picture(&dir.path().join("tiny.bmp"), 3, 5);
    fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    let both = json(on(&run, "predict --json --samples 4").arg(dir.path()));
    assert_keys(&both, "samples seed images");
    let images = both["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_keys(
        &images[1],
        "image classes entropy mutual_information covariance_trace",
    );
    assert_keys(&images[1]["classes"][0], "class probability std");
    let classes = images[1]["classes"].as_array().unwrap();
    let sum: f64 = classes
        .iter()
        .map(|c| c["probability"].as_f64().unwrap())
        .sum();
    assert!(
        classes.len() == 10 && (sum - 1.0).abs() < 1e-4,
        "{classes:?}"
    );
    assert!(images[1]["covariance_trace"].as_f64().unwrap() > 0.0);

    // What is said of an image does not depend on the images beside it.
    let wide = dir.path().join("wide.png");
    let alone = json(on(&run, "predict --json --samples 4 --top 1").arg(&wide));
    let (alone, beside) = (&alone["images"][0], &images[1]);
    assert_eq!(alone["classes"].as_array().unwrap().len(), 1);
    assert_eq!(alone["classes"][0]["class"], beside["classes"][0]["class"]);
    for key in ["entropy", "mutual_information", "covariance_trace"] {
        let (a, b) = (alone[key].as_f64().unwrap(), beside[key].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-4 * b.abs() + 1e-6, "{key}: {a} {b}");
    }

    let text = on(&run, "predict").arg(&wide).assert().success();
    text.stdout(
        contains("wide.png\n")
            .and(contains(" % ± "))
            .and(contains("nats")),
    );
}

#[test]
fn predict_names_every_bad_image() {
    let run = TRAINED.path().join("run");
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.png");
    fs::write(&bad, "not a png").unwrap();
    refuses(
        on(&run, "predict missing.jpg").arg(&bad),
        &[
            "2 of 2 images",
            "missing.jpg: no such file",
            "bad.png: cannot be decoded",
        ],
    );
    // Left out where that is asked for, unless nothing is left or a file is not there at all.
    let good = dir.path().join("good.png");
    picture(&good, 40, 40);
    refuses(
        on(&run, "predict").args([&good, &bad]),
        &["bad.png", "--skip-bad-images"],
    );
    let skipping = "predict --skip-bad-images --samples 1 --json";
    let output = on(&run, skipping).args([&bad, &good]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("skipped 1 image that does not decode") && told.contains("bad.png"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let image = |of: &Value| PathBuf::from(of["image"].as_str().unwrap());
    assert_eq!(report["images"].as_array().unwrap().len(), 1);
    assert_eq!(image(&report["images"][0]), good);
    assert_eq!(image(&report["skipped"][0]), bad);
    refuses(on(&run, skipping).arg(&bad), &["bad.png"]);
    refuses(
        on(&run, skipping).arg(&good).arg("missing.jpg"),
        &["missing.jpg: no such file"],
    );
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refuses(on(&run, "predict").arg(&empty), &["empty: no images"]);
    refuses(&mut on(&run, "predict"), &["IMAGE"]);
    refuses(&mut on(&run, "predict x.png --top 0"), &["--top"]);
}

/// Gives the ranks of each layer log alphas from -3 up in steps of 2, and dead ones their B zero.
pub fn spread(path: &Path) {
    let dir = RunDir::open(path).unwrap().adapter_dir();
    let mut adapter = Adapter::load_peft(&dir).unwrap();
    for layer in &mut adapter.layers {
        let rank = layer.rank();
        layer.log_alpha = Some((0..rank).map(|i| -3.0 + 4.0 * i as f32).collect());
        for row in layer.lora_b.chunks_mut(rank) {
            row[rank - 1] = 0.0;
        }
    }
    adapter.save_peft(&dir).unwrap();
}

#[test]
fn prune_reports_and_then_writes() {
    let (dir, path) = run();
    spread(&path);
    let dry = json(&mut on(&path, "prune --threshold 0 --dry-run --json"));
    assert_keys(
        &dry,
        "gauge by posterior evidence_images held_out candidates ranks_before ranks_after before after \
         max_log_prob_change kl predicted_kl nll_before nll_after predicted_nll accuracy_before accuracy_after \
         effective_rank_before effective_rank_after scalars_before scalars_after layers curve written",
    );
    assert_keys(&dry["layers"][0], "layer before after kept cut");
    assert_keys(&dry["after"], "accuracy nll ece");
    assert_eq!(dry["held_out"]["split"], "validation");
    assert_eq!(dry["held_out"]["images"], 20);
    assert_eq!(
        (&dry["ranks_before"], &dry["ranks_after"]),
        (&4.into(), &2.into())
    );
    // A rank whose B is zero costs nothing, to the bit.
    assert_eq!(dry["max_log_prob_change"], 0.0);
    assert_eq!(dry["written"], Value::Null);
    assert!(!path.join("pruned").exists());

    let out = dir.path().join("pruned");
    let written = json(on(&path, "prune --threshold 0 --json --out").arg(&out));
    assert_eq!(written["written"], out.display().to_string());
    let line = "eval --data sample --limit-test 20 --samples 0 --json";
    assert_eq!(json(&mut on(&out, line))["rank_count"], 2);
    assert_eq!(json(&mut on(&path, line))["rank_count"], 4);

    // The pruned adapter has neither the results nor the checkpoints of the one from before.
    assert!(!out.join("results.json").exists() && !out.join("checkpoint").exists());
    let mut resume = bayeslora();
    resume.args(["train", "--resume", "--out"]).arg(&out);
    refuses(
        &mut resume,
        &["checkpoint` does not exist", "a pruned run has none"],
    );

    let before = files(&path);
    let text = on(&path, "prune --threshold 0").assert().success();
    text.stdout(contains("2 ranks cut: the pruned run is").and(contains("run/pruned,")));
    assert_eq!(json(&mut on(&path.join("pruned"), line))["rank_count"], 2);
    let text = on(&out, "prune --threshold 0").assert().success();
    text.stdout(contains("nothing to cut; nothing was written"));
    // Down to the base layers, and a second run.
    let text = on(&path, "prune --threshold -9").assert().success();
    text.stdout(contains("run/pruned-2"));
    // The run is as it was.
    assert_eq!(files(&path), before);
    let none = json(&mut on(&path.join("pruned-2"), line));
    assert_eq!(
        (&none["rank_count"], &none["effective_rank"]),
        (&0.into(), &0.0.into())
    );
    on(&path.join("pruned-2"), "eval --data sample --limit-test 20")
        .assert()
        .success();
}

/// The content of a run's files, those of the runs in it left out.
fn files(run: &Path) -> Vec<Vec<u8>> {
    let names = [
        "config.toml",
        "metrics.jsonl",
        "results.json",
        "checkpoint/state.safetensors",
    ];
    let adapter = [
        "adapter/bayeslora.json",
        "adapter/adapter_model.safetensors",
    ];
    let names = names.iter().chain(&adapter);
    names
        .map(|name| fs::read(run.join(name)).unwrap())
        .collect()
}

#[test]
fn prune_stops_where_the_cost_does() {
    let (_dir, path) = run();
    spread(&path);
    // The zero ranks are free, whatever else would go.
    let free = json(&mut on(
        &path,
        "prune --max-nll-increase 0 --dry-run --json",
    ));
    assert_eq!(free["candidates"], 4);
    assert!(free["ranks_after"].as_u64().unwrap() <= 2, "{free}");
    // Turning the ranks rounds.
    let nll = |when: &str| free[when]["nll"].as_f64().unwrap();
    assert!(nll("after") <= nll("before") + 1e-5, "{free}");
    let all = json(&mut on(
        &path,
        "prune --max-nll-increase 99 --min-rank 1 --dry-run --json",
    ));
    assert_eq!(
        (&all["candidates"], &all["ranks_after"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn prune_refuses_what_makes_no_sense() {
    let (_dir, path) = run();
    refuses(&mut on(&path, "prune"), &["--threshold"]);
    refuses(&mut on(&path, "prune --threshold x"), &["-100 to 100"]);
    refuses(
        &mut on(&path, "prune --max-nll-increase=-1"),
        &["0 to 1000"],
    );
    refuses(
        &mut on(&path, "prune --threshold 0 --dry-run --out x"),
        &["--dry-run", "--out", "cannot be used with"],
    );
    refuses(
        on(&path, "prune --threshold 0 --out").arg(&path),
        &["--out", "a new or an empty directory"],
    );
    change_config(&path, "data = \"sample\"\n", "");
    refuses(
        &mut on(&path, "prune --threshold 0"),
        &["--data is missing"],
    );
    let dir = RunDir::open(&path).unwrap().adapter_dir();
    let mut adapter = Adapter::load_peft(&dir).unwrap();
    for layer in &mut adapter.layers {
        layer.log_alpha = None;
    }
    adapter.save_peft(&dir).unwrap();
    refuses(&mut on(&path, "prune --threshold 0"), &["without gates"]);
}

#[test]
fn plan_counts_and_times() {
    let small = "--batch-size 2 --resolution 32 --targets layer4 --cached --json";
    for mode in ["train", "forward", "predict"] {
        let line = format!("plan --mode {mode} {small}");
        let plan = json(bayeslora().args(line.split_whitespace()));
        assert_keys(
            &plan,
            "mode adapter batch_size samples resolution cached rank_count clock total \
             transient_bytes weight_bytes backbone_bits parameter_bytes kernels dispatches",
        );
        assert_keys(
            &plan["dispatches"][0],
            "label kernel grid flops bytes seconds gflop_per_second",
        );
        let flops = |values: &Value| -> u64 {
            let values = values.as_array().unwrap().iter();
            values.map(|value| value["flops"].as_u64().unwrap()).sum()
        };
        let total = plan["total"]["flops"].as_u64().unwrap();
        assert_eq!(
            (flops(&plan["dispatches"]), flops(&plan["kernels"])),
            (total, total)
        );
        assert_eq!(plan["clock"], Value::Null);
        let ranks = if mode == "forward" { 0 } else { 40 };
        assert_eq!(plan["rank_count"], ranks);
    }
    let line = format!("plan --mode predict --time --samples 2 {small}");
    let timed = json(bayeslora().args(line.split_whitespace()));
    assert!(timed["total"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(["gpu", "host"].contains(&timed["clock"].as_str().unwrap()));
}

/// Layers are of other shapes there, down to filters that some kernels cannot hold.
#[test]
fn pictures_of_every_size_can_be_planned() {
    for size in [32, 72, 96, 224] {
        let line = format!("plan --mode train --batch-size 1 --resolution {size} --json");
        let plan = json(bayeslora().args(line.split_whitespace()));
        assert_eq!(plan["resolution"], size);
    }
}

#[test]
fn plan_of_a_run_reads_well() {
    let run = TRAINED.path().join("run");
    let text = on(&run, "plan --mode train --batch-size 2 --time")
        .assert()
        .success();
    text.stdout(
        contains("one training step: 2 images at 32 pixels, 4 ranks")
            .and(contains("layer4.1.conv2"))
            .and(contains("GFLOP/s"))
            .and(contains("memory: ")),
    );
    refuses(
        &mut on(&run, "plan --mode train --rank 3"),
        &["cannot be used with"],
    );
    refuses(
        &mut on(&run, "plan --mode train --samples 3"),
        &["--mode predict"],
    );
    let line = ["plan", "--mode", "train", "--targets", "layer9"];
    refuses(
        bayeslora().args(line),
        &["--targets: \"layer9\" matches no layer"],
    );
    let line = ["plan", "--mode", "train", "--batch-size", "0"];
    refuses(bayeslora().args(line), &["--batch-size", "1 to 65536"]);
}

#[test]
fn score_reads_what_others_wrote() {
    use bayeslora::low_level::formats::npy::write_npy;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.npy");
    write_npy(&path, &[2, 2], &[0.75, 0.25, 0.5, 0.5]).unwrap();
    let labels = dir.path().join("labels.npy");
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend([0, 1]);
    fs::write(&labels, bytes).unwrap();
    let score = |labels: &Path| {
        let mut command = bayeslora();
        command.args(["score", "--json", "--probs"]).arg(&path);
        command.arg("--labels").arg(labels);
        command
    };
    let scores = json(&mut score(&labels));
    assert_keys(
        &scores,
        "n accuracy balanced_accuracy nll brier ece adaptive_ece classwise_ece signed_gap aurc mean_entropy \
         mean_mutual_information",
    );
    assert_eq!(scores["accuracy"], 0.5);
    refuses(
        &mut score(&dir.path().join("missing.npy")),
        &["missing.npy"],
    );
    refuses(
        bayeslora().args(["score", "--probs", "p.npy"]),
        &["--labels"],
    );
}
