//! `export` as users meet it: what lies in the folder, what it says of itself, what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use bayeslora::low_level::formats::{Adapter, BackboneFile, RunDir, TensorFile};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{adapter, bayeslora, copy, head_alone};

const TRAIN: &str = "train --data sample --limit-train 60 --limit-test 10 --epochs 1 --rank 2 --targets layer4.1 \
                     --resolution 32 --validation 0.2 --threshold 100";

static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    bayeslora(TRAIN).arg("--out").arg(run).assert().success();
    dir
});

fn run() -> PathBuf {
    TRAINED.path().join("run")
}

fn export(run: &Path, to: &Path, options: &str) -> Command {
    let mut command = bayeslora("export");
    command.arg("--run").arg(run).arg("--to").arg(to);
    command.args(options.split_whitespace());
    command
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_format_lies_in_a_folder_with_a_card_and_the_classes() {
    let dir = tempfile::tempdir().unwrap();
    let trained = adapter(&run());
    let scored = json(&run().join("results.json"));
    for (format, files) in [
        (
            "peft",
            "README.md adapter_config.json adapter_model.safetensors bayeslora.json bayeslora.safetensors",
        ),
        ("safetensors", "README.md adapter.safetensors"),
        ("merged", "README.md model.safetensors"),
        ("onnx", "README.md model.onnx"),
        ("onnx --samples 3", "README.md model.onnx"),
    ] {
        // One after the other into the same place.
        let to = dir.path().join("out");
        let options = format!("--format {format}");
        let command = &mut export(&run(), &to, &options);
        command.assert().success().stdout(contains("README.md"));
        let mut expected: Vec<_> = files.split_whitespace().collect();
        expected.extend(["classes.json", "export.json"]);
        expected.sort();
        assert_eq!(names(&to), expected);
        let classes: Vec<String> = serde_json::from_value(json(&to.join("classes.json"))).unwrap();
        assert_eq!(classes, trained.classes);
        let card = fs::read_to_string(to.join("README.md")).unwrap();
        let accuracy = scored["samples_8"]["accuracy"].as_f64().unwrap();
        for part in [
            "`airplane`, `automobile`",
            "`embedded`",
            "32 x 32",
            "| `layer4.1.conv2` | 2 of 2 |",
            &format!("| 8 samples | 10 | {accuracy:.4} |"),
        ] {
            assert!(card.contains(part), "`{part}` is not in {card}");
        }
        let origin = &json(&to.join("export.json"))["origin"];
        assert_eq!(origin["adapter_sha256"], trained.sha256().unwrap());
        match format {
            "peft" => {
                assert_eq!(Adapter::load_peft(&to).unwrap(), trained);
                let config = json(&to.join("adapter_config.json"));
                assert_eq!(config["rank_pattern"]["layer4.1.conv2"], 2);
            }
            "safetensors" => {
                let file = TensorFile::read(to.join("adapter.safetensors")).unwrap();
                let a = &file.tensors["layer4.1.conv2.lora_A.weight"];
                assert_eq!(a.shape, [2, 512, 3, 3]);
                assert_eq!(a.data, trained.layers[1].lora_a);
                let log_alpha = &file.tensors["layer4.1.conv2.log_alpha"].data;
                assert_eq!(Some(log_alpha), trained.layers[1].log_alpha.as_ref());
                let said: Value = serde_json::from_str(&file.metadata["bayeslora"]).unwrap();
                assert_eq!(said["scale"], 2.0);
            }
            "merged" => {
                let merged = BackboneFile::read(to.join("model.safetensors")).unwrap();
                assert_eq!(merged.classes, Some(10));
            }
            _ => assert!(fs::metadata(to.join("model.onnx")).unwrap().len() > 40_000_000),
        }
    }
    assert_eq!(names(dir.path()), ["out"]);
}

/// The head alone over the merged backbone is another way to the mean weights' answers.
#[test]
fn a_merged_backbone_predicts_as_the_run_does() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("merged");
    export(&run(), &to, "--format merged").assert().success();
    let plain = dir.path().join("plain");
    head_alone(&run(), &plain);
    let picture = dir.path().join("picture.png");
    let image = image::RgbImage::from_fn(40, 40, |x, y| {
        image::Rgb([(6 * x) as u8, (5 * y) as u8, 90])
    });
    image.save(&picture).unwrap();
    let probabilities = |run: &Path, more: &[&str]| {
        let out = dir.path().join("p.npy");
        let mut command = bayeslora("predict --samples 0 --json --run");
        command.arg(run).args(more).arg("--probs-out").arg(&out);
        command.arg(&picture).assert().success();
        bayeslora::low_level::formats::npy::read_probabilities(&out)
            .unwrap()
            .values
    };
    let expected = probabilities(&run(), &[]);
    let model = to.join("model.safetensors");
    let found = probabilities(&plain, &["--backbone", model.to_str().unwrap()]);
    for (a, b) in expected.iter().zip(&found) {
        assert!((a - b).abs() < 1e-5, "{expected:?} {found:?}");
    }
    // The adapter does something.
    let without = probabilities(&plain, &["--backbone", "embedded"]);
    assert!(
        expected
            .iter()
            .zip(&without)
            .any(|(a, b)| (a - b).abs() > 1e-4)
    );
}

