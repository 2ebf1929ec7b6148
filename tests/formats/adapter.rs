use std::fs;
use std::path::Path;

use bayeslora::low_level::formats::{
    Adapter, ClassBalance, FormatError, GateDistribution, Head, LayerAdapter, TensorFile,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::assert_says;

/// Numbers that look random; some are signed zeros and subnormals.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    let hash = |i: usize| {
        let mut x = seed.wrapping_mul(0x9e37_79b9) ^ (i as u32).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x ^ (x >> 15)
    };
    let value = |bits: u32| match bits % 37 {
        0 => -0.0,
        1 => f32::from_bits(bits >> 10),
        _ => bits as f32 / 2f32.powi(31) - 1.0,
    };
    (0..count).map(|i| value(hash(i))).collect()
}

pub fn layer(name: &str, shape: [usize; 3], ids: &[u32], gated: bool) -> LayerAdapter {
    let [in_channels, out_channels, kernel] = shape;
    let rank = ids.len();
    let seed = name.bytes().fold(1, |h, b| h * 31 % 65_521 + u32::from(b));
    LayerAdapter {
        name: name.into(),
        in_channels,
        out_channels,
        kernel,
        lora_a: noise(seed, rank * in_channels * kernel * kernel),
        lora_b: noise(seed + 1, out_channels * rank),
        log_alpha: gated.then(|| noise(seed + 2, rank)),
        mixing: None,
        rank_ids: ids.to_vec(),
    }
}

/// One image of the first class, two of the second and so on.
fn balance(classes: usize) -> ClassBalance {
    let all = (classes * (classes + 1) / 2) as f64;
    ClassBalance {
        images: (1..=classes).collect(),
        prior: (1..=classes).map(|n| n as f64 / all).collect(),
    }
}

fn adapter(layers: Vec<LayerAdapter>, classes: usize, features: usize) -> Adapter {
    Adapter {
        layers,
        head: Head {
            classes,
            features,
            weight: noise(7, classes * features),
            bias: noise(8, classes),
            trained: true,
        },
        classes: (0..classes).map(|c| format!("class \"{c}\" ü")).collect(),
        class_balance: Some(balance(classes)),
        initial_rank: 9,
        lora_alpha: 13.7,
        backbone_sha256: "ab".repeat(32),
        base_name: "resnet18".into(),
        resolution: 64,
        seed: u64::MAX,
        method: "bayeslora".into(),
        gates: GateDistribution::Bernoulli,
    }
}

pub fn small() -> Adapter {
    let layers = vec![
        layer("layer4.0.conv1", [3, 4, 3], &[0, 7, 2], true),
        layer("layer3.1.conv2", [2, 5, 3], &[], true),
        layer("layer4.0.downsample.0", [3, 4, 1], &[8], true),
    ];
    adapter(layers, 2, 4)
}

fn bits(adapter: &Adapter) -> Vec<Vec<u32>> {
    let mut all = vec![&adapter.head.weight, &adapter.head.bias];
    for layer in &adapter.layers {
        all.extend([&layer.lora_a, &layer.lora_b]);
        all.extend(&layer.log_alpha);
    }
    let bits = |v: &Vec<f32>| v.iter().map(|v| v.to_bits()).collect();
    all.into_iter().map(bits).collect()
}

fn round_trip(adapter: &Adapter) -> Adapter {
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path()).unwrap();
    Adapter::load_peft(dir.path()).unwrap()
}

fn config(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("adapter_config.json")).unwrap()).unwrap()
}

/// Writes a directory as peft does: no file of ours, factors and head under peft's names.
fn plain(dir: &Path, extra: Value, factors: &[(&str, usize)]) {
    let mut config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"});
    let extra = extra.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(extra);
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let mut file = TensorFile::default();
    for &(name, rank) in factors {
        let (a, b) = (vec![1.0; rank * 3 * 9], vec![1.0; 4 * rank]);
        file.insert(
            format!("base_model.model.{name}.lora_A.weight"),
            &[rank, 3, 3, 3],
            a,
        );
        file.insert(
            format!("base_model.model.{name}.lora_B.weight"),
            &[4, rank, 1, 1],
            b,
        );
    }
    file.insert("base_model.model.fc.weight", &[2, 4], noise(1, 8));
    file.insert("base_model.model.fc.bias", &[2], noise(2, 2));
    file.write_atomic(dir.join("adapter_model.safetensors"))
        .unwrap();
}

