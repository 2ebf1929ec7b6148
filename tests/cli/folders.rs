//! Folders of photos as users have them, through the commands.

use std::fs;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::program::bayeslora;

fn picture(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::RgbImage::from_fn(32, 32, |x, y| {
        image::Rgb([shade, (x * 7) as u8, (y * u32::from(shade)) as u8])
    });
    image
        .save_with_format(path, image::ImageFormat::Png)
        .unwrap();
}

const ESCAPE: &str = "\u{1b}[31mred";

/// Two classes with four training and two test images each, one of them called as a terminal must not
/// see it.
fn photos() -> TempDir {
    let dir = tempdir().unwrap();
    for (part, count) in [("train", 4), ("test", 2)] {
        for (class, name) in ["cat", ESCAPE].iter().enumerate() {
            for i in 0..count {
                let path = dir.path().join(part).join(name).join(format!("{i}.png"));
                picture(&path, (100 * class + 10 * i + part.len()) as u8);
            }
        }
    }
    dir
}

fn train(data: &Path, out: &Path) -> Command {
    let mut command = bayeslora(
        "train --epochs 1 --rank 2 --targets layer4.1.conv2 --resolution 32 --validation 0.25 --batch-size 2 \
         --no-tune",
    );
    command.arg("--data").arg(data).arg("--out").arg(out);
    command
}

/// Bytes that would move the cursor or colour the terminal.
fn is_quiet(output: &[u8]) -> bool {
    !String::from_utf8_lossy(output).contains('\u{1b}')
}

/// `report` with no more than the run, which was told to leave damaged images out.
#[test]
fn the_page_of_a_folder_is_of_its_test_images() {
    let dir = photos();
    let out = tempdir().unwrap();
    let run = out.path().join("run");
    fs::write(dir.path().join("test/cat/bad.png"), "no picture").unwrap();
    train(dir.path(), &run)
        .arg("--skip-bad-images")
        .assert()
        .success();
    let reported = bayeslora("report --samples 0 --no-tune --run")
        .arg(&run)
        .assert()
        .success();
    let output = reported.get_output();
    assert!(is_quiet(&output.stdout) && is_quiet(&output.stderr));
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    for text in [
        " of 4 images are classified right",
        "with the mean weights",
        "bad.png, which does not decode",
        "at training, 1 image that did not decode",
        "\\u{1b}[31mred",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains('\u{1b}') && !html.contains("train&#x2f;cat"));
    let wrong = fs::read_to_string(run.join("report-mistakes.csv")).unwrap();
    assert!(wrong.lines().skip(1).all(|line| line.starts_with("test/")));
}

