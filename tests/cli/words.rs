//! What the command line makes of odd arguments and of files that are something else, and in which words.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use bayeslora::low_level::formats::{Adapter, TensorFile};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn bayeslora() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    command.env_remove("BAYESLORA_ADAPTER");
    command
}

/// A command of words, paths among them.
fn command(parts: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = bayeslora();
    command.args(parts.iter().map(|part| part.as_ref()));
    command
}

const TINY: [&str; 17] = [
    "train",
    "--limit-train",
    "40",
    "--limit-test",
    "10",
    "--epochs",
    "1",
    "--rank",
    "2",
    "--targets",
    "layer4.1.conv2",
    "--resolution",
    "32",
    "--validation",
    "0.5",
    "--batch-size",
    "10",
];

const EMBEDDED: &str = "assets/resnet18-cifar100-tin200-64px.safetensors";

fn picture(path: &Path, shade: u8) {
    let image =
        image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([shade, (x * 7) as u8, y as u8]));
    image
        .save_with_format(path, image::ImageFormat::Png)
        .unwrap();
}

/// A tiny run on the embedded sample.
fn train(run: &Path, more: &[&str]) {
    let mut command = bayeslora();
    command.args(TINY).args(["--data", "sample"]).args(more);
    command.arg("--out").arg(run).assert().success();
}

/// Status 2, nothing on standard output, and a message with all of `parts`, each once.
#[track_caller]
fn refuses(command: &mut Command, parts: &[&str]) {
    let output = command.assert().code(2).stdout("").get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    for part in parts {
        assert_eq!(
            message.matches(part).count(),
            1,
            "`{part}` once in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn without_gates_nothing_agrees_and_no_temperature_of_few_images_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, &["--method", "lora"]);
    let image = directory.path().join("image.png");
    picture(&image, 90);
    let predict = |options: &[&str]| {
        let mut command = command(&[&"predict", &"--run", &run, &image]);
        let output = command
            .args(options)
            .assert()
            .success()
            .get_output()
            .clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = predict(&[]);
    assert!(!text.contains("agree") && !text.contains("±"), "{text}");
    let answer: Value = serde_json::from_str(&predict(&["--json"])).unwrap();
    assert_eq!(answer["samples"], 0, "nothing is drawn");

    let eval = |options: &[&str]| {
        let mut command = command(&[
            &"eval",
            &"--run",
            &run,
            &"--data",
            &"sample",
            &"--limit-test",
            &"10",
        ]);
        command.args(options).assert().success()
    };
    eval(&["--temperature"])
        .stderr(contains("20 validation images are too few").and(contains("--force keeps it")))
        .stdout(contains("not kept"));
    let mut tempered = command(&[&"predict", &"--run", &run, &image, &"--temperature"]);
    refuses(&mut tempered, &["none was fitted"]);
    eval(&["--temperature", "--force"]).stdout(contains("; kept for `predict"));
    tempered.assert().success();
}

#[test]
fn an_adapter_of_another_program_is_doubted_aloud() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, &["--method", "lora"]);
    let adapter = run.join("adapter");
    let mut foreign = Adapter::load_peft(&adapter).unwrap();
    (foreign.backbone_sha256, foreign.base_name) = (String::new(), "timm/resnet18".into());
    foreign.save_peft(&adapter).unwrap();
    let image = directory.path().join("image.png");
    picture(&image, 90);
    let predict = || {
        command(&[&"predict", &"--run", &run, &image])
            .assert()
            .success()
    };
    predict().stderr(
        contains("WARNING")
            .and(contains("`timm/resnet18`"))
            .and(contains("--backbone")),
    );
    foreign.base_name = "embedded".into();
    foreign.save_peft(&adapter).unwrap();
    predict().stderr(contains("WARNING").not());
}

#[test]
fn the_members_of_an_ensemble_know_their_backbone() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    train(&run, &["--method", "ensemble", "--members", "2"]);
    let other = directory.path().join("other.safetensors");
    let mut file = TensorFile::read(EMBEDDED).unwrap();
    file.tensors.get_mut("conv1.weight").unwrap().data[0] += 1.0;
    file.write_atomic(&other).unwrap();
    let image = directory.path().join("image.png");
    picture(&image, 90);
    let mut predict = command(&[&"predict", &"--run", &run, &"--backbone", &other, &image]);
    refuses(
        &mut predict,
        &["SHA-256", "give the backbone of the run with --backbone"],
    );
    let mut eval = command(&[
        &"eval",
        &"--run",
        &run,
        &"--backbone",
        &other,
        &"--data",
        &"sample",
    ]);
    refuses(&mut eval, &["SHA-256"]);
}

