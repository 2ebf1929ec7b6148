use std::collections::BTreeMap;

use bayeslora::low_level::formats::{Architecture, BackboneFile, Stem, TensorFile};
use half::f16;

use super::{assert_says, safetensors};

const ASSET: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/assets/resnet18-cifar100-tin200-64px.safetensors"
);

pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Names and shapes of a ResNet-18, written out from torchvision's module tree.
pub fn shapes(stem: usize, widths: [usize; 4], classes: Option<usize>) -> Shapes {
    shapes_of([2; 4], stem, widths, classes)
}

/// The same with other numbers of blocks.
pub fn shapes_of(
    blocks: [usize; 4],
    stem: usize,
    widths: [usize; 4],
    classes: Option<usize>,
) -> Shapes {
    let mut all = Shapes::new();
    let mut conv_and_norm = |conv: String, norm: String, shape: [usize; 4]| {
        all.insert(format!("{conv}.weight"), shape.to_vec());
        for field in ["weight", "bias", "running_mean", "running_var"] {
            all.insert(format!("{norm}.{field}"), vec![shape[0]]);
        }
    };
    conv_and_norm("conv1".into(), "bn1".into(), [widths[0], 3, stem, stem]);
    for stage in 1..=4 {
        let width = widths[stage - 1];
        let before = if stage == 1 { width } else { widths[stage - 2] };
        for block in 0..blocks[stage - 1] {
            let at = format!("layer{stage}.{block}");
            let input = if block == 0 { before } else { width };
            for (conv, input) in [(1, input), (2, width)] {
                conv_and_norm(
                    format!("{at}.conv{conv}"),
                    format!("{at}.bn{conv}"),
                    [width, input, 3, 3],
                );
            }
        }
        if stage > 1 {
            let at = format!("layer{stage}.0.downsample");
            conv_and_norm(format!("{at}.0"), format!("{at}.1"), [width, before, 1, 1]);
        }
    }
    if let Some(classes) = classes {
        all.insert("fc.weight".into(), vec![classes, widths[3]]);
        all.insert("fc.bias".into(), vec![classes]);
    }
    all
}

pub fn tiny() -> Shapes {
    shapes(3, [4, 6, 5, 8], Some(7))
}

/// Values that f16 holds exactly.
pub fn value(name: &str, index: usize) -> f32 {
    ((name.len() * 31 + index) % 97) as f32 / 64.0
}

pub fn encode(
    shapes: &Shapes,
    dtype: &str,
    prefix: &str,
    change: impl Fn(&str, &mut Vec<f32>),
) -> Vec<u8> {
    let names: Vec<String> = shapes
        .keys()
        .map(|name| format!("{prefix}{name}"))
        .collect();
    let entries: Vec<_> = shapes
        .iter()
        .zip(&names)
        .map(|((name, shape), full)| {
            let mut values: Vec<f32> = (0..shape.iter().product())
                .map(|i| value(name, i))
                .collect();
            change(name, &mut values);
            let bytes = match dtype {
                "F16" => values
                    .iter()
                    .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                    .collect(),
                _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            (full.as_str(), dtype, &shape[..], bytes)
        })
        .collect();
    safetensors(&entries)
}

fn load(shapes: &Shapes) -> Result<BackboneFile, bayeslora::low_level::formats::FormatError> {
    BackboneFile::from_bytes("net", &encode(shapes, "F32", "", |_, _| ()))
}

#[test]
fn widths_stem_and_classes_come_from_the_file() {
    let file = load(&tiny()).unwrap();
    assert_eq!(
        (file.stem, file.widths, file.classes),
        (Stem::Cifar, [4, 6, 5, 8], Some(7))
    );
    for (name, shape) in tiny() {
        let tensor = file.tensor(&name).unwrap();
        assert_eq!(tensor.shape, shape);
        assert!(
            tensor
                .data
                .iter()
                .enumerate()
                .all(|(i, &v)| v == value(&name, i))
        );
    }
    let file = load(&shapes(7, [2, 2, 2, 2], None)).unwrap();
    assert_eq!(
        (file.stem, file.widths, file.classes),
        (Stem::ImageNet, [2; 4], None)
    );
    assert!(file.tensor("fc.weight").is_none());
}

#[test]
fn hash_depends_on_the_content_alone() {
    let plain = load(&tiny()).unwrap();
    let wrapped = encode(&tiny(), "F16", "module.model.backbone.", |_, _| ());
    let wrapped = BackboneFile::from_bytes("half", &wrapped).unwrap();
    assert_eq!(plain.sha256(), wrapped.sha256());
    assert_eq!(plain.sha256().len(), 64);

    let mut counted = tiny();
    counted.insert("bn1.num_batches_tracked".into(), vec![]);
    assert_eq!(load(&counted).unwrap().sha256(), plain.sha256());

    let nudged = encode(&tiny(), "F32", "", |name, values| {
        if name == "layer4.1.bn2.running_var" {
            values[7] = f32::from_bits(values[7].to_bits() + 1);
        }
    });
    let nudged = BackboneFile::from_bytes("nudged", &nudged).unwrap();
    assert_ne!(plain.sha256(), nudged.sha256());
}

/// What transformers calls a tensor of torchvision's ResNet-18.
fn transformers_name(name: &str) -> String {
    let layer = |name: &str| {
        let number = |text: &str| text.parse::<usize>().unwrap() - 1;
        let [stage, block, layer, rest] = name.splitn(4, '.').collect::<Vec<_>>()[..] else {
            panic!("{name}");
        };
        let place = format!("stages.{}.layers.{block}", number(&stage["layer".len()..]));
        match (layer, rest.split_once('.')) {
            ("downsample", Some(("0", part))) => format!("{place}.shortcut.convolution.{part}"),
            ("downsample", Some((_, part))) => format!("{place}.shortcut.normalization.{part}"),
            _ => match layer.strip_prefix("conv") {
                Some(at) => format!("{place}.layer.{}.convolution.{rest}", number(at)),
                None => format!(
                    "{place}.layer.{}.normalization.{rest}",
                    number(&layer["bn".len()..])
                ),
            },
        }
    };
    match name.split_once('.').unwrap() {
        ("conv1", part) => format!("resnet.embedder.embedder.convolution.{part}"),
        ("bn1", part) => format!("resnet.embedder.embedder.normalization.{part}"),
        ("fc", part) => format!("classifier.1.{part}"),
        _ => format!("resnet.encoder.{}", layer(name)),
    }
}

/// The same network as a file of transformers.
fn encode_for_transformers() -> Vec<u8> {
    let shapes = tiny();
    let named: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (name, shape, transformers_name(name)))
        .collect();
    let bytes = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|index| value(name, index));
        values.flat_map(f32::to_le_bytes).collect()
    };
    let entries: Vec<_> = named
        .iter()
        .map(|(name, shape, full)| (full.as_str(), "F32", &shape[..], bytes(name, shape)))
        .collect();
    safetensors(&entries)
}