/// Adapters of versions that have not kept it are read as they are, and keep their hash.
#[test]
fn the_balance_of_the_classes_may_be_missing_but_not_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bayeslora.json");
    let unknown = Adapter {
        class_balance: None,
        ..small()
    };
    unknown.save_peft(dir.path()).unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("balance"));
    assert_eq!(Adapter::load_peft(dir.path()).unwrap(), unknown);

    small().save_peft(dir.path()).unwrap();
    let ours: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (balance, says) in [
        (
            json!({"images": [1, 2, 3], "prior": [0.5, 0.5]}),
            "3 counts",
        ),
        (
            json!({"images": [1, 2], "prior": [0.5, 0.4]}),
            "the sum 0.9",
        ),
        (json!({"images": [1, 0], "prior": [0.5, 0.5]}), "class 1"),
        (
            json!({"images": [1, -2], "prior": [0.5, 0.5]}),
            "not the JSON",
        ),
        (json!({"images": [1, 2]}), "not the JSON"),
    ] {
        let mut ours = ours.clone();
        ours["class_balance"] = balance;
        fs::write(&path, ours.to_string()).unwrap();
        vouch(dir.path());
        assert_says(Adapter::load_peft(dir.path()), &[says]);
    }
    let mut wrong = small();
    wrong.class_balance.as_mut().unwrap().prior.pop();
    assert!(wrong.save_peft(dir.path()).is_err());
}

pub fn load_plain(extra: Value, factors: &[(&str, usize)]) -> Result<Adapter, FormatError> {
    let dir = tempfile::tempdir().unwrap();
    plain(dir.path(), extra, factors);
    Adapter::load_peft(dir.path())
}

/// B was written as ones, so what it is now is the factor folded into it.
fn folded(adapter: &Adapter) -> Vec<f32> {
    adapter.layers.iter().map(|layer| layer.lora_b[0]).collect()
}

/// What is left of a directory that peft has loaded and saved again.
fn saved_by_peft(dir: &Path) {
    fs::remove_file(dir.join("bayeslora.json")).unwrap();
    let path = dir.join("adapter_model.safetensors");
    let mut weights = TensorFile::read(&path).unwrap();
    weights.metadata = [("format".to_owned(), "pt".to_owned())].into();
    weights.write_atomic(&path).unwrap();
}