#[test]
fn mistyped_names_are_told_the_nearest() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let config = directory.path().join("options.toml");
    fs::write(&config, "data = \"sample\"\nepoch = 3\n").unwrap();
    let mut train = command(&[&"train", &"--config", &config, &"--out", &run]);
    refuses(
        &mut train,
        &[
            "options.toml",
            "no option `epoch`",
            "the nearest is `epochs`",
        ],
    );
    let line = ["train", "--data", "sample", "--hold-out-classes", "airplan"];
    let mut train = bayeslora();
    train.args(line).arg("--out").arg(&run);
    refuses(
        &mut train,
        &[
            "--hold-out-classes",
            "no class airplan among",
            "the nearest is airplane",
        ],
    );
    assert!(!run.exists());
}

#[test]
fn the_system_is_quoted_once_and_the_file_named() {
    let directory = tempfile::tempdir().unwrap();
    let (run, gone) = (directory.path().join("run"), directory.path().join("gone"));
    fs::create_dir_all(gone.join("model.safetensors")).unwrap();
    let mut train = command(&[
        &"train",
        &"--data",
        &"sample",
        &"--backbone",
        &gone,
        &"--out",
        &run,
    ]);
    refuses(
        &mut train,
        &[
            "--backbone",
            "cannot read",
            "a directory, expected a regular file",
        ],
    );
    let mut report = command(&[&"report", &gone]);
    refuses(
        &mut report,
        &[
            "results.json",
            "No such file or directory",
            "bayeslora reproduce",
        ],
    );
    let mut score = command(&[
        &"score",
        &"--probs",
        &gone.join("p.npy"),
        &"--labels",
        &gone.join("l.npy"),
    ]);
    refuses(&mut score, &["p.npy", "No such file or directory"]);
    fs::write(gone.join("results.json"), "{\"study\": 1, \"rows\": []}").unwrap();
    refuses(&mut report, &["results.json", "invalid type: integer `1`"]);
    #[cfg(unix)]
    refuses(
        &mut command(&[&"train", &"--config", &"/dev/zero", &"--out", &run]),
        &["--config", "a device, expected a regular file"],
    );
    let config = directory.path().join("deep.toml");
    fs::write(&config, format!("seed = {}", "[".repeat(50_000))).unwrap();
    let mut train = command(&[&"train", &"--config", &config, &"--out", &run]);
    refuses(&mut train, &["--config", "deep.toml"]);
    // What is quoted of a line is short.
    let said = train.output().unwrap().stderr;
    assert!(said.len() < 600, "{} bytes", said.len());
    let mut report = command(&[&"report", &gone.join("results.json")]);
    refuses(
        &mut report,
        &["is a file, expected the directory of a study"],
    );
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt as _;

    let odd = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0xff);
        OsStr::from_bytes(&bytes).to_owned()
    };
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(odd(name));
    let (data, backbone, run) = (place("data"), place("backbone"), place("run"));
    for class in ["one", "two"] {
        fs::create_dir_all(data.join(class)).unwrap();
        for number in 0..20 {
            picture(&data.join(class).join(format!("{number}.png")), 10 * number);
        }
    }
    fs::copy(EMBEDDED, &backbone).unwrap();
    let config = place("config");
    fs::write(&config, "seed = 3\n").unwrap();
    let mut train = bayeslora();
    train
        .args(TINY)
        .arg("--data")
        .arg(&data)
        .arg("--backbone")
        .arg(&backbone);
    train.arg("--config").arg(&config).arg("--out").arg(&run);
    train.assert().success();

    // The run finds its backbone and its images again by what it has kept.
    let picture = place("one");
    fs::copy(data.join("one/0.png"), &picture).unwrap();
    let predict = command(&[
        &"predict",
        &"--run",
        &run,
        &"--json",
        &data.join("one/0.png"),
    ])
    .assert()
    .success()
    .get_output()
    .clone();
    let answer: Value = serde_json::from_slice(&predict.stdout).unwrap();
    assert!(answer["images"][0]["image"]["Unix"].is_array(), "{answer}");
    command(&[&"eval", &"--run", &run, &"--data", &data])
        .assert()
        .success();
    command(&[&"prune", &"--run", &run, &"--json", &"--threshold", &"-9"])
        .assert()
        .success();
    let resumed = [
        &"train" as &dyn AsRef<OsStr>,
        &"--resume",
        &"--out",
        &run,
        &"--data",
        &data,
    ];
    command(&resumed).assert().success();
    let mut other = command(&resumed[..4]);
    other
        .arg("--data")
        .arg(place("elsewhere"))
        .assert()
        .code(2)
        .stderr(contains("no such directory"));
}

#[cfg(unix)]
#[test]
fn names_do_not_command_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("\u{1b}[2Jred\u{202e}");
    let run = directory.path().join("run");
    for (line, says) in [
        (
            ["train", "--data", "sample", "--backbone"],
            "does not exist",
        ),
        (
            ["train", "--backbone", "embedded", "--data"],
            "no such directory",
        ),
    ] {
        let mut command = bayeslora();
        command.args(line).arg(&odd).arg("--out").arg(&run);
        refuses(&mut command, &[says]);
        let output = command.output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains("\\u{1b}[2Jred\\u{202e}") && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