#[test]
fn names_of_transformers_are_translated_and_its_cache_is_read() {
    let plain = load(&tiny()).unwrap();
    let bytes = encode_for_transformers();
    let found = BackboneFile::from_bytes("net", &bytes).unwrap();
    assert_eq!((found.sha256(), found.classes), (plain.sha256(), Some(7)));

    let folder = tempfile::tempdir().unwrap();
    let empty = BackboneFile::read(folder.path()).unwrap_err().to_string();
    assert!(
        empty.contains("model.safetensors") && empty.contains("does not exist"),
        "{empty}"
    );
    let cache = folder.path().join("models--microsoft--resnet-18");
    let snapshot = cache.join("snapshots").join("9f00d");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cache.join("refs")).unwrap();
    std::fs::write(cache.join("refs/main"), "9f00d\n").unwrap();
    let missing = BackboneFile::read(&cache).unwrap_err().to_string();
    assert!(
        missing.contains("9f00d") && missing.contains("does not exist"),
        "{missing}"
    );
    std::fs::write(snapshot.join("model.safetensors"), &bytes).unwrap();
    for place in [&cache, &snapshot] {
        assert_eq!(BackboneFile::read(place).unwrap().sha256(), plain.sha256());
    }
    // Its tensors do not tell what is computed between them.
    let config = snapshot.join("config.json");
    std::fs::write(&config, r#"{"hidden_act": "relu"}"#).unwrap();
    BackboneFile::read(&cache).unwrap();
    for (content, part) in [
        (r#"{"hidden_act": "gelu"}"#, "\"gelu\""),
        (r#"{"hidd"#, "JSON"),
    ] {
        std::fs::write(&config, content).unwrap();
        let other = BackboneFile::read(&cache).unwrap_err().to_string();
        assert!(
            other.contains("config.json") && other.contains(part),
            "{other}"
        );
    }
    std::fs::write(cache.join("refs/main"), "../../elsewhere").unwrap();
    let strange = BackboneFile::read(&cache).unwrap_err().to_string();
    assert!(
        strange.contains("refs/main") && strange.contains("elsewhere"),
        "{strange}"
    );

    // One tensor under both names is no network.
    let mut twice = tiny();
    twice.insert(
        "embedder.embedder.convolution.weight".into(),
        vec![4, 3, 3, 3],
    );
    let error = load(&twice).unwrap_err().to_string();
    assert!(
        error.contains("`embedder.embedder.convolution.weight`"),
        "{error}"
    );
}

#[test]
fn every_wrong_shape_is_named_with_the_expected_one() {
    for name in tiny().into_keys() {
        let mut wrong = tiny();
        let shape = wrong.get_mut(&name).unwrap();
        let good = format!("{shape:?}");
        // One channel more in the last dimension fits no neighbour and no kernel.
        *shape.last_mut().unwrap() += 1;
        let found = format!("shape {shape:?}");
        let says = match name.as_str() {
            "conv1.weight" => "[width, 3, 7, 7] or [width, 3, 3, 3]".to_owned(),
            "layer2.0.conv1.weight" | "layer3.0.conv1.weight" | "layer4.0.conv1.weight" => {
                "[width, in, 3, 3]".to_owned()
            }
            _ => good,
        };
        let tensor = format!("`{name}`");
        assert_says(
            load(&wrong),
            &["`net`", &tensor, &found, &format!("expected {says}")],
        );
    }
    // A width that disagrees with its neighbours is seen at the first of them.
    let mut wrong = tiny();
    wrong.insert("layer3.0.conv1.weight".into(), vec![9, 6, 3, 3]);
    assert_says(
        load(&wrong),
        &["`layer3.0.bn1.weight`", "shape [5]", "expected [9]"],
    );
}

#[test]
fn missing_and_foreign_tensors_are_named_and_counted() {
    let mut renamed = tiny();
    for name in ["layer1.0.conv1", "layer4.1.conv2"] {
        let shape = renamed.remove(&format!("{name}.weight")).unwrap();
        renamed.insert(format!("{name}.w"), shape);
    }
    let says = [
        "`net`",
        "2 of the expected tensors missing",
        "`layer1.0.conv1.weight`",
    ];
    assert_says(load(&renamed), &says);

    let mut headless = tiny();
    headless.remove("fc.bias");
    assert_says(load(&headless), &["1 of the expected", "`fc.bias`"]);

    // Every tensor of a ResNet-18 is there: it must not pass for one.
    let mut deeper = tiny();
    deeper.insert("layer1.2.conv1.weight".into(), vec![4, 4, 3, 3]);
    deeper.insert("layer1.2.bn1.weight".into(), vec![4]);
    let says = [
        "2 tensors",
        "no place in a ResNet-18",
        "`layer1.2.bn1.weight`",
    ];
    assert_says(load(&deeper), &says);

    let mut twice = tiny();
    twice.insert("module.fc.bias".into(), vec![7]);
    assert_says(load(&twice), &["no place in a ResNet", "`module.fc.bias`"]);
}

#[test]
fn a_resnet_34_is_told_by_its_blocks() {
    let deep = |change: &dyn Fn(&mut Shapes)| {
        let mut shapes = shapes_of([3, 4, 6, 3], 7, [2, 3, 4, 5], Some(3));
        change(&mut shapes);
        load(&shapes)
    };
    let file = deep(&|_| ()).unwrap();
    assert_eq!(
        (file.architecture, file.widths, file.classes),
        (Architecture::ResNet34, [2, 3, 4, 5], Some(3))
    );
    assert!(file.tensor("layer3.5.bn2.running_var").is_some());
    assert_eq!(load(&tiny()).unwrap().architecture, Architecture::ResNet18);
    let says = ["1 of the expected", "`layer3.5.conv2.weight`"];
    assert_says(
        deep(&|shapes| drop(shapes.remove("layer3.5.conv2.weight"))),
        &says,
    );
    let says = ["`layer3.5.conv2.weight`", "expected [4, 4, 3, 3]"];
    assert_says(
        deep(&|shapes| drop(shapes.insert("layer3.5.conv2.weight".into(), vec![4, 4, 1, 1]))),
        &says,
    );
    let says = ["no place in a ResNet-34", "`layer3.5.conv9.weight`"];
    assert_says(
        deep(&|shapes| drop(shapes.insert("layer3.5.conv9.weight".into(), vec![4]))),
        &says,
    );
    // One block short it is neither.
    let says = ["no place in a ResNet-18"];
    assert_says(
        deep(&|shapes| shapes.retain(|name, _| !name.starts_with("layer3.5."))),
        &says,
    );
}

#[test]
fn nan_is_refused_by_name() {
    let bytes = encode(&tiny(), "F32", "", |name, values| {
        if name == "layer2.0.downsample.1.running_var" {
            values[3] = f32::NAN;
        }
    });
    let says = [
        "`net`",
        "`layer2.0.downsample.1.running_var`",
        "NaN at index 3",
    ];
    assert_says(BackboneFile::from_bytes("net", &bytes), &says);
}

#[test]
fn the_embedded_backbone_loads() {
    let file = BackboneFile::read(ASSET).unwrap();
    assert_eq!(file.stem, Stem::ImageNet);
    assert_eq!(file.widths, [64, 128, 256, 512]);
    assert_eq!(file.classes, Some(300));
    assert_eq!(file.metadata["input_size"], "64");
    // Its weights are f16 and the file says f32 after reading: nothing else may have moved.
    let raw = TensorFile::read(ASSET).unwrap();
    for (name, tensor) in &raw.tensors {
        assert_eq!(file.tensor(name), Some(tensor), "{name}");
    }
}