/// Makes `bayeslora.json` vouch for the other files as they are now.
fn vouch(dir: &Path) {
    let sum = |bytes: &[u8]| -> String {
        let sum = Sha256::digest(bytes);
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let path = dir.join("bayeslora.json");
    let mut ours: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (name, known) in ours["files"].as_object_mut().unwrap() {
        *known = sum(&fs::read(dir.join(name)).unwrap()).into();
    }
    ours.as_object_mut().unwrap().remove("sha256");
    ours["sha256"] = sum(&serde_json::to_vec(&ours).unwrap()).into();
    fs::write(&path, ours.to_string()).unwrap();
}

fn any_ids() -> impl Strategy<Value = Vec<u32>> {
    (
        Just((0..9u32).collect::<Vec<_>>()).prop_shuffle(),
        0..=9usize,
    )
        .prop_map(|(ids, rank)| ids[..rank].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn adapters_round_trip_exactly(
        ids in prop::collection::vec(any_ids(), 5),
        gated in any::<bool>(),
        seed in any::<u64>(),
        lora_alpha in 1e-3..1e3f32,
    ) {
        // Stem, 3x3, 1x1 and the head itself, in an order that is not the sorted one.
        let names = [
            ("layer4.0.conv1", [3, 4, 3]),
            ("fc", [4, 3, 1]),
            ("conv1", [3, 2, 7]),
            ("layer4.0.downsample.0", [3, 4, 1]),
            ("layer1.0.conv1", [2, 2, 3]),
        ];
        let layers = names.iter().zip(&ids);
        let layers = layers.map(|(&(name, shape), ids)| layer(name, shape, ids, gated)).collect();
        let before = Adapter { seed, lora_alpha, ..adapter(layers, 3, 4) };
        let after = round_trip(&before);
        prop_assert_eq!(bits(&after), bits(&before));
        prop_assert_eq!(after, before);
    }
}

#[test]
fn peft_is_told_names_ranks_and_the_unchanged_scale() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = small();
    adapter.save_peft(dir.path()).unwrap();
    let config = config(dir.path());
    let kept = ["layer4.0.conv1", "layer4.0.downsample.0"];
    assert_eq!(config["target_modules"], json!(kept));
    assert_eq!(config["rank_pattern"], json!({kept[0]: 3, kept[1]: 1}));
    assert_eq!(config["modules_to_save"], json!(["fc"]));
    for (layer, rank) in [(kept[0], 3.0), (kept[1], 1.0)] {
        let alpha = config["alpha_pattern"][layer].as_f64().unwrap();
        assert_eq!((alpha / rank) as f32, 13.7f32 / 9.0, "{layer}");
    }
    let weights = TensorFile::read(dir.path().join("adapter_model.safetensors")).unwrap();
    let shapes: Vec<(&str, &[usize])> = weights
        .tensors
        .iter()
        .map(|(name, t)| (name.as_str(), &t.shape[..]))
        .collect();
    assert_eq!(
        shapes,
        [
            ("base_model.model.fc.bias", &[2][..]),
            ("base_model.model.fc.weight", &[2, 4]),
            (
                "base_model.model.layer4.0.conv1.lora_A.weight",
                &[3, 3, 3, 3]
            ),
            (
                "base_model.model.layer4.0.conv1.lora_B.weight",
                &[4, 3, 1, 1]
            ),
            (
                "base_model.model.layer4.0.downsample.0.lora_A.weight",
                &[1, 3, 1, 1]
            ),
            (
                "base_model.model.layer4.0.downsample.0.lora_B.weight",
                &[4, 1, 1, 1]
            ),
        ]
    );
}

#[test]
fn our_export_without_our_files_is_the_same_mean_model() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = small();
    adapter.save_peft(dir.path()).unwrap();
    saved_by_peft(dir.path());
    let plain = Adapter::load_peft(dir.path()).unwrap();
    assert_eq!(plain.scale(), adapter.scale());
    assert_eq!(plain.head, adapter.head);
    assert_eq!(plain.base_name, "resnet18");
    assert_eq!(plain.classes, ["0", "1"]);
    assert_eq!(plain.layers.len(), 2);
    for (plain, kept) in plain
        .layers
        .iter()
        .zip([&adapter.layers[0], &adapter.layers[2]])
    {
        let expected = LayerAdapter {
            log_alpha: None,
            rank_ids: (0..kept.rank() as u32).collect(),
            ..kept.clone()
        };
        assert_eq!(*plain, expected);
    }
}

