//! A run knows its data: what becomes of it when images, classes, places or the backbone change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{bayeslora, copy};

const OPTIONS: &str = "--rank 2 --targets layer4.1 --resolution 32 --epochs 1 --batch-size 8 \
                       --validation 0.2 --augment none";
const CLASSES: [&str; 3] = ["ant", "bee", "cat"];
/// Of each class.
const IMAGES: usize = 20;

/// A picture that no other number has.
fn picture(path: &Path, number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Squares of colours of their own: no two pictures are alike from afar.
    let mut rng = Pcg64::seed_from_u64(number as u64);
    let squares: Vec<[u8; 3]> = (0..64).map(|_| rng.random()).collect();
    image::RgbImage::from_fn(24, 24, |x, y| {
        image::Rgb(squares[(y / 3 * 8 + x / 3) as usize])
    })
    .save(path)
    .unwrap();
}

/// A folder without parts.
fn photos(root: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..IMAGES {
            picture(
                &root.join(name).join(format!("{i:02}.png")),
                class * IMAGES + i,
            );
        }
    }
}

fn train(data: &Path, run: &Path, options: &str) -> Command {
    let (data, run) = (data.display(), run.display());
    bayeslora(&format!(
        "train --data {data} --out {run} {OPTIONS} {options}"
    ))
}

/// `photos` and a `run` that was trained on them.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    photos(&dir.path().join("photos"));
    let (data, run) = (dir.path().join("photos"), dir.path().join("run"));
    train(&data, &run, "").assert().success();
    dir
});

struct Copy {
    _dir: TempDir,
    /// The photos, in another place than where the run found them.
    data: PathBuf,
    run: PathBuf,
}

fn copied() -> Copy {
    let dir = tempfile::tempdir().unwrap();
    copy(TRAINED.path(), dir.path());
    Copy {
        data: dir.path().join("photos"),
        run: dir.path().join("run"),
        _dir: dir,
    }
}

impl Copy {
    /// A command on the run.
    fn on(&self, line: &str) -> Command {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let run = self.run.display();
        match name {
            "resume" => bayeslora(&format!("train --resume --out {run} {rest}")),
            _ => bayeslora(&format!("{name} --run {run} {rest}")),
        }
    }

    /// A command on the run with its images where they are now.
    fn at_data(&self, line: &str) -> Command {
        let mut command = self.on(line);
        command.arg("--data").arg(&self.data);
        command
    }

    fn image(&self, part: &str, place: usize) -> PathBuf {
        self.data.join(self.recorded(part)[place].clone())
    }

    /// Paths of a part's images as the run has recorded them.
    fn recorded(&self, part: &str) -> Vec<String> {
        let data = bayeslora::low_level::formats::RunDir::open(&self.run)
            .unwrap()
            .read_data();
        let data = data.unwrap().unwrap();
        let part = match part {
            "train" => data.train,
            "validation" => data.validation,
            "test" => data.test,
            _ => unreachable!(),
        };
        match part {
            bayeslora::low_level::formats::ManifestImages::Files(files) => {
                files.into_iter().map(|file| file.path).collect()
            }
            _ => panic!("a folder has files"),
        }
    }
}

/// Commands that are about the run's own images, as lines for [`Copy::on`].
const OWN: [&str; 5] = [
    "resume",
    "tune --kl-multiplicity unit",
    "laplace --structure last-layer-kron",
    "eval --samples 0 --temperature",
    "prune --threshold 9 --dry-run",
];

#[track_caller]
fn refuses(command: &mut Command, parts: &[&str]) {
    let mut assert = command.assert().code(2);
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
}

