//! Adapters that PEFT has trained on transformers' ResNet answer as they do in torch: see `tests/fixtures/transformers`.

use std::fs;
use std::path::{Path, PathBuf};

use bayeslora::low_level::formats::npy::read_probabilities;
use predicates::str::contains;
use serde_json::Value;

use crate::import::import;
use crate::program::bayeslora;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/transformers")
        .join(name)
}

fn expected(key: &str) -> Vec<f64> {
    let text = fs::read(fixture("expected.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    let rows = all[key].as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()))
        .collect()
}

fn furthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn they_answer_as_in_torch() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = [0, 1].map(|i: u32| {
        let path = dir.path().join(format!("{i}.png"));
        let pixel = |x, y| image::Rgb([3 * x + 40 * i, 3 * y, x * y + 7 * i].map(|v| v as u8));
        image::RgbImage::from_fn(64, 64, pixel).save(&path).unwrap();
        path
    });
    for (key, says) in [
        ("saved", "41 ranks in 10 layers, 3 classes"),
        (
            "adapted",
            "36 ranks in 9 layers, 3 classes at 64 x 64; the classifier is that of --backbone",
        ),
    ] {
        let (run, out) = (dir.path().join(key), dir.path().join("p.npy"));
        let mut command = import(&fixture(key), &run, "--resolution 64 --backbone");
        command
            .arg(fixture("base"))
            .assert()
            .success()
            .stdout(contains(says));
        let mut predict = bayeslora("predict --samples 0 --run");
        predict
            .arg(&run)
            .arg("--probs-out")
            .arg(&out)
            .args(&pictures);
        predict.assert().success();
        let found = read_probabilities(&out).unwrap().values;
        let found: Vec<f64> = found.iter().map(|p| f64::from(*p)).collect();
        let (torch, base) = (expected(key), expected("base"));
        assert!(
            furthest(&found, &torch) < 1e-5,
            "{key}: {found:?}, torch has {torch:?}"
        );
        assert!(furthest(&torch, &base) > 1e-2, "{key} changes nothing");
    }
}