#[test]
fn an_ambiguous_name_is_anchored() {
    let dir = tempfile::tempdir().unwrap();
    let stem = layer("conv1", [3, 2, 7], &[4], true);
    let block = layer("layer1.0.conv1", [2, 2, 3], &[0, 1], true);
    adapter(vec![stem, block], 2, 4)
        .save_peft(dir.path())
        .unwrap();
    let config = config(dir.path());
    assert_eq!(config["target_modules"], json!(r"conv1|layer1\.0\.conv1"));
    assert_eq!(
        config["rank_pattern"],
        json!({"^conv1": 1, "layer1.0.conv1": 2})
    );
    saved_by_peft(dir.path());
    let plain = Adapter::load_peft(dir.path()).unwrap();
    assert_eq!(
        plain
            .layers
            .iter()
            .map(LayerAdapter::rank)
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn an_adapted_head_is_merged_for_peft() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = adapter(vec![layer("fc", [4, 2, 1], &[3, 1, 2], true)], 2, 4);
    adapter.save_peft(dir.path()).unwrap();
    let (fc, head) = (&adapter.layers[0], &adapter.head);
    let weights = TensorFile::read(dir.path().join("adapter_model.safetensors")).unwrap();
    assert_eq!(weights.tensors.len(), 2);
    for (index, &merged) in weights.tensors["base_model.model.fc.weight"]
        .data
        .iter()
        .enumerate()
    {
        let (row, column) = (index / 4, index % 4);
        let product: f64 = (0..3)
            .map(|i| f64::from(fc.lora_b[row * 3 + i]) * f64::from(fc.lora_a[i * 4 + column]))
            .sum();
        let expected = f64::from(head.weight[index]) + 13.7 / 9.0 * product;
        assert!(
            (f64::from(merged) - expected).abs() < 1e-6,
            "{merged} {expected}"
        );
    }
}

#[test]
fn patterns_of_plain_directories_are_honoured() {
    let two = [("layer4.0.conv1", 2), ("layer4.1.conv1", 3)];
    let ranks = json!({"layer4.1.conv1": 3});

    // s = 4/2; the second layer has 4/3 by its rank, 6/3 by its own alpha.
    let adapter = load_plain(json!({"rank_pattern": ranks}), &two).unwrap();
    assert_eq!(adapter.scale(), 2.0);
    assert_eq!(folded(&adapter), [1.0, (2.0f64 / 3.0) as f32]);
    assert_eq!(adapter.layers[1].rank_ids, [0, 1, 2]);
    assert_eq!(adapter.layers[1].log_alpha, None);
    let alphas = json!({"layer4.1.conv1": 6});
    let patterns = json!({"rank_pattern": ranks, "alpha_pattern": alphas});
    assert_eq!(folded(&load_plain(patterns, &two).unwrap()), [1.0, 1.0]);

    // A key stands for all modules that end in it, unless it is anchored.
    let same = [("layer4.0.conv1", 2), ("layer4.1.conv1", 2)];
    let adapter = load_plain(json!({"alpha_pattern": {"conv1": 8}}), &same).unwrap();
    assert_eq!(folded(&adapter), [2.0, 2.0]);
    let adapter = load_plain(json!({"alpha_pattern": {"^conv1": 8}}), &same).unwrap();
    assert_eq!(folded(&adapter), [1.0, 1.0]);
    // Keys are for the names of the base, whatever wraps it.
    let wrapped = [
        ("backbone.layer4.0.conv1", 2),
        ("backbone.layer4.1.conv1", 2),
    ];
    for key in [
        "backbone.layer4.1.conv1",
        "layer4.1.conv1",
        r"backbone\.layer\d\.1\.conv1",
    ] {
        let adapter = load_plain(json!({"alpha_pattern": {key: 8}}), &wrapped).unwrap();
        assert_eq!(folded(&adapter), [1.0, 2.0], "{key}");
    }
    let adapter = load_plain(
        json!({"alpha_pattern": {"backbone.layer4.1.conv1": 8}}),
        &same,
    );
    assert_eq!(folded(&adapter.unwrap()), [1.0, 1.0]);
    let adapter = load_plain(json!({"use_rslora": true, "rank_pattern": null}), &same).unwrap();
    assert_eq!(folded(&adapter), [2f32.sqrt(); 2]);

    // They are regular expressions.
    let adapter = load_plain(json!({"alpha_pattern": {"layer4.*": 8}}), &same).unwrap();
    assert_eq!(folded(&adapter), [2.0, 2.0]);
    let adapter = load_plain(json!({"alpha_pattern": {r"layer4\.(1|2)\..*": 8}}), &same).unwrap();
    assert_eq!(folded(&adapter), [1.0, 2.0]);
    let says = [
        "adapter_config.json",
        "a key of alpha_pattern is `(?!x)layer4.*`",
        "Python alone",
    ];
    assert_says(
        load_plain(json!({"alpha_pattern": {"(?!x)layer4.*": 8}}), &same),
        &says,
    );
}

#[test]
fn other_adapters_than_lora_are_refused() {
    let one = [("layer4.0.conv1", 2)];
    let says = [
        "adapter_config.json",
        "peft_type is LOHA (LoHa), expected LORA",
    ];
    assert_says(load_plain(json!({"peft_type": "LOHA"}), &one), &says);
    assert_says(
        load_plain(json!({"r": "two"}), &one),
        &["adapter_config.json", "not the JSON"],
    );
    assert_says(
        load_plain(json!({"r": 0}), &[]),
        &["adapter_config.json", "r is 0", "a rank of 1"],
    );
    let says = [
        "`layer4.0.conv1.lora_A.weight`",
        "shape [2, 3, 3, 3]",
        "the rank 5",
    ];
    assert_says(load_plain(json!({"r": 5}), &one), &says);
}

#[test]
fn bad_directories_are_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let load = || Adapter::load_peft(path);
    assert_says(load(), &["adapter_config.json", "does not exist"]);
    small().save_peft(path).unwrap();
    let file = path.join("bayeslora.json");
    assert_says(
        Adapter::load_peft(&file),
        &["bayeslora.json", "is a file", "a directory"],
    );

    let change = |name: &str, change: &dyn Fn(&mut TensorFile), says: &[&str]| {
        small().save_peft(path).unwrap();
        let mut file = TensorFile::read(path.join(name)).unwrap();
        change(&mut file);
        file.write_atomic(path.join(name)).unwrap();
        vouch(path);
        assert_says(load(), &[&[name], says].concat());
    };
    let weights = "adapter_model.safetensors";
    let a = "base_model.model.layer4.0.conv1.lora_A.weight";
    let b = "base_model.model.layer4.0.conv1.lora_B.weight";
    change(
        weights,
        &|f| drop(f.tensors.remove(b)),
        &["`layer4.0.conv1.lora_B.weight`", "missing"],
    );
    change(
        weights,
        &|f| f.insert(a, &[3, 27], vec![0.0; 81]),
        &["[3, 27, 1, 1]", "[3, 3, 3, 3]"],
    );
    change(
        weights,
        &|f| f.insert(a, &[81], vec![0.0; 81]),
        &["[81]", "[r, in, k, k] or [r, in]"],
    );
    change(
        weights,
        &|f| f.insert(b, &[4, 2], vec![0.0; 8]),
        &["[4, 2]", "as A has rank 3"],
    );
    change(
        weights,
        &|f| f.insert("x.lora_A", &[1], vec![0.0]),
        &["no place", "`x.lora_A`"],
    );
    let head = "base_model.model.fc.weight";
    change(
        weights,
        &|f| f.insert(head, &[8], vec![0.0; 8]),
        &["[8]", "[classes, features]"],
    );
    change(
        weights,
        &|f| f.insert(head, &[1, 8], vec![0.0; 8]),
        &["`fc.bias`", "[2]", "[1]"],
    );
    let nan = |f: &mut TensorFile| f.tensors.get_mut(b).unwrap().data[5] = f32::NAN;
    change(weights, &nan, &["lora_B.weight`", "NaN at index 5"]);

    let ours = "bayeslora.safetensors";
    let ids = "layer4.0.conv1.rank_ids";
    change(ours, &|f| drop(f.integers.remove(ids)), &["missing", ids]);
    change(
        ours,
        &|f| f.insert_u32s(ids, &[0]),
        &["the rank of `layer4.0.conv1` is 1, expected 3"],
    );
    let infinite = |f: &mut TensorFile| {
        f.insert(
            "layer4.0.conv1.log_alpha",
            &[3],
            vec![0.0, f32::INFINITY, 0.0],
        );
    };
    change(ours, &infinite, &["log_alpha`", "inf at index 1"]);
    change(
        ours,
        &|f| f.insert("stray", &[0], vec![]),
        &["no place", "`stray`"],
    );

    small().save_peft(path).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"version\": 2", "\"version\": 5")).unwrap();
    assert_says(
        load(),
        &["bayeslora.json", "version is 5, expected 2 or 3 or 4"],
    );
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_says(load(), &["bayeslora.json", "not the JSON"]);
    fs::remove_file(path.join(weights)).unwrap();
    assert_says(load(), &[weights, "does not exist"]);
}

