//! `predict --out`: answers in a file, which is gone on with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use predicates::str::contains;
use serde_json::Value;

use crate::commands::{json, on, picture, refuses, run};

/// Five pictures, and a file that is none.
fn folder(at: &Path) -> PathBuf {
    let folder = at.join("photos");
    fs::create_dir(&folder).unwrap();
    for number in 0..5 {
        picture(&folder.join(format!("{number}.png")), 30 + number, 40);
    }
    fs::write(folder.join("broken.png"), "none").unwrap();
    folder
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_was_stopped_is_gone_on_with() {
    let (dir, run) = run();
    let photos = folder(dir.path());
    let to = |file: &Path, options: &str| {
        let mut command = on(&run, &format!("predict --samples 2 {options}"));
        command.arg(&photos).arg("--out").arg(file);
        command
    };
    for (name, part, damaged) in [
        ("answers.csv", "3.png,", "3.png"),
        ("answers.jsonl", "3.png\"", "3.png"),
    ] {
        let file = dir.path().join(name);
        refuses(&mut to(&file, ""), &["broken.png", "--skip-bad-images"]);
        let good = "--skip-bad-images";
        to(&file, good)
            .assert()
            .success()
            .stdout(contains("0 images answered and 5 before"));
        let whole = fs::read(&file).unwrap();

        // Killed in the middle of a line, and of a number that would do as it is.
        for cut in [1, 3, 30] {
            fs::write(&file, &whole[..whole.len() - cut]).unwrap();
            let summary = json(&mut to(&file, &format!("{good} --json")));
            assert_eq!(summary["answered"], 1);
            assert_eq!(summary["answered_before"], 4);
            assert_eq!(summary["skipped"].as_array().unwrap().len(), 1);
            assert_eq!(fs::read(&file).unwrap(), whole, "{name}, {cut}");
        }
        // With a picture more.
        let more = photos.join("more.png");
        picture(&more, 50, 50);
        to(&file, good)
            .assert()
            .success()
            .stdout(contains("1 images answered and 5"));
        assert_eq!(lines(&file).len(), lines_of(&whole) + 1);
        fs::remove_file(more).unwrap();

        // Without what says which answers they are.
        let beside = dir.path().join(format!("{name}.json"));
        let kept = fs::read(&beside).unwrap();
        fs::remove_file(&beside).unwrap();
        refuses(
            &mut to(&file, good),
            &["does not; put that back", "to answer all images again"],
        );
        fs::write(&beside, kept).unwrap();

        // Other answers do not go into it, nor do these into another file.
        refuses(
            &mut to(&file, "--skip-bad-images --seed 2"),
            &["--out", "remove both"],
        );
        let text = String::from_utf8(whole.clone()).unwrap();
        let damaged = text.replacen(part, damaged, 1);
        fs::write(&file, damaged).unwrap();
        refuses(&mut to(&file, good), &["line", "damaged"]);
    }
    let taken = dir.path().join("mine.csv");
    fs::write(&taken, "of somebody else").unwrap();
    refuses(&mut to(&taken, ""), &["mine.csv.json", "name another file"]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "of somebody else");
    refuses(
        &mut to(&dir.path().join("a.txt"), ""),
        &[".csv", ".jsonl", "--probs-out"],
    );
    refuses(
        &mut to(&dir.path().join("a.csv"), "--top 2"),
        &["--top", ".jsonl"],
    );
}

#[test]
fn pictures_that_are_no_longer_what_was_answered_are_not_taken_for_it() {
    let (dir, run) = run();
    let photos = folder(dir.path());
    fs::remove_file(photos.join("broken.png")).unwrap();
    let file = dir.path().join("answers.csv");
    let from = |place: &Path, options: &str| {
        let mut command = on(&run, &format!("predict --samples 0 {options}"));
        command
            .current_dir(place)
            .arg("0.png")
            .arg("--out")
            .arg(&file);
        command
    };
    from(&photos, "").assert().success();
    // Another picture of that name elsewhere, and in its place.
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    picture(&other.join("0.png"), 20, 60);
    refuses(&mut from(&other, ""), &["--out", "from this directory"]);
    from(&photos, "")
        .assert()
        .success()
        .stdout(contains("0 images answered and 1"));
    let later = SystemTime::now() + Duration::from_secs(5);
    let changed = fs::File::options()
        .write(true)
        .open(photos.join("0.png"))
        .unwrap();
    changed.set_modified(later).unwrap();
    refuses(
        &mut from(&photos, ""),
        &["0.png", "has changed", "answers.csv.json"],
    );

    // Names that a table would not keep apart.
    fs::rename(photos.join("1.png"), photos.join("1\n.png")).unwrap();
    let mut all = on(&run, "predict --samples 0");
    all.arg(&photos)
        .arg("--out")
        .arg(dir.path().join("all.csv"));
    refuses(&mut all, &["table", ".jsonl"]);
}

fn lines_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn answers_are_those_without_a_file_and_parts_make_up_the_whole() {
    let (dir, run) = run();
    let photos = folder(dir.path());
    fs::remove_file(photos.join("broken.png")).unwrap();
    let ask = |options: &str| {
        let mut command = on(&run, &format!("predict --samples 2 {options}"));
        command.arg(&photos);
        command
    };
    let mut expected = json(&mut ask("--json"))["images"]
        .as_array()
        .unwrap()
        .clone();
    // It takes a sample more, and is left out where there may be many images.
    for answer in &mut expected {
        answer.as_object_mut().unwrap().remove("covariance_trace");
    }
    let to = |name: &str, options: &str| {
        let file = dir.path().join(name);
        ask(options).arg("--out").arg(&file).assert().success();
        lines(&file)
    };
    let parsed = |lines: &[String]| -> Vec<Value> {
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(parsed(&to("all.jsonl", "")), expected);
    let top = parsed(&to("top.jsonl", "--top 1"));
    assert!(
        top.iter()
            .all(|answer| answer["classes"].as_array().unwrap().len() == 1)
    );

    let table = to("all.csv", "");
    assert!(table[0].starts_with("image,class,probability,std,entropy,mutual_information"));
    for (line, answer) in table[1..].iter().zip(&expected) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], answer["image"]);
        assert_eq!(cells[1], answer["classes"][0]["class"]);
        assert_eq!(
            cells[2].parse::<f32>().unwrap() as f64,
            answer["classes"][0]["probability"].as_f64().unwrap() as f32 as f64
        );
    }
    // Joined by `cat`, the first part with the heading.
    let parts = ["1/3", "2/3", "3/3"];
    let mut joined: Vec<String> = parts
        .iter()
        .enumerate()
        .flat_map(|(number, part)| to(&format!("{number}.csv"), &format!("--shard {part}")))
        .collect();
    assert_eq!(joined[0], table[0]);
    joined[1..].sort();
    assert_eq!(joined, table);
    ask("--shard 1/2")
        .assert()
        .failure()
        .stderr(contains("--out"));
}
