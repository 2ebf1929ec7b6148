//! ONNX graphs compute what the network with its adapter does.

use bayeslora::low_level::formats::{Architecture, GateDistribution};
use bayeslora::low_level::model::{OnnxError, onnx};
use serde_json::{Value, json};

use crate::interpreter::{compute, decode, metadata, softmax};
use crate::reference::resnet::{Named, Stem};
use crate::reference::tensor::Tensor;
use crate::subject::{CLASSES, Subject, images, subject, subject_on};

/// Weights are f32 in the file, once BatchNorm and adapters are folded in: some roundings of 6e-8 for each of 18 layers.
const TOLERANCE: f64 = 3e-6;

const SOME: [(&str, usize); 5] = [
    ("layer2.0.conv1", 2),
    ("layer2.0.downsample.0", 1),
    ("layer4.1.conv1", 0),
    ("layer4.1.conv2", 3),
    ("fc", 2),
];

#[track_caller]
fn agree(expected: &Tensor, found: &Tensor) {
    assert_eq!(expected.shape, found.shape);
    let error = expected.zip(found, |a, b| a - b).max_abs() / expected.max_abs();
    assert!(error < TOLERANCE, "{error:e}");
}

#[test]
fn the_graph_of_the_mean_computes_the_mean_weights_logits() {
    for (architecture, stem) in [
        (Architecture::ResNet18, Stem::Cifar),
        (Architecture::ResNet18, Stem::ImageNet),
        (Architecture::ResNet34, Stem::Cifar),
    ] {
        let gates = Some(GateDistribution::Gaussian);
        let subject = subject_on(architecture, stem, &SOME, gates);
        let model = decode(&onnx(&subject.backbone, &subject.adapter, 0).unwrap());
        let (bytes, normalised) = images(2);
        let found = compute(model.graph.as_ref().unwrap(), &[("images", bytes)]);
        let expected = subject.mean_logits(&normalised);
        agree(&expected, &found["logits"]);
        agree(&softmax(&expected), &found["probabilities"]);
        let classes: Vec<String> = serde_json::from_str(&metadata(&model, "classes")).unwrap();
        assert_eq!(classes, subject.adapter.classes);
        assert_eq!(metadata(&model, "resolution"), "32");
    }
}

/// The gates of each layer from the noise, as the metadata says that its columns are ordered.
fn gates(
    subject: &Subject,
    model: &bayeslora::low_level::formats::onnx::Model,
    noise: &Tensor,
) -> Named<Tensor> {
    let columns: Value = serde_json::from_str(&metadata(model, "noise_layers")).unwrap();
    let rows = noise.shape[0] * noise.shape[1];
    let ranks = noise.shape[2];
    let bernoulli = subject.adapter.gates == GateDistribution::Bernoulli;
    let layers = columns.as_array().unwrap().iter().map(|entry| {
        let layers = &mut subject.adapter.layers.iter();
        let layer = layers.find(|layer| entry["layer"] == layer.name).unwrap();
        assert_eq!(entry["rank_ids"], json!(layer.rank_ids));
        let start = entry["start"].as_u64().unwrap() as usize;
        let rank = layer.rank();
        let z = Tensor::from_fn(&[rows, rank], |i| {
            let noise = noise.data[i / rank.max(1) * ranks + start + i % rank.max(1)];
            let alpha = f64::from(layer.log_alpha.as_ref().unwrap()[i % rank.max(1)]).exp();
            match (bernoulli, noise < 1.0 / (1.0 + alpha)) {
                (false, _) => 1.0 + alpha.sqrt() * noise,
                (true, true) => 1.0 + alpha,
                (true, false) => 0.0,
            }
        });
        (layer.name.clone(), z)
    });
    layers.collect()
}

#[test]
fn the_graph_of_samples_computes_every_sample_from_its_noise() {
    const SAMPLES: usize = 3;
    const IMAGES: usize = 2;
    let stem: &[(&str, usize)] = &[("conv1", 2), ("layer3.1.conv1", 1)];
    let head: &[(&str, usize)] = &[("fc", 3)];
    for (layers, distribution) in [
        (&SOME[..], GateDistribution::Gaussian),
        (&SOME[..], GateDistribution::Bernoulli),
        (stem, GateDistribution::Gaussian),
        (head, GateDistribution::Gaussian),
    ] {
        let subject = subject(Stem::ImageNet, layers, Some(distribution));
        let model = decode(&onnx(&subject.backbone, &subject.adapter, SAMPLES).unwrap());
        let ranks: usize = layers.iter().map(|(_, rank)| rank).sum();
        let noise = Tensor::random(&[SAMPLES, IMAGES, ranks], 9);
        let noise = match distribution {
            GateDistribution::Bernoulli => noise.map(|v| 0.5 * (v + 1.0)),
            _ => noise,
        };
        let (bytes, normalised) = images(IMAGES);
        let inputs = [("images", bytes), ("noise", noise.clone())];
        let found = compute(model.graph.as_ref().unwrap(), &inputs);
        let repeated = Tensor::new(
            &[SAMPLES * IMAGES, 3, 32, 32],
            normalised.data.repeat(SAMPLES),
        );
        let gates = gates(&subject, &model, &noise);
        let expected = subject.logits(&repeated, &gates);
        let expected = expected.reshaped(&[SAMPLES, IMAGES, CLASSES]);
        agree(&expected, &found["logits"]);
        let each = softmax(&expected);
        let mean = Tensor::from_fn(&[IMAGES, CLASSES], |i| {
            let values = (0..SAMPLES).map(|s| each.data[s * IMAGES * CLASSES + i]);
            values.sum::<f64>() / SAMPLES as f64
        });
        agree(&mean, &found["probabilities"]);
        // The gates are felt: samples differ from the mean weights.
        let still = subject.mean_logits(&repeated).reshaped(&expected.shape);
        assert!(still.zip(&expected, |a, b| a - b).max_abs() > 0.05 * still.max_abs());
    }
}

#[test]
fn samples_of_what_is_not_drawn_are_refused() {
    let plain = subject(Stem::Cifar, &SOME, None);
    let refused = onnx(&plain.backbone, &plain.adapter, 4);
    assert!(matches!(refused, Err(OnnxError::NothingDrawn { .. })));
    assert!(onnx(&plain.backbone, &plain.adapter, 0).is_ok());
    let weights = subject(Stem::Cifar, &SOME, Some(GateDistribution::Weights));
    let refused = onnx(&weights.backbone, &weights.adapter, 4);
    assert!(matches!(refused, Err(OnnxError::Weights)));
    let mut other = subject(Stem::Cifar, &SOME, None);
    other.adapter.layers[0].in_channels += 1;
    let refused = onnx(&other.backbone, &other.adapter, 0);
    assert!(matches!(refused, Err(OnnxError::Misfit(_))));
}
