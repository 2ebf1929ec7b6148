//! `calibrate`, and what `predict` and `eval` make of it.

use std::fs;
use std::path::Path;

use bayeslora::{Gpu, GpuOptions, OpenOptions, Picture, Session, SessionOptions, open_test_images};
use predicates::prelude::*;
use predicates::str::contains;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::Value;

use crate::commands::{assert_keys, json, on, picture, refuses, run, spread};
use crate::program::bayeslora;
use crate::sealed::change_config;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn what_is_calibrated_serves_predict_and_eval() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // Better than the tiny run, of which nothing can be promised.
    bayeslora(
        "train --data sample --limit-train 400 --limit-test 10 --epochs 3 --rank 2 --targets layer4.1 --resolution 32 \
         --validation 0.25 --no-tune",
    )
    .arg("--out")
    .arg(&path)
    .assert()
    .success();
    let image = dir.path().join("image.png");
    picture(&image, 40, 30);
    let predict = |options: &str| {
        let mut command = on(&path, &format!("predict {options}"));
        command.arg(&image);
        command
    };
    let before = json(&mut predict("--samples 3 --json"));
    assert!(before.get("calibration").is_none());
    assert!(before["images"][0].get("answered").is_none());

    let found = json(&mut on(
        &path,
        "calibrate --max-risk 0.9 --coverage 0.8 --samples 3 --json",
    ));
    assert_keys(
        &found,
        "samples seed risk_control prediction_sets validation",
    );
    let control = &found["risk_control"];
    assert_keys(
        control,
        "max_risk confidence threshold images answered wrong",
    );
    assert_eq!(
        (number(&control["images"]), number(&control["max_risk"])),
        (100.0, 0.9)
    );
    let held = &found["validation"];
    assert_eq!(held["answered"], control["answered"]);
    assert!(number(&held["covered"]) >= 80.0, "{held}");

    let after = json(&mut predict("--samples 3 --json"));
    assert_eq!(after["calibration"]["risk_control"], *control);
    let answer = &after["images"][0];
    let confidence = number(&answer["classes"][0]["probability"]);
    assert_eq!(
        answer["answered"],
        confidence >= number(&control["threshold"])
    );
    let set = answer["prediction_set"].as_array().unwrap();
    assert_eq!(set[0], answer["classes"][0]["class"]);
    assert_eq!(answer["classes"], before["images"][0]["classes"]);
    predict("--samples 3")
        .assert()
        .success()
        .stdout(contains(
            "at most 90 % of such answers are wrong, 95 % sure",
        ))
        .stdout(contains("  set: "));

    // An application that opens the run hears the same.
    let gpu = Gpu::open(GpuOptions::default()).unwrap();
    let options = SessionOptions {
        samples: 3,
        ..Default::default()
    };
    let mut session = Session::open(&gpu, &path, options.clone()).unwrap();
    let bytes = fs::read(&image).unwrap();
    let heard = session
        .predict(&[Picture::Encoded(&bytes)])
        .unwrap()
        .remove(0);
    assert_eq!(answer["answered"], !heard.abstains);
    let labels = heard.prediction_set.unwrap();
    let names: Vec<&str> = labels
        .iter()
        .map(|label| &*session.classes()[*label])
        .collect();
    assert_eq!(answer["prediction_set"], serde_json::json!(names));
    session
        .set_options(SessionOptions { seed: 2, ..options })
        .unwrap();
    let other = session
        .predict(&[Picture::Encoded(&bytes)])
        .unwrap()
        .remove(0);
    assert_eq!(other.prediction_set, None);

    let scores = json(&mut on(
        &path,
        "eval --data sample --limit-test 40 --samples 3 --json",
    ));
    assert_eq!(scores["held"]["images"], 40);
    assert!(number(&scores["held"]["covered"]) <= 40.0);
    on(&path, "eval --data sample --limit-test 40 --samples 3")
        .assert()
        .success()
        .stdout(contains("at most 90 % promised"))
        .stdout(contains("at least 80 % promised"));

    let page = || fs::read_to_string(path.join("report.html")).unwrap();
    on(&path, "report --limit-test 40 --samples 3")
        .assert()
        .success();
    assert!(page().contains("ring: the threshold") && page().contains("Sets of"));

    // Other samples are another predictive.
    for other in ["--samples 2", "--samples 3 --seed 2"] {
        let other = json(&mut predict(&format!("{other} --json")));
        assert!(other.get("calibration").is_none());
    }
    // One promise does not undo the other.
    let by_class = json(&mut on(
        &path,
        "calibrate --coverage 0.5 --by-class --samples 3 --json",
    ));
    assert_eq!(by_class["risk_control"], *control);
    assert_eq!(
        by_class["prediction_sets"]["limits"]
            .as_array()
            .unwrap()
            .len(),
        10
    );

    // Nor does that of other samples.
    on(&path, "calibrate --coverage 0.5 --samples 3 --seed 2")
        .assert()
        .success();
    let again = json(&mut predict("--samples 3 --json"));
    assert_eq!(again["calibration"]["risk_control"], *control);

    // What was changed by hand is not relied on.
    let file = path.join("adapter/calibration.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"seed\": 1", "\"seed\": 7", 1)).unwrap();
    predict("--samples 3 --seed 7")
        .assert()
        .success()
        .stderr(contains("calibration.json").and(contains("nothing is promised")))
        .stdout(contains("promised").not());
    on(&path, "report --limit-test 10 --samples 3 --seed 7")
        .assert()
        .success()
        .stderr(contains("calibration.json"));
    assert!(page().contains("nothing is promised") && !page().contains("ring: the threshold"));
    fs::write(&file, text).unwrap();

    // A pruned adapter is another one.
    spread(&path);
    assert!(
        json(&mut predict("--samples 3 --json"))
            .get("calibration")
            .is_none()
    );
    on(&path, "report --limit-test 10 --samples 3")
        .assert()
        .success();
    assert!(page().contains("No threshold has been chosen"));
    assert!(!page().contains("ring: the threshold"));
}

