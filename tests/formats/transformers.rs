//! Adapters that PEFT has trained on transformers' ResNet: names, and options in these names.

use std::fs;
use std::path::{Path, PathBuf};

use bayeslora::low_level::formats::{Adapter, FormatError, TensorFile};
use serde_json::{Value, json};

use super::adapter::load_plain;
use super::assert_says;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/transformers")
        .join(name)
}

/// A copy of the adapter with the saved classifier, with other options.
fn changed(options: Value) -> Result<Adapter, FormatError> {
    let dir = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(fixture("saved").join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let options = options.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(options);
    fs::write(&path, config.to_string()).unwrap();
    Adapter::load_peft(dir.path())
}

#[test]
fn names_become_torchvisions_and_options_are_those_of_the_file() {
    let adapter = changed(json!({})).unwrap();
    let ranks: Vec<_> = adapter
        .layers
        .iter()
        .map(|l| (&*l.name, l.rank()))
        .collect();
    assert_eq!(
        ranks,
        [
            ("layer3.0.conv1", 4),
            ("layer3.0.conv2", 4),
            // By the expression, and by the name.
            ("layer3.0.downsample.0", 2),
            ("layer3.1.conv1", 4),
            ("layer3.1.conv2", 4),
            ("layer4.0.conv1", 7),
            ("layer4.0.conv2", 4),
            ("layer4.0.downsample.0", 4),
            ("layer4.1.conv1", 4),
            ("layer4.1.conv2", 4),
        ]
    );
    assert_eq!((adapter.head.classes, adapter.head.features), (3, 8));
    assert!(adapter.head.trained);
    // The scale is 8/4; what others there are is in B.
    assert_eq!(adapter.scale(), 2.0);
    let file = TensorFile::read(fixture("saved/adapter_model.safetensors")).unwrap();
    let stages = "base_model.model.resnet.encoder.stages";
    for (layer, module, scale) in [
        ("layer3.0.conv1", "2.layers.0.layer.0", 8.0 / 4.0),
        ("layer3.0.downsample.0", "2.layers.0.shortcut", 5.0 / 2.0),
        ("layer4.0.conv1", "3.layers.0.layer.0", 8.0 / 7.0),
        ("layer4.0.downsample.0", "3.layers.0.shortcut", 5.0 / 4.0),
        ("layer4.1.conv2", "3.layers.1.layer.1", 20.0 / 4.0),
    ] {
        let layer = adapter.layers.iter().find(|l| l.name == layer).unwrap();
        let stored = &file.tensors[&format!("{stages}.{module}.convolution.lora_B.weight")].data;
        let ratio: f64 = scale / 2.0;
        let expected: Vec<f32> = stored.iter().map(|b| b * ratio as f32).collect();
        assert_eq!(layer.lora_b, expected, "{}", layer.name);
    }
}

#[test]
fn tensors_that_peft_would_leave_out_are_refused() {
    let module = "`resnet.encoder.stages.2.layers.0.layer.0.convolution`";
    for (options, item) in [
        (
            json!({ "target_modules": ["layer.1.convolution", "shortcut.convolution"] }),
            "target_modules is [`layer.1",
        ),
        (
            json!({ "target_modules": r".*stages\.3.*" }),
            r"target_modules is `.*stages\.3.*`",
        ),
        // Of the beginning alone.
        (
            json!({ "target_modules": r"resnet\.encoder" }),
            "target_modules is",
        ),
        (
            json!({ "exclude_modules": ["layers.0.layer.0.convolution"] }),
            "exclude_modules is",
        ),
        (
            json!({ "exclude_modules": r".*stages\.2.*" }),
            "exclude_modules is",
        ),
    ] {
        assert_says(
            changed(options),
            &["adapter_config.json", item, module, "put back"],
        );
    }
    for options in [
        json!({ "target_modules": ["convolution"] }),
        json!({ "target_modules": ["0.convolution", "1.convolution", "shortcut.convolution"] }),
        // What Python alone reads says nothing; PEFT has written both.
        json!({ "target_modules": r".*(?<!embedder\.)convolution" }),
        json!({ "exclude_modules": ["embedder.convolution"] }),
        json!({ "modules_to_save": ["classifier.1"] }),
    ] {
        changed(options).unwrap();
    }
}

#[test]
fn options_that_are_not_read_are_named() {
    for (options, says) in [
        (
            json!({ "modules_to_save": ["classifier", "score"] }),
            &["modules_to_save", "`score`"][..],
        ),
        (
            json!({ "modules_to_save": ["1"] }),
            &["modules_to_save", "`1`", "in transformers `classifier`"],
        ),
        (
            json!({ "rank_pattern": { "(?=x)convolution": 7 } }),
            &["rank_pattern", "Python alone"],
        ),
        (
            json!({ "alpha_pattern": { "convolution++": 7 } }),
            &["alpha_pattern", "`convolution++`"],
        ),
        (
            json!({ "alpha_pattern": { "convolution": 7, "shortcut.convolution": 6 } }),
            &[
                "what alpha_pattern gives `resnet.encoder.stages.2.layers.0.shortcut.convolution`",
                "7 by",
                "6 by",
            ],
        ),
        (json!({ "kasa_config": { "beta": 0.1 } }), &["kasa_config"]),
        (
            json!({ "use_bdlora": { "target_modules_bd_a": [] } }),
            &["use_bdlora"],
        ),
    ] {
        assert_says(changed(options), says);
    }
    // Names of both kinds for one layer.
    let twice = [
        ("layer4.0.conv1", 2),
        ("resnet.encoder.stages.3.layers.0.layer.0.convolution", 2),
    ];
    assert_says(load_plain(json!({}), &twice), &["no place"]);
}

#[test]
fn a_classifier_that_is_said_to_be_saved_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(fixture("saved").join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("adapter_model.safetensors");
    let mut file = TensorFile::read(&path).unwrap();
    file.tensors.retain(|name, _| !name.contains("classifier"));
    file.write_atomic(&path).unwrap();
    assert_says(
        Adapter::load_peft(dir.path()),
        &[
            "modules_to_save is the classifier",
            "no tensors of a classifier",
        ],
    );
}