#[test]
fn what_is_left_out_is_said_once_and_names_are_escaped() {
    let dir = photos();
    let out = tempdir().unwrap();
    let run = out.path().join("run");
    for name in ["a.heic", "b.heic", "c.cr2"] {
        fs::write(dir.path().join("train/cat").join(name), "x").unwrap();
    }
    picture(&dir.path().join("val/cat/0.png"), 1);
    let trained = train(dir.path(), &run).assert().success();
    let output = trained.get_output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for note in [
        "3 files are pictures in formats that are not read (heic 2, cr2 1)",
        "val: left out beside a test part",
    ] {
        assert_eq!(said.matches(note).count(), 1, "{said}");
    }
    assert!(
        is_quiet(&output.stdout) && is_quiet(&output.stderr),
        "{said}"
    );

    let evaluated = bayeslora("eval --samples 0 --no-tune --run")
        .arg(&run)
        .arg("--data")
        .arg(dir.path())
        .assert()
        .success()
        .stdout(contains("\\u{1b}[31mred"));
    assert!(is_quiet(&evaluated.get_output().stdout));

    let odd = dir.path().join("test").join(ESCAPE).join("0.png");
    let predicted = bayeslora("predict --samples 0 --no-tune --run")
        .arg(&run)
        .arg(&odd)
        .assert()
        .success()
        .stdout(contains("\\u{1b}[31mred/0.png"));
    assert!(is_quiet(&predicted.get_output().stdout));

    // More files than are in memory at a time get what each gets alone.
    let many = dir.path().join("many");
    for i in 0..1100 {
        picture(&many.join(format!("{i:04}.png")), (i % 50) as u8);
    }
    let answers = |path: &Path| {
        let output = bayeslora("predict --samples 0 --no-tune --json --run")
            .arg(&run)
            .arg(path)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images"].as_array().unwrap().clone()
    };
    let all = answers(&many);
    assert_eq!(all.len(), 1100);
    assert_eq!(all[1075]["classes"], all[25]["classes"]);
    let alone = answers(&many.join("1075.png"));
    for class in 0..2 {
        let probability =
            |answer: &Value| answer["classes"][class]["probability"].as_f64().unwrap();
        assert!((probability(&alone[0]) - probability(&all[1075])).abs() < 1e-5);
    }
    // All bad ones are named, wherever they are.
    for i in [3, 1050] {
        fs::write(many.join(format!("{i:04}.png")), "no picture").unwrap();
    }
    bayeslora("predict --samples 0 --no-tune --run")
        .arg(&run)
        .arg(&many)
        .assert()
        .code(2)
        .stderr(
            contains("2 of 1100 images")
                .and(contains("0003.png"))
                .and(contains("1050.png")),
        );

    #[cfg(unix)]
    {
        let pipe = dir.path().join("pipe.png");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for (path, what) in [
            (pipe.as_path(), "a named pipe"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            bayeslora("predict --samples 0 --no-tune --run")
                .arg(&run)
                .arg(path)
                .timeout(Duration::from_secs(20))
                .assert()
                .code(2)
                .stderr(contains(what));
        }
    }
}

#[test]
fn parts_without_class_folders_are_refused() {
    let dir = tempdir().unwrap();
    for part in ["train", "test"] {
        for i in 0..3 {
            picture(&dir.path().join(part).join(format!("{i}.png")), i);
        }
    }
    let out = tempdir().unwrap();
    train(dir.path(), &out.path().join("run"))
        .assert()
        .code(2)
        .stderr(contains("holds images and no class folders"));
    assert!(!out.path().join("run").exists());
}

/// In a child with two gigabytes of address space, of which the driver takes some.
#[cfg(target_os = "linux")]
#[test]
fn a_header_that_claims_100_gigabytes_is_refused_in_little_memory() {
    let dir = photos();
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::new(22, 22);
    image.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
    let mut bytes = bytes.into_inner();
    bytes[18..22].copy_from_slice(&60_000i32.to_le_bytes());
    bytes[22..26].copy_from_slice(&60_000i32.to_le_bytes());
    fs::write(dir.path().join("train/cat/9.bmp"), bytes).unwrap();
    let out = tempdir().unwrap();
    let limited = format!(
        "ulimit -v 2000000; exec {} train --epochs 1 --resolution 32 --data {} --out {}",
        env!("CARGO_BIN_EXE_bayeslora"),
        dir.path().display(),
        out.path().join("run").display()
    );
    Command::new("sh")
        .args(["-c", &limited])
        .assert()
        .code(2)
        .stderr(contains("60000 x 60000 pixels, the limit is 120 million"));
}

#[test]
fn the_limit_is_in_the_help() {
    for command in ["train", "eval", "predict"] {
        bayeslora(&format!("{command} --help"))
            .assert()
            .success()
            .stdout(contains("120").and(contains("256 MiB")));
    }
}

/// What an adapter was trained on stays left out of scores after training has gone on from it on other images.
#[test]
fn images_of_the_run_before_are_not_scored_and_not_set_aside() {
    let (before, dir) = (photos(), tempdir().unwrap());
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    train(before.path(), &first).assert().success();
    // Others of the same classes.
    let other = dir.path().join("other");
    for (part, shade) in [("train", 3), ("test", 7)] {
        for (class, name) in ["cat", ESCAPE].iter().enumerate() {
            for i in 0..4 {
                let path = other.join(part).join(name).join(format!("{i}.png"));
                picture(&path, 40 * i + 20 * class as u8 + shade);
            }
        }
    }
    let go_on = |data: &Path, out: &Path| {
        let mut command = bayeslora("train --epochs 1 --batch-size 2 --validation 0.25 --no-tune");
        command.arg("--data").arg(data).arg("--out").arg(out);
        command.arg("--from").arg(&first);
        command
    };
    go_on(&other, &second).assert().success();
    let mut eval = bayeslora("eval --json --data");
    eval.arg(before.path().join("train"));
    let scored = eval.arg("--run").arg(&second).output().unwrap();
    let said = String::from_utf8_lossy(&scored.stderr);
    assert_eq!(scored.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the run was trained on 8 of its 8 images"),
        "{said}"
    );
    // One of them among the test images of the next.
    fs::copy(
        before.path().join("train/cat/0.png"),
        other.join("test/cat/copy.png"),
    )
    .unwrap();
    go_on(&other, &dir.path().join("third"))
        .assert()
        .code(2)
        .stderr(contains("1 of the test images"));
}