/// What looks like nothing in the training images is called so, by the command line and by a session alike.
#[test]
fn unfamiliar_images_are_told() {
    let (dir, path) = run();
    let predict = |file: &Path| {
        let mut command = on(&path, "predict --samples 2 --json");
        command.arg(file);
        json(&mut command)["images"][0].clone()
    };
    // More classes than the run has.
    let strange = dir.path().join("others");
    let mut random = Pcg64::seed_from_u64(3);
    for number in 0..12 {
        let mut grain = || if random.random() { 255 } else { 0 };
        let noise =
            image::RgbImage::from_fn(32, 32, |_, _| image::Rgb([grain(), grain(), grain()]));
        let class = strange.join(format!("class {number}"));
        fs::create_dir_all(&class).unwrap();
        noise.save(class.join("noise.png")).unwrap();
    }
    let noise = strange.join("class 0/noise.png");
    assert!(predict(&noise).get("familiarity").is_none());

    let found = json(&mut on(&path, "calibrate --false-alarms 0.1 --json"));
    assert_keys(
        &found["ood"],
        "score false_alarms training_images held_out_images",
    );
    assert_eq!(number(&found["ood"]["held_out_images"]), 20.0);
    let answer = predict(&noise);
    assert_eq!(answer["unfamiliar"], true, "{answer}");
    // One of the twenty-one.
    assert_eq!(number(&answer["familiarity"]), 1.0 / 21.0);
    on(&path, "predict --samples 0")
        .arg(&noise)
        .assert()
        .success()
        .stdout(contains("unlike anything it was trained on"));

    let gpu = Gpu::open(GpuOptions::default()).unwrap();
    let mut session = Session::open(&gpu, &path, SessionOptions::default()).unwrap();
    let bytes = fs::read(&noise).unwrap();
    // Each of several hears of itself.
    let other = dir.path().join("other.png");
    let options = OpenOptions {
        side: 32,
        limit_test: Some(10),
        ..Default::default()
    };
    let known = open_test_images("sample", &options).unwrap();
    let (pixels, side) = (known.image(0).unwrap(), known.side as u32);
    image::save_buffer(&other, &pixels, side, side, image::ColorType::Rgb8).unwrap();
    let other_bytes = fs::read(&other).unwrap();
    let pictures = [&other_bytes, &bytes, &other_bytes].map(|bytes| Picture::Encoded(bytes));
    let heard = session.predict(&pictures).unwrap();
    let heard: Vec<f64> = heard
        .iter()
        .map(|answer| answer.familiarity.unwrap().familiarity)
        .collect();
    let expected = number(&predict(&other)["familiarity"]);
    assert_ne!(expected, 1.0 / 21.0);
    assert_eq!(heard, [expected, 1.0 / 21.0, expected]);

    let scored = |more: &str| {
        let line = format!("eval --data sample --limit-test 40 --samples 2 {more} --unfamiliar");
        let mut command = on(&path, &line);
        command.arg(&strange);
        command
    };
    let found = json(&mut scored("--json"));
    let unfamiliar = &found["unfamiliar"];
    assert_eq!(number(&unfamiliar["images"]), 12.0);
    let names: Vec<&str> = unfamiliar["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["score"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "max probability",
            "entropy",
            "mutual information",
            "energy",
            "mahalanobis"
        ]
    );
    assert_eq!(number(&unfamiliar["scores"][4]["auroc"]["estimate"]), 1.0);
    assert_eq!(number(&unfamiliar["alarms"]["of_unfamiliar"]), 1.0);
    assert!(number(&unfamiliar["alarms"]["of_test"]) < 0.5);
    scored("")
        .assert()
        .success()
        .stdout(contains("12 images of other classes").and(contains("called unfamiliar: 100.0 %")));
    refuses(
        &mut on(&path, "eval --data sample --unfamiliar sample"),
        &[
            "--unfamiliar sample",
            "of a class that the run does not know",
        ],
    );
    // Corrupted images are not compared with others as they are.
    let mut corrupted = scored("--corruption fog");
    corrupted.assert().code(2).stderr(contains("--corruption"));
    refuses(
        &mut on(&path, "calibrate --false-alarms 0.04"),
        &[
            "--false-alarms 0.04",
            "needs 24 validation images",
            "has 20",
        ],
    );

    // A file that was cut is told of, and nothing is called unfamiliar.
    let file = path.join("adapter/ood.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 8]).unwrap();
    assert!(predict(&noise).get("familiarity").is_none());
    on(&path, "predict --samples 0")
        .arg(&noise)
        .assert()
        .success()
        .stderr(contains("ood.safetensors").and(contains("no image is called unfamiliar")));
    assert!(Session::open(&gpu, &path, SessionOptions::default()).is_err());
    fs::write(&file, &bytes).unwrap();
    assert_eq!(predict(&noise)["unfamiliar"], true);

    // Neighbours take its place.
    let found = json(&mut on(
        &path,
        "calibrate --false-alarms 0.1 --ood-score neighbours --json",
    ));
    assert_eq!(found["ood"]["score"], "neighbours");
    assert!(predict(&noise).get("familiarity").is_some());

    // A pruned adapter is another one.
    spread(&path);
    assert!(predict(&noise).get("familiarity").is_none());
}

#[test]
fn calibrate_promises_no_more_than_the_images_allow() {
    let (_dir, path) = run();
    for (line, parts) in [
        ("calibrate", &["--max-risk", "--coverage"] as &[&str]),
        (
            "calibrate --max-risk 0.05",
            &["--max-risk 0.05", "20 validation images", "0.240"],
        ),
        (
            "calibrate --coverage 0.99",
            &["--coverage 0.99", "needs 99 validation images", "has 20"],
        ),
        ("calibrate --max-risk 1.5", &["--max-risk", "0.9"]),
        ("calibrate --coverage 0.9 --confidence 0.9", &["--max-risk"]),
        ("calibrate --max-risk 0.3 --by-class", &["--coverage"]),
    ] {
        refuses(&mut on(&path, line), parts);
    }
    // A tiny adapter is wrong too often.
    refuses(
        &mut on(&path, "calibrate --max-risk 0.24 --samples 0"),
        &["at no confidence", "20 validation images"],
    );
    change_config(&path, "validation = 0.2", "validation = 0.0");
    refuses(
        &mut on(&path, "calibrate --max-risk 0.5"),
        &["calibrate", "--validation 0,", "--validation 0.1"],
    );
}
