//! Classes of uneven size: how they are trained, and answers for another balance.

use std::fs;
use std::path::{Path, PathBuf};

use bayeslora::low_level::formats::RunDir;
use bayeslora::{ClassPrior, Gpu, GpuOptions, Picture, PredictError, Session, SessionOptions};
use predicates::prelude::*;
use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::program::bayeslora;

/// Noise about a shade.
fn picture(path: &Path, shade: u8, seed: u64) {
    let mut random = Pcg64::seed_from_u64(seed);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::RgbImage::from_fn(32, 32, |_, _| {
        image::Rgb([0; 3].map(|_: u8| shade + random.random_range(0..120)))
    });
    image.save(path).unwrap();
}

/// Twelve cats and four dogs to train on, four of each to test on.
fn photos() -> TempDir {
    let dir = tempdir().unwrap();
    for (part, counts) in [("train", [12, 4]), ("test", [4, 4])] {
        for (class, (name, count)) in ["cat", "dog"].into_iter().zip(counts).enumerate() {
            for i in 0..count {
                let path = dir.path().join(format!("{part}/{name}/{i}.png"));
                let seed = 100 * class + 10 * part.len() + i;
                picture(&path, 100 * class as u8, seed as u64);
            }
        }
    }
    dir
}

fn train(data: &Path, options: &str) -> (TempDir, PathBuf) {
    let out = tempdir().unwrap();
    let run = out.path().join("run");
    bayeslora(&format!(
        "train --epochs 2 --rank 2 --targets layer4.1.conv2 --resolution 32 --batch-size 4 --no-tune {options} --data {} --out {}",
        data.display(),
        run.display()
    ))
    .assert()
    .success();
    (out, run)
}

