//! A backbone with an adapter merged into it computes what the adapter did.

use bayeslora::low_level::formats::{Architecture, BackboneFile, FormatError, TensorFile};

use crate::reference::resnet::{Named, Stem};
use crate::reference::tensor::Tensor;
use crate::small::{self, file};
use crate::subject::{Subject, images, subject};

const LAYERS: [(&str, usize); 4] = [
    ("conv1", 2),
    ("layer3.0.downsample.0", 1),
    ("layer4.1.conv2", 3),
    ("fc", 2),
];

fn twins(file: &TensorFile) -> Named<Tensor> {
    let tensors = file.tensors.iter();
    tensors
        .map(|(name, tensor)| (name.clone(), Tensor::from_f32(&tensor.shape, &tensor.data)))
        .collect()
}

#[test]
fn the_merged_backbone_is_one_and_answers_as_the_adapter_did() {
    for stem in [Stem::Cifar, Stem::ImageNet] {
        let adapted = subject(stem, &LAYERS, None);
        // With and without a classifier of its own, whatever its number of classes.
        let plain = small::weights(Architecture::ResNet18, stem);
        let mut with_head = plain.clone();
        with_head.insert("fc.weight".into(), Tensor::random(&[7, 10], 3));
        with_head.insert("fc.bias".into(), Tensor::random(&[7], 3));
        for weights in [plain, with_head] {
            let merged = file(&weights).merged(&adapted.adapter).unwrap();
            let plain = Subject {
                weights: twins(&merged),
                ..subject(stem, &[], None)
            };
            let (_, images) = images(2);
            let expected = adapted.mean_logits(&images);
            let found = plain.mean_logits(&images);
            let error = expected.zip(&found, |a, b| a - b).max_abs() / expected.max_abs();
            assert!(error < 1e-5, "{error:e}");
            // It is read as a backbone, with the adapter's classes.
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.safetensors");
            merged.write_atomic(&path).unwrap();
            let read = BackboneFile::read(&path).unwrap();
            assert_eq!(read.classes, Some(3));
            assert_ne!(read.sha256(), file(&weights).sha256());
        }
    }
}

#[test]
fn an_adapter_of_another_network_is_not_merged() {
    let sound = subject(Stem::Cifar, &LAYERS, None);
    let backbone = file(&small::weights(Architecture::ResNet18, Stem::Cifar));
    let refused = |change: &dyn Fn(&mut bayeslora::Adapter), says: &str| {
        let mut adapter = sound.adapter.clone();
        change(&mut adapter);
        let error = backbone.merged(&adapter).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        error
    };
    let missing = refused(
        &|adapter| adapter.layers[1].name = "layer9".into(),
        "layer9",
    );
    assert!(matches!(missing, FormatError::Missing { .. }));
    refused(
        &|adapter| adapter.layers[1].out_channels = 5,
        "layer3.0.downsample.0",
    );
    refused(&|adapter| adapter.head.features = 11, "fc.weight");
}