#[track_caller]
fn json(command: &mut Command) -> Value {
    let output = command
        .arg("--json")
        .assert()
        .success()
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[track_caller]
fn first_line(command: &mut Command) -> String {
    let output = command.assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[test]
fn eval_says_what_it_scores_and_how_many_of_how_many() {
    let run = copied();
    let tested = run.recorded("test").len();
    let all = 3 * IMAGES;
    // The run's own folder, asked for or not: what was held out.
    let own = TRAINED.path().join("photos").display().to_string();
    let line = first_line(&mut run.on("eval --samples 0"));
    assert_eq!(
        line,
        format!("scoring {tested} images held out, of {all} in {own}")
    );
    let report = json(&mut run.at_data("eval --samples 0"));
    assert_eq!(
        (&report["n"], &report["scored_on"]["of"]),
        (&tested.into(), &all.into())
    );
    assert_eq!(report["scored_on"]["part"], "held-out");
    // As `train` has scored it.
    let results = fs::read_to_string(run.run.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let nll = |report: &Value| report["nll"].as_f64().unwrap();
    // But for the features that training keeps in f16.
    assert!((nll(&results["mean"]) - nll(&report)).abs() < 1e-3);

    // Another folder without parts: all of it, and a subset of the classes by name.
    let other = run.data.with_file_name("other");
    for i in 0..6 {
        picture(&other.join("cat").join(format!("{i}.png")), 100 + i);
    }
    let line = first_line(run.on("eval --samples 0").arg("--data").arg(&other));
    assert_eq!(line, format!("scoring all 6 images in {}", other.display()));
    let text = run
        .on("eval --samples 0")
        .arg("--data")
        .arg(&other)
        .assert()
        .success();
    text.stdout(contains("│ cat ").and(contains("│ ant ").not()));

    // A set with a test part.
    let divided = run.data.with_file_name("divided");
    for i in 0..5 {
        picture(&divided.join("test/bee").join(format!("{i}.png")), 200 + i);
    }
    let report = json(run.on("eval --samples 0").arg("--data").arg(&divided));
    assert_eq!(
        (&report["n"], &report["scored_on"]["part"]),
        (&5.into(), &"test".into())
    );
}

#[test]
fn trained_images_are_never_scored_whatever_comes_and_goes() {
    let run = copied();
    let tested = run.recorded("test").len();
    let seen: Vec<_> = ["train", "validation"]
        .iter()
        .flat_map(|part| run.recorded(part))
        .collect();
    // Half of the training images go, which would draw every share anew; a test image goes; copies come.
    for path in &seen[..seen.len() / 3] {
        fs::remove_file(run.data.join(path)).unwrap();
    }
    fs::remove_file(run.image("test", 0)).unwrap();
    for (i, path) in seen.iter().rev().take(9).enumerate() {
        let copy = run.data.join(format!("bee/copy{i}.png"));
        fs::copy(run.data.join(path), copy).unwrap();
    }
    let report = json(&mut run.at_data("eval --samples 0"));
    assert_eq!(report["scored_on"]["part"], "held-out");
    assert_eq!(report["n"], tested - 1);
    let gone = seen.len() / 3;
    let said = &report["scored_on"];
    assert_eq!(
        (&said["gone"], &said["gone_seen"]),
        (&1.into(), &gone.into())
    );
    let line = first_line(&mut run.at_data("eval --samples 0"));
    assert!(
        line.ends_with(&format!(
            "removed or changed since the run was made: 1 of its test images and {gone} that it was trained on or chosen by"
        )),
        "{line}"
    );
    // The same copies in a folder of their own.
    let other = run.data.with_file_name("other");
    for (i, path) in seen.iter().rev().take(9).enumerate() {
        fs::create_dir_all(other.join("bee")).unwrap();
        fs::copy(run.data.join(path), other.join(format!("bee/copy{i}.png"))).unwrap();
    }
    refuses(
        run.on("eval --samples 0").arg("--data").arg(&other),
        &["no image is left to score", "9 of its 9"],
    );
    picture(&other.join("bee/new.png"), 99);
    let report = json(run.on("eval --samples 0").arg("--data").arg(&other));
    assert_eq!(
        (&report["n"], &report["scored_on"]["seen"]),
        (&1.into(), &9.into())
    );
}

#[test]
fn other_classes_are_refused_side_by_side_wherever_the_runs_images_are_needed() {
    let run = copied();
    fs::rename(run.data.join("cat"), run.data.join("kitten")).unwrap();
    for line in OWN {
        let mut command = run.at_data(line);
        // Where the test set is another one, the run's own has an option of its own.
        if line.starts_with("eval") || line.starts_with("laplace") {
            command = run.on(line);
            command.arg("--run-data").arg(&run.data);
        }
        refuses(&mut command, &["run  now\n  cat  kitten"]);
    }
    fs::rename(run.data.join("kitten"), run.data.join("cat")).unwrap();
    picture(&run.data.join("eel/0.png"), 300);
    refuses(&mut run.at_data("resume"), &["-    eel"]);
    fs::remove_dir_all(run.data.join("eel")).unwrap();
    fs::remove_dir_all(run.data.join("bee")).unwrap();
    refuses(&mut run.at_data("resume"), &["bee  -"]);
}

#[test]
fn changed_images_stop_what_trains_on_them_unless_told() {
    let run = copied();
    fs::remove_file(run.image("train", 1)).unwrap();
    picture(&run.image("train", 2), 400);
    picture(&run.data.join("ant/new.png"), 401);
    let gone = run.recorded("train")[1].clone();
    let says = format!("1 removed ({gone}), 1 changed (");
    let parts = [&*says, "1 added (ant/new.png)", "--with-changed-data"];
    let laplace = "laplace --structure last-layer-kron --images 20";
    for line in ["resume", "tune --kl-multiplicity unit", laplace] {
        refuses(&mut run.at_data(line), &parts);
    }
    // Told to, each goes on with what is there: the split is as it was.
    let left = run.recorded("train").len() - 2;
    let report = json(&mut run.at_data(&format!("{laplace} --with-changed-data")));
    assert_eq!(report["train_images"], left);
    let validation = run.recorded("validation").len();
    run.at_data("resume --with-changed-data")
        .assert()
        .success()
        .stderr(contains(says).and(contains("those that were added are left out")))
        .stdout(contains(format!(
            "{left} training, {validation} validation"
        )));
    let report = json(&mut run.at_data("tune --kl-multiplicity unit --with-changed-data"));
    assert_eq!(report["validation_images"], validation);

    // What asks about held-out images alone does not mind, until one of these is gone.
    let held_out = |report: &Value| report["held_out"]["images"].clone();
    let prune = "prune --threshold 9 --dry-run";
    assert_eq!(held_out(&json(&mut run.at_data(prune))), validation);
    fs::remove_file(run.image("validation", 0)).unwrap();
    run.at_data(prune)
        .assert()
        .success()
        .stderr(contains("1 removed ("));
    assert_eq!(held_out(&json(&mut run.at_data(prune))), validation - 1);
    let fitted = json(&mut run.at_data("eval --samples 0 --temperature"));
    assert_eq!(fitted["temperature"]["images"], validation - 1);
    for path in &run.recorded("validation")[1..] {
        fs::remove_file(run.data.join(path)).unwrap();
    }
    refuses(
        &mut run.at_data(prune),
        &["none of the", "validation images"],
    );
}

#[test]
fn classes_are_matched_by_name() {
    let run = copied();
    let other = run.data.with_file_name("other");
    for i in 0..4 {
        picture(&other.join("test/yak").join(format!("{i}.png")), 500 + i);
        picture(&other.join("test/ant").join(format!("{i}.png")), 600 + i);
    }
    let eval = |options: &str| {
        let mut command = run.on(&format!("eval --samples 0 {options}"));
        command.arg("--data").arg(&other);
        command
    };
    refuses(
        &mut eval(""),
        &["does not know this class (yak)", "--ignore-unknown-classes"],
    );
    let report = json(&mut eval("--ignore-unknown-classes"));
    assert_eq!(
        (&report["n"], &report["scored_on"]["of_other_classes"]),
        (&4.into(), &4.into())
    );
    let line = first_line(&mut eval("--ignore-unknown-classes"));
    assert!(line.contains("that the run does not know (yak)"), "{line}");
    // As many names as the run has are no better for being as many.
    picture(&other.join("test/zebra/0.png"), 700);
    refuses(&mut eval(""), &["these 2 classes (yak, zebra)"]);
    // Numbers are no names, and are taken as such where there are as many.
    let numbered = run.data.with_file_name("numbered");
    for class in 0..3 {
        picture(&numbered.join(format!("test/{class}/0.png")), 800 + class);
    }
    let line = first_line(run.on("eval --samples 0").arg("--data").arg(&numbered));
    assert!(
        line.ends_with("classes are matched by their number"),
        "{line}"
    );
    fs::remove_dir_all(numbered.join("test/2")).unwrap();
    refuses(
        run.on("eval --samples 0").arg("--data").arg(&numbered),
        &["(0, 1)"],
    );
}

#[test]
fn a_run_without_some_classes_is_scored_on_its_own_data() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let data = TRAINED.path().join("photos");
    train(&data, &run, "--hold-out-classes bee")
        .assert()
        .success();
    let run = Copy {
        data,
        run,
        _dir: dir,
    };
    let tested = run.recorded("test").len();
    let report = json(&mut run.on("eval --samples 0"));
    assert_eq!(
        (&report["n"], &report["scored_on"]["held_out_classes"][0]),
        (&tested.into(), &"bee".into())
    );
    assert_eq!(report["scored_on"]["of_other_classes"], IMAGES);
    run.on("resume").assert().success();
}

#[test]
fn images_that_moved_are_known_by_their_content() {
    let run = copied();
    // The place that the run knows is gone.
    let config = |run: &Copy| fs::read_to_string(run.run.join("config.toml")).unwrap();
    let recorded = bayeslora::low_level::formats::RunDir::open(&run.run).unwrap();
    let before = recorded.read_config().unwrap();
    let old = TRAINED.path().join("photos").display().to_string();
    assert!(before.contains(&old), "absolute");
    let gone = run.data.with_file_name("gone").display().to_string();
    for line in OWN {
        recorded
            .replace_config(&before.replace(&old, &gone))
            .unwrap();
        refuses(&mut run.on(line), &["gone", "--data"]);
        run.at_data(line).assert().success();
    }
    // A run that went on there knows the new place.
    run.at_data("resume").assert().success();
    assert!(config(&run).contains(&run.data.display().to_string()));
    run.on("eval --samples 0").assert().success();
    // With another test set the run's own images have an option.
    let other = run.data.with_file_name("other");
    for i in 0..4 {
        picture(&other.join("cat").join(format!("{i}.png")), 900 + i);
    }
    recorded
        .replace_config(&before.replace(&old, &gone))
        .unwrap();
    let temperature = || {
        let mut command = run.on("eval --samples 0 --temperature");
        command.arg("--data").arg(&other);
        command
    };
    refuses(&mut temperature(), &["--temperature", "gone"]);
    let report = json(temperature().arg("--run-data").arg(&run.data));
    assert_eq!(
        (&report["n"], &report["temperature"]["images"]),
        (&4.into(), &run.recorded("validation").len().into())
    );
    // Another set is not the run's, though its classes are called the same.
    let strangers = run.data.with_file_name("strangers");
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..4 {
            picture(
                &strangers.join(name).join(format!("{i}.png")),
                1000 + 10 * class + i,
            );
        }
    }
    let mut resume = run.on("resume");
    refuses(
        resume.arg("--data").arg(&strangers),
        &["removed (", "added ("],
    );
    refuses(&mut run.on("resume --data sample"), &["found arrays"]);
}

#[test]
fn a_backbone_that_moved_is_known_by_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = fs::read("assets/resnet18-cifar100-tin200-64px.safetensors").unwrap();
    let [here, there, other] = ["here", "there", "other"].map(|name| dir.path().join(name));
    fs::write(&here, &embedded).unwrap();
    let run = Copy {
        run: dir.path().join("run"),
        data: TRAINED.path().join("photos"),
        _dir: dir,
    };
    train(
        &run.data,
        &run.run,
        &format!("--backbone {}", here.display()),
    )
    .assert()
    .success();
    fs::rename(&here, &there).unwrap();
    let mut changed = embedded;
    // The sign of the last weight.
    *changed.last_mut().unwrap() ^= 0x80;
    fs::write(&other, changed).unwrap();
    for line in OWN {
        refuses(&mut run.on(line), &["here"]);
        refuses(
            run.on(line).arg("--backbone").arg(&other),
            &["--backbone", "other", "SHA-256"],
        );
    }
    for line in [
        "eval --samples 0",
        "prune --threshold 9 --dry-run",
        "resume",
    ] {
        run.on(line)
            .arg("--backbone")
            .arg(&there)
            .assert()
            .success();
    }
    // The embedded one has the same weights, and the run now knows where they are.
    run.on("eval --samples 0 --backbone embedded")
        .assert()
        .success();
    run.on("eval --samples 0").assert().success();
}