fn json(line: &str) -> Value {
    let output = bayeslora(line).assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The probability that each image is a cat.
fn cats(answers: &Value) -> Vec<f64> {
    let images = answers["images"].as_array().unwrap().iter();
    let cat = |image: &Value| {
        let mut classes = image["classes"].as_array().unwrap().iter();
        let found = classes.find(|class| class["class"] == "cat");
        found.unwrap()["probability"].as_f64().unwrap()
    };
    images.map(cat).collect()
}

#[test]
fn a_balanced_sampler_says_what_an_epoch_has_and_goes_on_with_the_same_bits() {
    let photos = photos();
    let data = photos.path().display();
    let options = "--validation 0 --sampler balanced";
    let (_whole, whole) = train(photos.path(), options);
    let config = fs::read_to_string(whole.join("config.toml")).unwrap();
    assert!(config.contains("sampler = \"balanced\""), "{config}");

    let out = tempdir().unwrap();
    let half = out.path().join("half");
    let line = format!(
        "train --epochs 2 --rank 2 --targets layer4.1.conv2 --resolution 32 --batch-size 4 --no-tune {options} --data {data} --out \
         {}",
        half.display()
    );
    // 4 / (1/12 + 1/4) images.
    bayeslora(&line)
        .assert()
        .success()
        .stdout(contains(
            "balanced: an epoch draws 16 images, 8.0 of each of 2 classes, the 4 of dog 2.0 times each, the 12 of cat 0.7 times",
        ))
        .stdout(contains("worth 12 images of even classes"))
        .stderr(contains("fewer than 10 training images: dog 4").and(contains("--class-weights").not()));
    let weights = |run: &Path| fs::read(run.join("adapter/adapter_model.safetensors")).unwrap();
    assert!(weights(&half) == weights(&whole), "the same bits");
    // The second epoch again, from the checkpoint before it.
    fs::remove_file(half.join("checkpoint/state.safetensors")).unwrap();
    bayeslora(&format!(
        "train --resume --out {} --no-tune",
        half.display()
    ))
    .assert()
    .success();
    assert!(weights(&half) == weights(&whole), "the same bits");

    bayeslora(&format!("{line}-2 --class-weights balanced"))
        .assert()
        .code(2)
        .stderr(contains("--class-weights is balanced").and(contains("twice")));
    bayeslora(&format!(
        "train --resume --sampler shuffled --out {}",
        half.display()
    ))
    .assert()
    .code(2)
    .stderr(contains("the run was started with"));
}

#[test]
fn answers_under_another_prior_are_those_of_the_formula() {
    let photos = photos();
    let (_out, run) = train(photos.path(), "--validation 0");
    let run = run.display();
    let [cats_of, dogs_of] = ["cat", "dog"].map(|class| photos.path().join("test").join(class));
    let test = format!("{} {}", cats_of.display(), dogs_of.display());
    let predict = |options: &str| {
        json(&format!(
            "predict --run {run} {test} --samples 0 --json --no-tune {options}"
        ))
    };
    let plain = predict("");
    // Trained on three cats to a dog.
    let expected: Vec<f64> = cats(&plain)
        .into_iter()
        .map(|p| p / 0.75 / (p / 0.75 + (1.0 - p) / 0.25))
        .collect();
    let even = predict("--class-prior uniform");
    assert_eq!(even["class_prior"]["trained_for"]["cat"], 0.75);
    assert_eq!(even["class_prior"]["target"]["dog"], 0.5);
    for (found, expected) in cats(&even).iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    assert_ne!(cats(&even), cats(&plain));
    // The balance that it was trained for changes no bit.
    assert_eq!(predict("--class-prior train")["images"], plain["images"]);
    for (name, text) in [
        ("even.json", "{\"dog\": 2, \"cat\": 2}"),
        ("even.csv", "class,weight\ncat,2\ndog,2\n"),
    ] {
        let file = photos.path().join(name);
        fs::write(&file, text).unwrap();
        let of_file = predict(&format!("--class-prior {}", file.display()));
        assert_eq!(of_file["images"], even["images"], "{name}");
        fs::remove_file(&file).unwrap();
    }

    let scores = json(&format!(
        "eval --run {run} --samples 0 --json --no-tune --class-prior uniform"
    ));
    let nll: f64 = expected
        .iter()
        .enumerate()
        // Four cats come first.
        .map(|(image, cat)| -(if image < 4 { *cat } else { 1.0 - cat }).ln() / 8.0)
        .sum();
    let adjusted = scores["adjusted"]["nll"].as_f64().unwrap();
    assert!((adjusted - nll).abs() < 1e-4, "{adjusted} {nll}");
    assert_ne!(scores["nll"], scores["adjusted"]["nll"]);
    bayeslora(&format!(
        "eval --run {run} --samples 0 --no-tune --class-prior uniform"
    ))
    .assert()
    .success()
    .stdout(
        contains("class prior uniform; cat 0.750 -> 0.500 (0.500 here)")
            .and(contains("as trained")),
    );
}

#[test]
fn a_balanced_run_has_an_even_prior_already() {
    let photos = photos();
    for options in ["--sampler balanced", "--class-weights balanced"] {
        let (_out, run) = train(photos.path(), &format!("--validation 0 {options}"));
        let line = format!(
            "predict --run {} {} --samples 2 --no-tune --class-prior",
            run.display(),
            photos.path().join("test/cat/0.png").display()
        );
        bayeslora(&format!("{line} uniform"))
            .assert()
            .success()
            .stdout(contains("for which the run was trained: nothing changes"));
        bayeslora(&format!("{line} train"))
            .assert()
            .success()
            .stdout(contains("cat 0.500 -> 0.750"));
    }
}

#[test]
fn what_was_promised_under_the_prior_of_training_is_not_promised_under_another() {
    let photos = photos();
    let (_out, run) = train(photos.path(), "--validation 0.25");
    let run = run.display();
    let image = photos.path().join("test/cat/0.png");
    let image = image.display();
    bayeslora(&format!("calibrate --run {run} --coverage 0.5 --no-tune"))
        .assert()
        .success();
    let predict =
        |options: &str| bayeslora(&format!("predict --run {run} {image} --no-tune {options}"));
    let kept = "sets hold the right class";
    predict("").assert().success().stdout(contains(kept));
    predict("--class-prior train")
        .assert()
        .success()
        .stdout(contains(kept));
    predict("--class-prior uniform")
        .assert()
        .success()
        .stdout(contains(kept).not())
        .stderr(contains("under --class-prior nothing is promised"));
    for command in [format!("predict {image}"), "eval".into()] {
        bayeslora(&format!(
            "{command} --run {run} --temperature --class-prior uniform"
        ))
        .assert()
        .code(2)
        .stderr(contains(
            "--temperature is fitted to answers for the balance",
        ));
    }

    // Answers under two priors do not go into one file.
    let out = photos.path().join("answers.csv");
    let out = out.display();
    predict(&format!("--class-prior uniform --out {out}"))
        .assert()
        .success();
    predict(&format!("--class-prior uniform --out {out}"))
        .assert()
        .success()
        .stdout(contains("1 before"));
    predict(&format!("--out {out}"))
        .assert()
        .code(2)
        .stderr(contains("--out"));
}

#[test]
fn priors_that_cannot_be_used_are_refused() {
    let photos = photos();
    let (out, run) = train(photos.path(), "--validation 0");
    let image = photos.path().join("test/cat/0.png");
    let prior = out.path().join("prior.json");
    let predict = |given: &str| {
        bayeslora(&format!(
            "predict --run {} {} --no-tune --class-prior {given}",
            run.display(),
            image.display()
        ))
    };
    fs::write(&prior, "{\"cat\": 1}").unwrap();
    predict(&prior.display().to_string())
        .assert()
        .code(2)
        .stderr(contains("prior.json").and(contains("no weight for the class dog")));
    fs::write(&prior, "{\"cat\": 1, \"dog\": -2}").unwrap();
    predict(&prior.display().to_string())
        .assert()
        .code(2)
        .stderr(contains("the weight of dog is -2"));
    predict("even")
        .assert()
        .code(2)
        .stderr(contains("neither `uniform` nor `train`"));
}

/// The adapter says for which balance it was trained; where an earlier version has made it, the run does.
#[test]
fn the_balance_of_training_is_known_from_the_adapter_or_from_the_run() {
    let photos = photos();
    let (_out, run) = train(photos.path(), "--validation 0 --class-weights effective");
    let line = format!(
        "predict --run {} {} --samples 0 --json --no-tune --class-prior uniform",
        run.display(),
        photos.path().join("test/cat/0.png").display()
    );
    let by_both = json(&line);
    let dir = RunDir::open(&run).unwrap();
    let mut adapter = dir.read_adapter(32).unwrap();
    let balance = adapter.class_balance.take().unwrap();
    assert_eq!(balance.images, [12, 4]);
    assert_eq!(
        by_both["class_prior"]["trained_for"]["cat"],
        balance.prior[0]
    );
    let data = fs::read(run.join("data.json.gz")).unwrap();
    fs::remove_file(run.join("data.json.gz")).unwrap();
    assert_eq!(json(&line), by_both, "by the adapter");
    adapter.save_peft(dir.adapter_dir()).unwrap();
    bayeslora(&line).assert().code(2).stderr(contains(
        "nothing says how many training images each class had",
    ));
    let options = SessionOptions {
        class_prior: Some(ClassPrior::Train),
        ..Default::default()
    };
    let refused = Session::open(&gpu(), &run, options).err().unwrap();
    let says = bayeslora::in_full(&refused);
    assert!(
        says.contains("how many training images each class had"),
        "{says}"
    );
    fs::write(run.join("data.json.gz"), data).unwrap();
    assert_eq!(json(&line), by_both, "by the run");
}

fn gpu() -> Gpu {
    Gpu::open(GpuOptions::default()).unwrap()
}

/// Whatever is asked, an application that opens the run hears the same of an image as who asks the program.
#[test]
fn a_session_answers_under_another_prior_as_the_program_does() {
    let photos = photos();
    let (_out, run) = train(photos.path(), "--validation 0.25");
    for fitting in [
        "calibrate --coverage 0.5 --false-alarms 0.5 --samples 8 --no-tune",
        "eval --temperature --force --samples 8 --no-tune",
    ] {
        let line = format!("{fitting} --run {}", run.display());
        bayeslora(&line).assert().success();
    }
    let image = photos.path().join("test/dog/1.png");
    let file = photos.path().join("prior.json");
    fs::write(&file, "{\"dog\": 9, \"cat\": 1}").unwrap();
    let weights = [("dog".to_owned(), 9.0), ("cat".to_owned(), 1.0)];
    let given = file.display().to_string();
    let bytes = fs::read(&image).unwrap();
    let mut session = Session::open(&gpu(), &run, SessionOptions::default()).unwrap();
    let fitted = session.options().temperature.unwrap();
    let tempered = session.predict(&[Picture::Encoded(&bytes)]).unwrap();
    for (samples, word, prior) in [
        (8, "uniform", ClassPrior::Uniform),
        (0, "uniform", ClassPrior::Uniform),
        (8, "train", ClassPrior::Train),
        (8, &given, ClassPrior::Weights(weights.to_vec())),
    ] {
        let said = json(&format!(
            "predict --run {} {} --samples {samples} --json --class-prior {word}",
            run.display(),
            image.display()
        ));
        let options = SessionOptions {
            samples,
            class_prior: Some(prior.clone()),
            ..Default::default()
        };
        session.set_options(options).unwrap();
        let heard = session.predict(&[Picture::Encoded(&bytes)]).unwrap();
        let said = &said["images"][0];
        if prior == ClassPrior::Train {
            // It changes nothing, and the temperature holds.
            assert_eq!(session.options().temperature, Some(fitted));
            assert_eq!(heard, tempered);
            assert!(said["prediction_set"].is_array());
            continue;
        }
        assert_eq!(session.options().temperature, None);
        let heard = &heard[0];
        assert_eq!(heard.prediction_set, None);
        assert!(said.get("prediction_set").is_none());
        assert!(!heard.abstains);
        let number = |value: &Value| value.as_f64().unwrap() as f32;
        let near = |a: f32, b: &Value| assert!((a - number(b)).abs() < 1e-6, "{a} {b} {word}");
        for class in &heard.classes {
            let mut all = said["classes"].as_array().unwrap().iter();
            let same = all.find(|one| one["class"] == *class.class).unwrap();
            near(class.probability, &same["probability"]);
            near(class.std, &same["std"]);
        }
        near(heard.entropy, &said["entropy"]);
        near(heard.mutual_information, &said["mutual_information"]);
        assert_eq!(said["unfamiliar"], heard.familiarity.unwrap().unfamiliar);
    }
    let before = session.options().clone();
    let both = SessionOptions {
        temperature: Some(fitted),
        ..before.clone()
    };
    let refused = session.set_options(both);
    assert!(matches!(refused, Err(PredictError::TemperedPrior)));
    assert_eq!(*session.options(), before);
}

/// Arrays do not say their labels in the run's record.
#[test]
fn a_run_on_arrays_knows_its_balance_without_them() {
    let out = tempdir().unwrap();
    let run = out.path().join("run");
    bayeslora(&format!(
        "train --data sample --limit-train 20 --limit-test 10 --epochs 1 --rank 1 --targets layer4.1.conv2 --resolution 32 \
         --validation 0 --no-tune --out {}",
        run.display()
    ))
    .assert()
    .success();
    let scores = json(&format!(
        "eval --run {} --samples 0 --json --no-tune --class-prior uniform",
        run.display()
    ));
    assert_eq!(scores["class_prior"]["trained_for"]["cat"], 0.1);
    assert_eq!(scores["adjusted"]["nll"], scores["nll"]);
}
