//! A network of few channels with an adapter, for the engine and for its twin.

use bayeslora::low_level::formats::{self, Architecture, GateDistribution};
use bayeslora::low_level::model::Backbone;

use crate::reference::adapter::Adapter as Twin;
use crate::reference::resnet::{Named, ResNet, Stem};
use crate::reference::tensor::Tensor;
use crate::small;

pub const SIDE: usize = 32;
pub const CLASSES: usize = 3;

pub struct Subject {
    pub stem: Stem,
    pub weights: Named<Tensor>,
    pub backbone: Backbone,
    pub adapter: formats::Adapter,
}

/// A ResNet-18 with adapters on layers, each with its rank.
pub fn subject(stem: Stem, layers: &[(&str, usize)], gates: Option<GateDistribution>) -> Subject {
    subject_on(Architecture::ResNet18, stem, layers, gates)
}

/// The same on a network of one's choice.
pub fn subject_on(
    architecture: Architecture,
    stem: Stem,
    layers: &[(&str, usize)],
    gates: Option<GateDistribution>,
) -> Subject {
    let mut weights = small::weights(architecture, stem);
    let backbone = small::backbone(&weights);
    let features = backbone.resnet.features();
    let head = Tensor::random(&[CLASSES, features], 1);
    let bias = Tensor::random(&[CLASSES], 2);
    weights.insert("fc.weight".into(), head.clone());
    weights.insert("fc.bias".into(), bias.clone());
    let layers = layers.iter().enumerate().map(|(number, (name, rank))| {
        let spec = backbone.resnet.convs.iter().find(|spec| spec.name == *name);
        let (inputs, outputs, kernel) = match spec {
            Some(spec) => (spec.in_channels, spec.out_channels, spec.kernel),
            None => (features, CLASSES, 1),
        };
        let seed = 10 * number as u64;
        let random = |count: usize, seed: u64| Tensor::random(&[count], seed).to_f32();
        // One of several ranks was cut.
        let ids = (0..=*rank as u32).filter(|id| *id != 1).take(*rank);
        formats::LayerAdapter {
            name: (*name).into(),
            in_channels: inputs,
            out_channels: outputs,
            kernel,
            lora_a: random(rank * inputs * kernel * kernel, 1000 + seed),
            lora_b: random(outputs * rank, 1001 + seed),
            log_alpha: gates.map(|_| random(*rank, 1002 + seed)),
            mixing: None,
            rank_ids: ids.collect(),
        }
    });
    let adapter = formats::Adapter {
        layers: layers.collect(),
        head: formats::Head {
            classes: CLASSES,
            features,
            weight: head.to_f32(),
            bias: bias.to_f32(),
            trained: true,
        },
        classes: ["a", "\"b\"", "ç"].map(str::to_owned).into(),
        class_balance: None,
        initial_rank: 4,
        lora_alpha: 3.0,
        backbone_sha256: backbone.sha256.clone(),
        base_name: backbone.name.clone(),
        resolution: SIDE,
        seed: 1,
        method: "bayeslora".into(),
        gates: gates.unwrap_or_default(),
    };
    Subject {
        stem,
        weights,
        backbone,
        adapter,
    }
}

impl Subject {
    /// Logits of normalised images under gates of each layer.
    pub fn logits(&self, images: &Tensor, gates: &Named<Tensor>) -> Tensor {
        let scale = f64::from(self.adapter.scale());
        let drawn = self.adapter.layers.iter().filter(|layer| layer.rank() > 0);
        let adapters = drawn.map(|layer| {
            let shape = [layer.rank(), layer.in_channels, layer.kernel, layer.kernel];
            let twin = Twin {
                a: Tensor::from_f32(&shape, &layer.lora_a),
                b: Tensor::from_f32(&[layer.out_channels, layer.rank()], &layer.lora_b),
                scale,
            };
            (layer.name.clone(), twin)
        });
        let network = ResNet {
            weights: &self.weights,
            stem: self.stem,
            adapters: &adapters.collect(),
        };
        network.forward(images, gates).logits().clone()
    }

    /// The same with z = 1.
    pub fn mean_logits(&self, images: &Tensor) -> Tensor {
        let layers = self.adapter.layers.iter();
        let ones = layers.map(|layer| {
            let shape = [images.shape[0], layer.rank()];
            (layer.name.clone(), Tensor::from_fn(&shape, |_| 1.0))
        });
        self.logits(images, &ones.collect())
    }
}

/// Bytes `[n, side, side, 3]`, and what the network makes of them, `[n, 3, side, side]`.
pub fn images(n: usize) -> (Tensor, Tensor) {
    let bytes = Tensor::random(&[n, SIDE, SIDE, 3], 5).map(|v| (127.5 * (v + 1.0)).round());
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let normalised = Tensor::from_fn(&[n, 3, SIDE, SIDE], |i| {
        let (image, c) = (i / (3 * SIDE * SIDE), i / (SIDE * SIDE) % 3);
        let value = bytes.at(&[image, i / SIDE % SIDE, i % SIDE, c]);
        (value / 255.0 - mean[c]) / deviation[c]
    });
    (bytes, normalised)
}