#[test]
fn a_run_that_has_recorded_nothing_is_refused_where_that_matters() {
    let run = copied();
    fs::remove_file(run.run.join("data.json.gz")).unwrap();
    for line in OWN {
        refuses(&mut run.at_data(line), &[]);
    }
    for line in ["resume", "prune --threshold 9", "tune"] {
        refuses(
            &mut run.at_data(line),
            &["data.json.gz is not there", "train it again"],
        );
    }
    refuses(
        &mut run.on("eval --samples 0"),
        &["does not say which images", "test/CLASS/*"],
    );
    let divided = run.data.with_file_name("divided");
    fs::create_dir(&divided).unwrap();
    fs::rename(&run.data, divided.join("test")).unwrap();
    run.on("eval --samples 0")
        .arg("--data")
        .arg(&divided)
        .assert()
        .success()
        .stderr(contains("warning").and(contains("nothing says which images it was trained on")));
}

#[test]
fn a_damaged_record_is_named() {
    let run = copied();
    let path = run.run.join("data.json.gz");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    for line in OWN {
        refuses(&mut run.at_data(line), &["data.json.gz"]);
    }
}

#[test]
fn copies_of_training_images_are_left_out_of_test_and_validation() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("photos");
    for (class, name) in ["ant", "bee"].iter().enumerate() {
        for i in 0..10 {
            picture(&data.join(format!("train/{name}/{i}.png")), 10 * class + i);
        }
        for i in 0..4 {
            picture(
                &data.join(format!("test/{name}/{i}.png")),
                50 + 10 * class + i,
            );
        }
    }
    fs::copy(data.join("train/ant/3.png"), data.join("test/ant/copy.png")).unwrap();
    // Relative, and absolute from then on.
    let mut command = train(Path::new("photos"), &dir.path().join("run"), "");
    command
        .current_dir(dir.path())
        .assert()
        .success()
        .stderr(contains(
            "1 of 9 test images are exact copies of training images",
        ))
        .stdout(contains("16 training, 4 validation, 8 test images"));
    let config = fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(config.contains(&data.display().to_string()), "{config}");
    fs::remove_dir_all(data.join("test")).unwrap();
    copy(&data.join("train"), &data.join("test"));
    refuses(
        &mut train(&data, &dir.path().join("other"), ""),
        &["every one of the 20 test images is an exact copy"],
    );
}

