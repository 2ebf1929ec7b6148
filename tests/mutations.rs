//! Readers of weights, adapters, configurations and results against damaged files by the thousand: no panic,
//! bounded memory and time, and what is still read gives finite numbers.
//!
//! `BAYESLORA_MUTATE_SECONDS=600 cargo test --release --test mutations` takes ten minutes for each.

mod mutate;
#[path = "report/study.rs"]
mod study;
mod torch_save;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bayeslora::low_level::formats::{Adapter, BackboneFile, Checkpoint, RunDir, TensorFile};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::report::Report;
use bayeslora::low_level::train::TrainConfig;
use mutate::{Bounds, damaged, hunt};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use torch_save::Saved;

#[global_allocator]
static MEMORY: mutate::Counting = mutate::Counting;

/// What is read here is small: damage makes it no larger.
const SMALL: Bounds = Bounds {
    bytes: 16 << 20,
    time: Duration::from_secs(5),
};

/// A page with its figures.
const PAGES: Bounds = Bounds {
    bytes: 256 << 20,
    time: Duration::from_secs(20),
};

/// Names and shapes of a network of few channels.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut layer = |conv: &str, norm: &str, shape: [usize; 4]| {
        tensors.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    layer("conv1", "bn1", [1, 3, 3, 3]);
    for stage in 1..=4 {
        for block in 0..2 {
            let at = format!("layer{stage}.{block}");
            for conv in 1..=2 {
                layer(
                    &format!("{at}.conv{conv}"),
                    &format!("{at}.bn{conv}"),
                    [1, 1, 3, 3],
                );
            }
            if stage > 1 && block == 0 {
                layer(
                    &format!("{at}.downsample.0"),
                    &format!("{at}.downsample.1"),
                    [1, 1, 1, 1],
                );
            }
        }
    }
    tensors
}

/// Its file.
fn backbone() -> Vec<u8> {
    let tensors = shapes();
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| 0.5f32.to_le_bytes().repeat(shape.iter().product()))
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn backbones() {
    hunt("backbone", &[backbone()], SMALL, assert_sound_backbone);
}

fn assert_sound_backbone(bytes: &[u8]) {
    let Ok(file) = BackboneFile::from_bytes("damaged", bytes) else {
        return;
    };
    let backbone = Backbone::from_file("damaged", &file);
    for conv in &backbone.convs {
        let all = [&conv.weight, &conv.gain, &conv.bias];
        assert!(all.into_iter().flatten().all(|value| value.is_finite()));
    }
}

#[test]
fn backbones_of_pytorch() {
    let shapes = shapes();
    let saved = shapes.iter().enumerate().map(|(key, (name, shape))| {
        let bytes = 0.5f32.to_le_bytes().repeat(shape.iter().product());
        (
            Saved::plain(name, "FloatStorage", key, shape),
            (key.to_string(), bytes),
        )
    });
    let (tensors, storages): (Vec<_>, Vec<_>) = saved.unzip();
    let whole = torch_save::file(&torch_save::state_dict(&tensors), &storages);
    BackboneFile::from_bytes("sound", &whole).unwrap();
    hunt("pytorch", &[whole], SMALL, assert_sound_backbone);
    // The archive's checksums stop most damage: here it has those of the damaged pickle.
    let seed = torch_save::state_dict(&tensors);
    hunt("pickle", &[seed], SMALL, |pickle| {
        assert_sound_backbone(&torch_save::file(pickle, &storages));
    });
}