#[test]
fn an_adapter_that_contradicts_itself_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter");
    let refused = |change: &dyn Fn(&mut Adapter), says: &[&str]| {
        let mut adapter = small();
        change(&mut adapter);
        assert_says(adapter.save_peft(&path), says);
        assert!(!path.join("bayeslora.json").exists());
    };
    refused(&|a| a.initial_rank = 0, &["the initial rank is 0", "1 to"]);
    refused(
        &|a| drop(a.classes.pop()),
        &["class names is 1", "2, the rows of fc.weight"],
    );
    refused(
        &|a| a.layers[2].name = a.layers[0].name.clone(),
        &["`layer4.0.conv1`", "twice"],
    );
    refused(
        &|a| a.layers[0].log_alpha = Some(vec![]),
        &["log_alpha` is 0", "3, the rank"],
    );
    let distinct = "distinct numbers below 9";
    refused(
        &|a| a.layers[0].rank_ids = vec![1, 2, 1],
        &["[1, 2, 1]", distinct],
    );
    refused(
        &|a| a.layers[0].rank_ids = vec![1, 2, 9],
        &["[1, 2, 9]", distinct],
    );
    refused(
        &|a| a.layers[0].lora_a.truncate(80),
        &["lora_A.weight`", "80 elements"],
    );
}

