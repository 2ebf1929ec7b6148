//! Other backbones than the embedded one: what `torch.save` has written, and a ResNet-34, through every command.

use std::fs;
use std::path::Path;

use bayeslora::low_level::formats::npy::read_probabilities;
use bayeslora::low_level::formats::{Adapter, Architecture, RunDir, Stem};
use bayeslora::low_level::model::ResNet;
use predicates::str::contains;

use crate::program::bayeslora;
use crate::torch_save::{Saved, file, state_dict};

/// A ResNet-34 of few channels, as PyTorch saves one.
fn resnet_34() -> Vec<u8> {
    let network = ResNet::new(Architecture::ResNet34, Stem::ImageNet, [4, 6, 8, 10]);
    let (mut tensors, mut storages) = (Vec::new(), Vec::new());
    let mut put = |name: String, shape: &[usize], low: f32, high: f32| {
        let key = tensors.len();
        let share = |i: usize| ((i * 7919 + 31 * key) % 101) as f32 / 100.0;
        let values = (0..shape.iter().product()).map(|i| low + (high - low) * share(i));
        let values = values.flat_map(f32::to_le_bytes);
        storages.push((key.to_string(), values.collect()));
        tensors.push(Saved::plain(&name, "FloatStorage", key, shape));
    };
    for conv in &network.convs {
        let (outputs, inputs, k) = (conv.out_channels, conv.in_channels, conv.kernel);
        let reach = (6.0 / (inputs * k * k) as f32).sqrt();
        put(
            format!("{}.weight", conv.name),
            &[outputs, inputs, k, k],
            -reach,
            reach,
        );
        put(format!("{}.weight", conv.norm), &[outputs], 0.5, 1.0);
        put(format!("{}.bias", conv.norm), &[outputs], -0.1, 0.3);
        put(format!("{}.running_mean", conv.norm), &[outputs], -0.2, 0.2);
        put(format!("{}.running_var", conv.norm), &[outputs], 0.5, 1.5);
    }
    file(&state_dict(&tensors), &storages)
}

#[test]
fn a_resnet_34_saved_by_pytorch_goes_through_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let on = |line: &str, path: &Path| {
        let mut command = bayeslora(line);
        command.arg(path);
        command
    };
    let (network, run) = (at("net.pth"), at("run"));
    fs::write(&network, resnet_34()).unwrap();
    let train = "train --data sample --limit-train 60 --limit-test 10 --epochs 1 --rank 2 --resolution 32 \
                 --validation 0.2 --threshold 100 --backbone";
    on(train, &network)
        .arg("--out")
        .arg(&run)
        .assert()
        .success();
    let adapter = Adapter::load_peft(RunDir::open(&run).unwrap().adapter_dir()).unwrap();
    let names: Vec<_> = adapter.layers.iter().map(|layer| &*layer.name).collect();
    // layer3 and layer4: six and three blocks of two convolutions, and a downsampling each.
    assert_eq!(
        (names.len(), names[12], names[19]),
        (20, "layer3.5.conv2", "layer4.2.conv2")
    );

    let picture = at("picture.png");
    image::RgbImage::from_fn(40, 40, |x, y| {
        image::Rgb([(6 * x) as u8, (5 * y) as u8, 90])
    })
    .save(&picture)
    .unwrap();
    let probabilities = |run: &Path, backbone: &Path| {
        let out = at("p.npy");
        let mut command = on("predict --samples 0 --run", run);
        command.arg("--backbone").arg(backbone);
        command.arg("--probs-out").arg(&out).arg(&picture);
        command.assert().success();
        read_probabilities(&out).unwrap().values
    };
    let expected = probabilities(&run, &network);
    on("prune --keep .5 --dry-run --run", &run)
        .assert()
        .success();
    for format in ["peft", "safetensors", "merged", "onnx"] {
        let mut command = on(&format!("export --format {format} --run"), &run);
        command.arg("--to").arg(at(format)).assert().success();
        let card = fs::read_to_string(at(format).join("README.md")).unwrap();
        assert!(card.contains("# A ResNet-34 with"), "{card}");
    }
    let card = fs::read_to_string(at("peft").join("README.md")).unwrap();
    assert!(
        card.contains("torchvision.models.resnet34(num_classes=10)"),
        "{card}"
    );

    let imported = at("imported");
    on("import --resolution 32 --peft", &at("peft"))
        .args([
            &"--backbone" as &dyn AsRef<std::ffi::OsStr>,
            &network,
            &"--out",
            &imported,
        ])
        .assert()
        .success();
    let found = probabilities(&imported, &network);
    assert_eq!(found, expected);
    let more = at("more");
    on(
        "train --data sample --limit-train 60 --limit-test 10 --epochs 1 --from",
        &run,
    )
    .arg("--out")
    .arg(&more)
    .assert()
    .success();
    // An adapter of one depth is none of another.
    on("predict --backbone embedded --run", &run)
        .arg(&picture)
        .assert()
        .code(2)
        .stderr(contains("SHA-256"));
}