#[test]
fn tensor_files() {
    let mut halves = TensorFile::default();
    halves.insert("a", &[2, 3], vec![1.0; 6]);
    halves.insert_u32s("ids", &[1, 2, 3]);
    halves.metadata.insert("note".into(), "kept".into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    halves.write_atomic(&path).unwrap();
    let seeds = [backbone(), fs::read(&path).unwrap()];
    hunt("safetensors", &seeds, SMALL, |bytes| {
        let Ok(file) = TensorFile::from_bytes("damaged", bytes) else {
            return;
        };
        for tensor in file.tensors.values() {
            assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
        }
    });
}

/// What peft writes: a configuration and tensors.
fn adapter() -> [Vec<u8>; 2] {
    let config = br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "modules_to_save": ["fc"],
        "target_modules": ".*layer4\\.[01]\\.conv1", "exclude_modules": ["conv2", "downsample.0"],
        "rank_pattern": {"layer4.1.conv1": 1}, "alpha_pattern": {"layer4.1.conv1": 3.5}, "use_dora": false,
        "base_model_name_or_path": "resnet18", "use_rslora": true, "layers_to_transform": null}"#;
    let mut file = TensorFile::default();
    for (name, rank) in [("layer4.0.conv1", 2), ("layer4.1.conv1", 1)] {
        let name = format!("base_model.model.{name}");
        file.insert(
            format!("{name}.lora_A.weight"),
            &[rank, 3, 3, 3],
            vec![0.5; rank * 27],
        );
        file.insert(
            format!("{name}.lora_B.weight"),
            &[4, rank, 1, 1],
            vec![0.5; 4 * rank],
        );
    }
    file.insert("base_model.model.fc.weight", &[2, 4], vec![0.5; 8]);
    file.insert("base_model.model.fc.bias", &[2], vec![0.5; 2]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    file.write_atomic(&path).unwrap();
    [config.to_vec(), fs::read(&path).unwrap()]
}

fn assert_sound(dir: &Path) {
    let Ok(adapter) = Adapter::load_peft(dir) else {
        return;
    };
    assert!(adapter.scale().is_finite() && adapter.scale() > 0.0);
    assert_eq!(adapter.classes.len(), adapter.head.classes);
    let mut all = vec![&adapter.head.weight, &adapter.head.bias];
    for layer in &adapter.layers {
        assert_eq!(
            layer.lora_a.len(),
            layer.rank() * layer.in_channels * layer.kernel * layer.kernel
        );
        assert_eq!(layer.lora_b.len(), layer.rank() * layer.out_channels);
        all.extend([&layer.lora_a, &layer.lora_b]);
    }
    assert!(all.into_iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn peft_directories() {
    let [config, weights] = adapter();
    for (damaged, sound) in [
        (
            ("adapter_config.json", &config),
            ("adapter_model.safetensors", &weights),
        ),
        (
            ("adapter_model.safetensors", &weights),
            ("adapter_config.json", &config),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(sound.0), sound.1).unwrap();
        let path = dir.path().join(damaged.0);
        hunt(damaged.0, std::slice::from_ref(damaged.1), SMALL, |bytes| {
            fs::write(&path, bytes).unwrap();
            assert_sound(dir.path());
        });
    }
}

#[test]
fn configurations() {
    let text = toml::to_string(&TrainConfig::default()).unwrap();
    let deep = format!("a = {}", "[".repeat(10_000));
    hunt(
        "config.toml",
        &[text.into_bytes(), deep.into_bytes()],
        SMALL,
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let Ok(config) = toml::from_str::<TrainConfig>(&text) else {
                return;
            };
            if let Ok(config) = config.resolve(100) {
                assert!(config.lr.is_finite() && config.epochs > 0 && config.batch_size > 0);
            }
        },
    );
}

#[test]
fn checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create::<bayeslora::low_level::formats::FormatError>(
        dir.path().join("run"),
        "seed = 1\n",
        |_| Ok(()),
    )
    .unwrap();
    let mut checkpoint = Checkpoint {
        epoch: 1,
        step: 10,
        ..Checkpoint::default()
    };
    checkpoint
        .tensors
        .insert("parameters.fc", &[3], vec![0.5; 3]);
    run.write_checkpoint(&checkpoint).unwrap();
    let folder = run.path().join("checkpoint");
    let file = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let sound = fs::read(&file).unwrap();
    hunt("checkpoint", std::slice::from_ref(&sound), SMALL, |bytes| {
        fs::write(&file, bytes).unwrap();
        if let Ok((read, _)) = run.read_checkpoint() {
            // A file that is not what was written is refused, whatever was damaged in it.
            assert_eq!((read.epoch, read.step), (1, 10));
            assert_eq!(read.tensors.tensors, checkpoint.tensors.tensors);
        }
    });
}

#[test]
fn results() {
    let mut results = study::complete();
    results.rows.truncate(2);
    results.examples.truncate(1);
    results.corruptions.truncate(1);
    let sound = serde_json::to_vec(&results).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    hunt(
        "results.json",
        std::slice::from_ref(&sound),
        PAGES,
        |bytes| {
            fs::write(&path, bytes).unwrap();
            if let Ok(report) = Report::read(&[dir.path().to_owned()]) {
                assert!(!report.html().is_empty());
            }
        },
    );
    assert_ne!(damaged(std::slice::from_ref(&sound), 1), sound);
}