/// The half of `tests/interop/peft_roundtrip.py` that runs here.
#[test]
#[ignore = "run by tests/interop/peft_roundtrip.py"]
fn exchange_with_peft() {
    let dir = std::env::var("BAYESLORA_PEFT_DIR").expect("the script sets BAYESLORA_PEFT_DIR");
    let dir = Path::new(&dir);
    let ids = |rank: u32| (0..rank).collect::<Vec<u32>>();
    let pruned = vec![
        layer("layer3.1.conv1", [256, 256, 3], &ids(9), true),
        layer("layer4.0.conv1", [256, 512, 3], &[1, 4, 8], true),
        layer("layer4.0.downsample.0", [256, 512, 1], &[7], true),
        layer("layer4.1.conv2", [512, 512, 3], &[], true),
    ];
    adapter(pruned, 10, 512)
        .save_peft(dir.join("pruned"))
        .unwrap();
    let ambiguous = vec![
        layer("conv1", [3, 64, 7], &ids(2), true),
        layer("layer1.0.conv1", [64, 64, 3], &ids(5), true),
        layer("fc", [512, 10, 1], &ids(3), true),
    ];
    adapter(ambiguous, 10, 512)
        .save_peft(dir.join("ambiguous"))
        .unwrap();
    for name in ["plain", "plain_rslora"] {
        let adapter = Adapter::load_peft(dir.join(name)).unwrap();
        adapter
            .save_peft(dir.join(format!("{name}_resaved")))
            .unwrap();
    }
}

#[test]
fn saving_replaces_the_directory_and_keeps_what_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter");
    let (old, mut new) = (small(), small());
    new.layers.pop();
    old.save_peft(&path).unwrap();
    assert_ne!(old.sha256().unwrap(), new.sha256().unwrap());
    let loaded = Adapter::load_peft(&path).unwrap();
    assert_eq!(loaded.sha256().unwrap(), old.sha256().unwrap());
    fs::write(path.join("README.md"), "a card").unwrap();
    fs::write(path.join("temperature.json"), "{}").unwrap();
    // What an interrupted attempt leaves is no hindrance.
    fs::create_dir(dir.path().join("adapter.partial")).unwrap();
    new.save_peft(&path).unwrap();
    assert_eq!(Adapter::load_peft(&path).unwrap(), new);
    assert!(path.join("README.md").exists() && !path.join("temperature.json").exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    // An adapter that contradicts itself changes nothing.
    let mut bad = small();
    bad.classes.pop();
    assert_says(bad.save_peft(&path), &["number of class names"]);
    assert_eq!(Adapter::load_peft(&path).unwrap(), new);
}

#[test]
fn files_of_two_adapters_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    let mut other = small();
    other.head.bias[0] += 1.0;
    other.layers[0].log_alpha = Some(vec![1.0; 3]);
    other.base_name = "another".into();
    for name in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "bayeslora.safetensors",
    ] {
        small().save_peft(&one).unwrap();
        other.save_peft(&two).unwrap();
        fs::copy(two.join(name), one.join(name)).unwrap();
        let says = [name, "not the file that bayeslora.json was written with"];
        assert_says(Adapter::load_peft(&one), &says);
    }
    // Without it the rest would be read as a plain LoRA, with other answers.
    small().save_peft(&one).unwrap();
    fs::remove_file(one.join("bayeslora.json")).unwrap();
    let says = ["bayeslora.json", "does not exist", "written with"];
    assert_says(Adapter::load_peft(&one), &says);
}

#[test]
fn a_reader_never_meets_two_adapters_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter");
    let (one, mut two) = (small(), small());
    two.head.bias[0] += 1.0;
    one.save_peft(&path).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..300 {
                [&one, &two][number % 2].save_peft(&path).unwrap();
            }
        });
        let mut seen = [0, 0];
        while !writer.is_finished() {
            let found = Adapter::load_peft(&path).unwrap();
            seen[usize::from(found == two)] += 1;
            assert!(found == one || found == two);
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    });
}