#[test]
fn every_member_and_every_value_of_a_sweep_knows_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let data = TRAINED.path().join("photos");
    train(&data, &run, "--method ensemble --members 2")
        .assert()
        .success();
    let whole = fs::read(run.join("data.json.gz")).unwrap();
    assert!(fs::read(run.join("members/2/data.json.gz")).unwrap() == whole);
    let sweep = copied();
    json(&mut sweep.on("tune --kl-multiplicity unit"));
    let one = Copy {
        run: sweep.run.join("tune/unit"),
        data,
        _dir: dir,
    };
    assert_eq!(one.recorded("test"), sweep.recorded("test"));
    assert_eq!(one.recorded("train"), sweep.recorded("train"));
    let report = json(&mut one.on("eval --samples 0"));
    assert_eq!(report["n"], sweep.recorded("test").len());
}

/// A picture saved again, a little smaller: another file, and the same to the eye.
fn again(from: &Path, to: &Path) {
    let picture = image::open(from).unwrap();
    let smaller = picture.resize_exact(22, 22, image::imageops::FilterType::Triangle);
    smaller.to_rgb8().save(to).unwrap();
}

#[test]
fn near_copies_of_training_images_are_told_of_wherever_they_are_scored() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("photos");
    for (class, name) in ["ant", "bee"].iter().enumerate() {
        for i in 0..6 {
            let number = 10 * class + i;
            picture(&data.join(format!("train/{name}/{i}.png")), number);
            picture(&data.join(format!("test/{name}/{i}.png")), 50 + number);
        }
    }
    again(
        &data.join("train/ant/0.png"),
        &data.join("test/ant/again.jpg"),
    );
    let run = dir.path().join("run");
    train(&data, &run, "")
        .assert()
        .success()
        .stderr(contains(
            "1 of 13 test images nearly repeat training images",
        ))
        .stderr(contains("scores are too good"));
    // On the page that the training has left, too.
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("1 of 13 scored images nearly repeat"));
    let eval = |options: &str| {
        let run = run.display();
        bayeslora(&format!("eval --samples 0 --run {run} {options}"))
    };
    eval("")
        .assert()
        .success()
        .stderr(contains("1 of 13 scored images nearly repeat"));
    assert_eq!(json(&mut eval(""))["scored_on"]["near_copies"], 1);
}

