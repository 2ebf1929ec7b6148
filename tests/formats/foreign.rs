//! Files of other kinds under a backbone's or an adapter's name, and files that lie about themselves.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;

use bayeslora::low_level::formats::{Adapter, BackboneFile, TensorFile};
use serde_json::json;

use super::adapter::{load_plain, small};
use super::backbone::{encode, shapes, tiny};
use super::{assert_says, safetensors};

#[track_caller]
fn refused(name: &str, bytes: &[u8], parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    for message in [
        BackboneFile::read(&path).unwrap_err().to_string(),
        BackboneFile::from_bytes(name, bytes)
            .unwrap_err()
            .to_string(),
    ] {
        for part in [name].iter().chain(parts) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn other_kinds_of_files_are_told_by_their_content() {
    let pickle = b"\x80\x02}q\0(X\x0c\0\0\0conv1.weightq\x01".to_vec();
    let says = [
        "a file of PyTorch",
        "import torch, safetensors.torch\n",
        "weights_only=True), ",
    ];
    // Whatever the name says.
    refused("resnet18.safetensors", &pickle, &says);
    let archive = [
        b"PK\x03\x04\0\0\x08\x08\0\0",
        &[0; 16][..],
        b"\x11\0\0\0resnet18/data.pkl",
        &pickle,
    ]
    .concat();
    // Where no weights of PyTorch are read: a backbone's are.
    let adapters = |name: &str, bytes: &[u8], parts: &[&str]| {
        let message = TensorFile::from_bytes(name, bytes).unwrap_err().to_string();
        for part in [name].iter().chain(parts) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    adapters("resnet18.pth", &archive, &says);
    let wrapped = [&archive[..], b"X\x0a\0\0\0state_dictq\x02"].concat();
    adapters(
        "last.ckpt",
        &wrapped,
        &["weights_only=True)[\"state_dict\"], "],
    );
    let module = [
        &archive[..],
        b"ctorch.nn.modules.conv\nConv2d\nX\x10\0\0\0_state_dict_hooksq\x02",
    ];
    adapters(
        "whole.pth",
        &module.concat(),
        &["only if you trust it", "weights_only=False).state_dict(), "],
    );

    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n";
    refused(
        "model.safetensors",
        pointer,
        &["a Git LFS pointer", "`git lfs pull`"],
    );
    let page = b"\n\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>";
    refused("model.safetensors", page, &["an HTML page", "`resolve`"]);
    refused(
        "m",
        b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
        &["an XML page"],
    );
    refused(
        "m",
        b"PK\x03\x04\x14\0\0\0\x08\0weights/model.safetensors",
        &["a zip archive", "unpack it"],
    );
    refused(
        "m",
        &[&b"\x1f\x8b\x08\0"[..], &[7; 90]].concat(),
        &["compressed with gzip", "unpack it"],
    );
    refused(
        "m",
        &[&b"\x89HDF\r\n\x1a\n"[..], &[0; 90]].concat(),
        &["an HDF5 file"],
    );
    refused(
        "m",
        b"{\"weight_map\": {\"conv1.weight\": \"a.safetensors\"}}",
        &["JSON", "the tensors"],
    );
    refused("m", b"", &["empty", "again"]);
    refused("m", &[0; 300], &["nothing but zeros", "again"]);
}

#[test]
fn a_header_whose_length_begins_like_another_format_is_still_read() {
    let mut metadata = BTreeMap::new();
    let file = |metadata: &BTreeMap<String, String>| {
        let header = json!({"__metadata__": metadata}).to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let empty = file(&BTreeMap::from([("k".to_owned(), String::new())])).len() - 8;
    // The length's first byte is `{`, its second `#`: JSON or a text, were it not for the header.
    for length in [0x107b_usize, 0x1023, 0x8b1f] {
        metadata.insert("k".to_owned(), " ".repeat(length - empty));
        let bytes = file(&metadata);
        assert_eq!(bytes[..2], (length as u16).to_le_bytes());
        TensorFile::from_bytes("m", &bytes).unwrap();
    }
}

#[test]
fn sizes_that_lie_are_refused_before_memory_is_taken() {
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    refused(
        "m",
        &[&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        &["its header says", "again"],
    );
    refused(
        "m",
        &[&(1u64 << 33).to_le_bytes()[..], b"{}"].concat(),
        &["its header says", "8589934592"],
    );
    for text in [
        // Overlapping, with a gap, a product that overflows, more than there is.
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#,
    ] {
        refused(
            "m",
            &[header(text), vec![0; 6]].concat(),
            &["not safetensors"],
        );
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    refused("m", &header(&deep), &["not safetensors"]);
    // Without elements a shape may claim anything.
    let none = safetensors(&[
        ("fc.weight", "F32", &[0, 8], vec![]),
        ("fc.bias", "F32", &[0], vec![]),
    ]);
    let mut headless = shapes(3, [4, 6, 5, 8], None);
    headless.insert("fc.weight".into(), vec![0, 8]);
    headless.insert("fc.bias".into(), vec![0]);
    let says = ["`fc.weight`", "at least one class"];
    assert_says(
        BackboneFile::from_bytes("net", &encode(&headless, "F32", "", |_, _| ())),
        &says,
    );
    assert!(BackboneFile::from_bytes("net", &none).is_err());
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    for (path, kind) in [
        (fifo.as_path(), "a named pipe"),
        ("/dev/zero".as_ref(), "a device"),
        (dir.path(), "a directory"),
    ] {
        let error = TensorFile::read(path).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
        let source = error.source().expect("what the system said").to_string();
        assert!(
            source.contains(kind) && source.contains("a regular file"),
            "{source}"
        );
        assert!(!error.to_string().contains(kind), "said twice: {error}");
    }
}

#[test]
fn other_networks_are_named() {
    // As torchvision makes them: a bottleneck's first and last convolution are 1x1.
    let network = |counts: [usize; 4], bottleneck: bool| {
        let mut names = tiny();
        names.retain(|name, _| !name.starts_with("layer"));
        for (stage, blocks) in counts.into_iter().enumerate() {
            for block in 0..blocks {
                let convs = if bottleneck { 3 } else { 2 };
                for conv in 1..=convs {
                    let at = format!("layer{}.{block}", stage + 1);
                    let kernel = if bottleneck && conv != 2 { 1 } else { 3 };
                    let shape = vec![4, 4, kernel, kernel];
                    names.insert(format!("{at}.conv{conv}.weight"), shape);
                    for field in ["weight", "bias", "running_mean", "running_var"] {
                        names.insert(format!("{at}.bn{conv}.{field}"), vec![4]);
                    }
                }
                if block == 0 && (bottleneck || stage > 0) {
                    let at = format!("layer{}.0.downsample", stage + 1);
                    names.insert(format!("{at}.0.weight"), vec![4, 4, 1, 1]);
                    for field in ["weight", "bias", "running_mean", "running_var"] {
                        names.insert(format!("{at}.1.{field}"), vec![4]);
                    }
                }
            }
        }
        encode(&names, "F32", "", |_, _| ())
    };
    for (counts, bottleneck, name) in [
        ([1, 1, 1, 1], false, "a ResNet-10,"),
        ([9, 9, 9, 0], false, "a CIFAR ResNet-56,"),
        ([3, 4, 6, 3], true, "a ResNet-50,"),
        ([3, 4, 23, 3], true, "a ResNet-101,"),
        ([3, 8, 36, 3], true, "a ResNet-152,"),
    ] {
        let says = [
            "`net`",
            &format!("looks like {name}"),
            "expected a ResNet-18 or ResNet-34",
        ];
        assert_says(
            BackboneFile::from_bytes("net", &network(counts, bottleneck)),
            &says,
        );
    }
    for (tensor, name) in [
        ("blocks.0.attn.qkv.weight", "a vision transformer"),
        ("features.0.weight", "an AlexNet, VGG"),
        ("layer2.0.shortcut.0.weight", "`shortcut` for `downsample`"),
        (
            "base_model.model.layer4.0.conv1.lora_A.weight",
            "a LoRA adapter",
        ),
    ] {
        let bytes = safetensors(&[(tensor, "F32", &[1], vec![0; 4])]);
        assert_says(
            BackboneFile::from_bytes("net", &bytes),
            &["looks like", name],
        );
    }
    let quantised = safetensors(&[("conv1.weight", "I8", &[4, 3, 3, 3], vec![0; 108])]);
    assert_says(
        BackboneFile::from_bytes("net", &quantised),
        &["`conv1.weight`", "quantised"],
    );
}

#[test]
fn batch_norm_must_come_out_finite() {
    let changed = |part: &str, index: usize, value: f32| {
        let name = format!("layer2.0.bn1.{part}");
        let bytes = encode(&tiny(), "F32", "", |tensor, values| {
            if tensor == name {
                values[index] = value;
            }
        });
        BackboneFile::from_bytes("net", &bytes)
    };
    changed("running_var", 3, 0.0).unwrap();
    let says = [
        "`net`",
        "`layer2.0.bn1.running_var` at index 3",
        "-0.00001",
        "not negative",
    ];
    assert_says(changed("running_var", 3, -1e-5), &says);
    assert_says(
        changed("running_var", 5, f32::INFINITY),
        &["running_var", "inf at index 5"],
    );
    // gamma / sqrt(var + eps) beyond f32.
    let bytes = encode(&tiny(), "F32", "", |tensor, values| match tensor {
        "layer2.0.bn1.weight" => values[2] = f32::MAX,
        "layer2.0.bn1.running_var" => values[2] = 0.0,
        _ => {}
    });
    assert_says(
        BackboneFile::from_bytes("net", &bytes),
        &["`layer2.0.bn1`", "index 2", "f32"],
    );
}

const ONE: [(&str, usize); 1] = [("layer4.0.conv1", 2)];

#[test]
fn adapters_of_other_kinds_are_named_as_peft_names_them() {
    for (kind, name) in [
        ("LOHA", "LoHa"),
        ("LOKR", "LoKr"),
        ("IA3", "(IA)^3"),
        ("OFT", "OFT"),
        ("ADALORA", "AdaLoRA"),
        ("VERA", "VeRA"),
    ] {
        let says = [
            "adapter_config.json",
            "peft_type",
            &format!("{kind} ({name})"),
            "expected LORA",
        ];
        assert_says(load_plain(json!({"peft_type": kind}), &ONE), &says);
    }
    for (extra, says) in [
        (json!({"use_dora": true}), ["use_dora is true", "DoRA"]),
        (
            json!({"use_qalora": true}),
            ["use_qalora is true", "not read"],
        ),
        (json!({"bias": "all"}), ["bias is \"all\"", "bias=\"none\""]),
        (
            json!({"bias": "lora_only"}),
            ["bias is \"lora_only\"", "expected none"],
        ),
        (json!({"lora_bias": true}), ["lora_bias", "not read"]),
        (
            json!({"layers_to_transform": [1]}),
            ["layers_to_transform", "not read"],
        ),
        (
            json!({"layer_replication": [[0, 4]]}),
            ["layer_replication", "not read"],
        ),
        (
            json!({"loftq_config": {"loftq_bits": 4}}),
            ["loftq_config", "not read"],
        ),
        (
            json!({"init_lora_weights": "pissa"}),
            ["pissa", "path_initial_model_for_weight_conversion"],
        ),
        (
            json!({"modules_to_save": ["fc", "bn1"]}),
            ["modules_to_save is `bn1`", "the classifier alone (`fc`"],
        ),
        (
            json!({"r": 1u64 << 40}),
            ["r is 1099511627776", "a rank of 1 to"],
        ),
        (json!({"r": 0}), ["r is 0", "a rank of 1 to"]),
        (json!({"lora_alpha": -8}), ["lora_alpha is -8", "above 0"]),
        (json!({"lora_alpha": 0}), ["lora_alpha is 0", "above 0"]),
        (json!({"lora_alpha": 1e-320}), ["lora_alpha", "above 0"]),
        (
            json!({"alpha_pattern": {"layer4.0.conv1": -1}}),
            ["lora_alpha is -1", "above 0"],
        ),
        (
            json!({"alpha_pattern": {"conv1": 2, "layer4.0.conv1": 3}}),
            ["2 by `conv1` and 3 by `layer4.0.conv1`", "one value"],
        ),
    ] {
        assert_says(load_plain(extra, &ONE), &says);
    }
    // What changes nothing here, or says that nothing was changed.
    let harmless = json!({
        "use_dora": false, "use_rslora": false, "bias": "none", "fan_in_fan_out": true, "lora_dropout": 0.1,
        "layers_to_transform": null, "loftq_config": {}, "init_lora_weights": "gaussian", "modules_to_save": ["fc"],
        "corda_config": null, "megatron_config": null, "task_type": null,
    });
    assert_eq!(
        load_plain(harmless, &ONE).unwrap(),
        load_plain(json!({}), &ONE).unwrap()
    );
}

#[test]
fn an_adapter_without_its_tensors_is_told_how_to_get_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("adapter_config.json"),
        r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#,
    )
    .unwrap();
    fs::write(dir.path().join("adapter_model.bin"), b"PK\x03\x04").unwrap();
    let says = ["adapter_model.bin", "PyTorch", "safe_serialization=True"];
    assert_says(Adapter::load_peft(dir.path()), &says);
    let mut file = TensorFile::default();
    file.insert(
        "base_model.model.layer4.0.conv1.lora_A.weight",
        &[2, 3, 3, 3],
        vec![1.0; 54],
    );
    file.insert(
        "base_model.model.layer4.0.conv1.lora_B.weight",
        &[4, 2, 1, 1],
        vec![1.0; 8],
    );
    let weights = dir.path().join("adapter_model.safetensors");
    file.write_atomic(&weights).unwrap();
    let says = ["modules_to_save is empty", "it has to be trained and saved"];
    assert_says(Adapter::load_peft(dir.path()), &says);
    fs::write(&weights, b"version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert_says(
        Adapter::load_peft(dir.path()),
        &["adapter_model.safetensors", "`git lfs pull`"],
    );
}

#[test]
fn adapters_with_numbers_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Adapter), says: &[&str]| {
        let mut adapter = small();
        change(&mut adapter);
        assert_says(adapter.save_peft(dir.path().join("adapter")), says);
    };
    refused(
        &|a| a.resolution = 1 << 62,
        &["the resolution is 4611686018427387904", "at most"],
    );
    refused(
        &|a| a.initial_rank = 1 << 40,
        &["the initial rank", "1 to 512"],
    );
    for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-44] {
        refused(&|a| a.lora_alpha = alpha, &["the scale", "above 0"]);
    }
    refused(
        &|a| a.classes[1] = a.classes[0].clone(),
        &["the class", "listed twice"],
    );
    refused(
        &|a| a.layers[0].log_alpha = Some(vec![0.0, 60.0, 0.0]),
        &["log_alpha", "60", "at most"],
    );
    refused(
        &|a| a.layers[1].in_channels = 0,
        &["`layer3.1.conv2`", "0 to 5 channels"],
    );
    // A regression head is not a classifier that is always sure.
    let one = |a: &mut Adapter| {
        a.classes.truncate(1);
        (a.head.classes, a.head.bias) = (1, vec![0.0]);
        a.head.weight.truncate(a.head.features);
    };
    refused(&one, &["rows of fc.weight is 1", "at least 2"]);
}
