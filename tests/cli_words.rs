//! What the command line makes of odd arguments and of files that are something else, and in which words.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
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
        .stderr(contains("--data is"));
}