#[test]
fn a_test_part_that_the_program_chooses_has_no_near_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (dir.path().join("photos"), dir.path().join("run"));
    photos(&data);
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..IMAGES {
            let from = data.join(name).join(format!("{i:02}.png"));
            // Not of all, or nothing would be left to test on.
            if (class + i) % 3 == 0 {
                again(&from, &data.join(name).join(format!("{i:02}-again.jpg")));
            }
        }
    }
    let output = train(&data, &run, "").assert().success();
    let output = output.get_output().clone();
    let told = String::from_utf8(output.stderr).unwrap();
    for part in [
        "stays on one side of the",
        "nearly repeat training images: they are left out",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = String::from_utf8(output.stdout).unwrap();
    let line = told.lines().find(|line| line.starts_with("mean weights"));
    let accuracy: f64 = line
        .unwrap()
        .split_whitespace()
        .nth(2)
        .unwrap()
        .parse()
        .unwrap();
    let on = |name: &str| {
        let run = run.display();
        bayeslora(&format!("{name} --run {run} --samples 0"))
    };
    // The same images afterwards.
    let scores = json(&mut on("eval"));
    assert!((scores["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-4);
    let images = format!(" {} test images", scores["n"]);
    assert!(told.contains(&images), "{told}");
    assert_eq!(scores["scored_on"]["near_copies"], 0);
    on("report").assert().success();
    bayeslora("train --resume --out")
        .arg(&run)
        .assert()
        .success();
}

/// A class that was renamed is no unknown one.
#[test]
fn images_that_a_run_was_trained_on_are_not_unfamiliar_under_another_name() {
    let run = copied();
    let others = run.data.with_file_name("others");
    copy(&run.data.join("ant"), &others.join("Ant"));
    picture(&others.join("dog/0.png"), 999);
    let mut command = run.at_data("eval --samples 0 --json");
    let assert = command.arg("--unfamiliar").arg(&others).assert().success();
    let output = assert.get_output();
    let ants = |part: &str| {
        let paths = run.recorded(part);
        paths.iter().filter(|path| path.starts_with("ant/")).count()
    };
    let own = ants("train") + ants("validation");
    assert!(own > 0 && own < IMAGES);
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = format!("{own} of {} images are the run's own", IMAGES + 1);
    assert!(said.contains(&expected), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["unfamiliar"]["images"], IMAGES + 1 - own);
}

#[test]
fn a_folder_is_all_that_training_needs() {
    let dir = tempfile::tempdir().unwrap();
    photos(&dir.path().join("photos"));
    // Only to be quick.
    let quick = "--rank 2 --targets layer4.1 --resolution 32";
    let train = |place: &Path, data: &str, options: &str| {
        let mut command = bayeslora(&format!("train --data {data} {quick} {options}"));
        command.current_dir(place);
        command
    };
    train(dir.path(), "photos/", "")
        .assert()
        .success()
        .stdout(contains("the run in runs/photos (--out); 40 epochs for "));
    let run = dir.path().join("runs/photos");
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("epochs = 40"), "{config}");
    assert!(run.join("report.html").exists());
    train(dir.path(), "photos", "--epochs 1")
        .assert()
        .success()
        .stdout(contains("runs/photos-2").and(contains("epochs for").not()))
        .stderr(contains("not come to its end").not());
    // As after a kill.
    fs::remove_file(dir.path().join("runs/photos-2/results.json")).unwrap();
    train(dir.path(), "photos", "--epochs 1")
        .assert()
        .success()
        .stdout(contains("runs/photos-3"))
        .stderr(
            contains("train --resume --out runs/photos-2").and(contains("not come to its end")),
        );
    let among = train(&dir.path().join("photos/ant"), "..", "").assert();
    among
        .code(2)
        .stderr(contains("--out").and(contains("among the images")));
    assert!(!dir.path().join("photos/ant/runs").exists());
}