#[test]
fn what_cannot_be_exported_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let refuses = |run: &Path, to: &Path, options: &str, parts: &[&str]| {
        let mut assert = export(run, to, options).assert().code(2).stdout("");
        for part in parts {
            assert = assert.stderr(contains(*part));
        }
        assert.stderr(contains("panicked").not());
    };
    let to = dir.path().join("to");
    let says = ["--samples belongs to --format onnx", "leave it out"];
    refuses(&run(), &to, "--format merged --samples 3", &says);
    assert!(!to.exists());

    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("thesis.tex"), "mine").unwrap();
    refuses(
        &run(),
        &taken,
        "--format onnx",
        &["--to", "`thesis.tex`", "choose another"],
    );
    assert_eq!(names(&taken), ["thesis.tex"]);
    refuses(
        &run(),
        &taken.join("thesis.tex"),
        "--format onnx",
        &["is a file"],
    );

    let bare = dir.path().join("bare");
    copy(&run(), &bare);
    let change = |change: &dyn Fn(&mut Adapter)| {
        let mut changed = adapter(&run());
        change(&mut changed);
        changed.save_peft(bare.join("adapter")).unwrap();
    };
    change(&|adapter| adapter.layers.clear());
    refuses(
        &bare,
        &to,
        "--format peft",
        &["no rank left", "--format merged"],
    );
    export(&bare, &to, "--format onnx").assert().success();
    let says = [
        "--samples 2",
        "nothing to draw",
        "leave it out for the mean weights",
    ];
    refuses(&bare, &to, "--format onnx --samples 2", &says);
    change(&|adapter| adapter.backbone_sha256 = "0".repeat(64));
    for format in ["peft", "safetensors", "merged", "onnx"] {
        let options = format!("--format {format}");
        refuses(
            &bare,
            &to,
            &options,
            &["trained on a backbone with SHA-256 000000000000"],
        );
    }
}

#[test]
fn probabilities_are_written_in_the_order_of_the_output() {
    use bayeslora::low_level::formats::npy::read_probabilities;
    let dir = tempfile::tempdir().unwrap();
    let pictures: Vec<PathBuf> = (0..3u8)
        .map(|number| {
            let path = dir.path().join(format!("{}.png", 9 - number));
            let shade = |x: u32, y: u32| image::Rgb([number * 100, (7 * x) as u8, (7 * y) as u8]);
            image::RgbImage::from_fn(32, 32, shade).save(&path).unwrap();
            path
        })
        .collect();
    let out = dir.path().join("p.npy");
    fs::write(dir.path().join("5.png"), "no picture").unwrap();
    let mut command = bayeslora("predict --json --skip-bad-images --samples 2 --run");
    command.arg(run()).arg("--probs-out").arg(&out);
    command
        .arg(&pictures[0])
        .arg(dir.path().join("5.png"))
        .args(&pictures[1..]);
    let output = command.assert().success().get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = read_probabilities(&out).unwrap();
    assert_eq!((found.samples, found.examples, found.classes), (1, 3, 10));
    let classes = adapter(&run()).classes;
    for (row, image) in found
        .values
        .chunks(10)
        .zip(report["images"].as_array().unwrap())
    {
        for answer in image["classes"].as_array().unwrap() {
            let class = classes.iter().position(|class| answer["class"] == *class);
            assert_eq!(
                answer["probability"].as_f64().unwrap() as f32,
                row[class.unwrap()]
            );
        }
    }
    // `eval` writes those that its scores are of.
    let mut command = bayeslora("eval --json --limit-test 20 --samples 2 --run");
    command.arg(run()).arg("--probs-out").arg(&out);
    let output = command.assert().success().get_output().clone();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = read_probabilities(&out).unwrap();
    assert_eq!(
        (found.examples as u64, found.classes),
        (scores["n"].as_u64().unwrap(), 10)
    );
    let entropy = |row: &[f32]| -row.iter().map(|p| f64::from(p * p.ln())).sum::<f64>();
    let mean = found.values.chunks(10).map(entropy).sum::<f64>() / found.examples as f64;
    assert!((mean - scores["mean_entropy"].as_f64().unwrap()).abs() < 1e-5);

    for (path, says) in [
        (dir.path().join("p.txt"), "end in .npy"),
        (dir.path().join("none/p.npy"), "no such directory"),
    ] {
        for line in ["predict --run", "eval --run"] {
            let mut command = bayeslora(line);
            command.arg(run()).arg("--probs-out").arg(&path);
            if line.starts_with("predict") {
                command.arg(&pictures[0]);
            }
            let assert = command.assert().code(2).stdout("");
            assert
                .stderr(contains(says))
                .stderr(contains("--probs-out"));
            assert!(!path.exists());
        }
    }
}

/// A card shows no scores of an adapter that another has taken the place of.
#[test]
fn scores_of_another_adapter_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (changed, to) = (dir.path().join("run"), dir.path().join("out"));
    copy(&run(), &changed);
    let mut other = adapter(&run());
    other.head.bias[0] += 1.0;
    let place = RunDir::open(&changed).unwrap().adapter_dir();
    other.save_peft(place).unwrap();
    let mut command = export(&changed, &to, "--format safetensors");
    command.assert().success();
    let card = fs::read_to_string(to.join("README.md")).unwrap();
    assert!(
        card.contains("Not known") && !card.contains("8 samples"),
        "{card}"
    );
}
