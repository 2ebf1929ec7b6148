//! `explain`: the map of a class adds up to its logit, and is drawn.

use std::fs;

use bayeslora::Adapter;
use predicates::str::contains;
use serde_json::Value;

use crate::commands::{json, on, picture, refuses};
use crate::program::bayeslora;

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn the_map_of_a_class_adds_up_to_its_logit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // The head has an adapter too.
    bayeslora(
        "train --data sample --limit-train 80 --limit-test 10 --epochs 2 --rank 2 --targets layer4.1,fc --resolution 64 --no-tune",
    )
    .arg("--out")
    .arg(&path)
    .assert()
    .success();
    let image = dir.path().join("image.png");
    picture(&image, 70, 64);
    let explain = |out: &str, options: &str| {
        let mut command = on(&path, &format!("explain {options} --out"));
        command.arg(dir.path().join(out)).arg(&image);
        command
    };
    let adapter = Adapter::load_peft(path.join("adapter")).unwrap();
    let mut answer = on(&path, "predict --samples 0 --json");
    let answer = json(answer.arg(&image))["images"][0].clone();
    let probability = |name: &str| {
        let classes = answer["classes"].as_array().unwrap();
        let found = classes.iter().find(|class| class["class"] == name).unwrap();
        found["probability"].as_f64().unwrap()
    };
    let logits: Vec<f64> = ["cat", "ship"]
        .iter()
        .map(|name| {
            let found = json(&mut explain(
                name,
                &format!("--samples 0 --json --class {name}"),
            ));
            let one = &found["images"][0];
            assert_eq!(one["class"], **name);
            assert!((one["probability"].as_f64().unwrap() - probability(name)).abs() < 1e-6);
            assert!(numbers(&one["std"]).iter().all(|std| *std == 0.0));
            let map = numbers(&one["mean"]);
            let side = one["side"].as_u64().unwrap() as usize;
            assert!(side > 1 && map.len() == side * side);
            let label = adapter
                .classes
                .iter()
                .position(|class| class == name)
                .unwrap();
            map.iter().sum::<f64>() + f64::from(adapter.head.bias[label])
        })
        .collect();
    // What the softmax takes off is the same for both. Tolerance: f32 on the way to probabilities and back.
    let expected = probability("cat").ln() - probability("ship").ln();
    let found = logits[0] - logits[1];
    assert!((found - expected).abs() < 1e-3, "{found} {expected}");

    let drawn = json(&mut explain("drawn", "--json --samples 4"));
    assert_eq!(drawn["images"][0]["class"], answer["classes"][0]["class"]);
    assert!(
        numbers(&drawn["images"][0]["std"])
            .iter()
            .any(|std| *std > 0.0)
    );
    let file = drawn["images"][0]["picture"].as_str().unwrap();
    let (width, height) = image::open(file).unwrap().to_rgb8().dimensions();
    assert_eq!((width, height), (3 * 320 + 16, 320));

    refuses(
        &mut explain("unicorn", "--class unicorn"),
        &["--class unicorn", "airplane, "],
    );
    assert!(!dir.path().join("unicorn").exists());
    // What is there stays as it is.
    let before = fs::read(file).unwrap();
    refuses(&mut explain("drawn", ""), &["--out", "not empty"]);
    assert_eq!(fs::read(file).unwrap(), before);
    fs::write(dir.path().join("file"), "").unwrap();
    let mut command = explain("file", "");
    command.assert().failure().stderr(contains("--out"));
}
