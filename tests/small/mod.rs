//! A ResNet of few channels with random weights, for the engine and for its twin.

use bayeslora::low_level::formats::{Architecture, BackboneFile};
use bayeslora::low_level::model::Backbone;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::reference::resnet::{Named, Stem};
use crate::reference::tensor::Tensor as Twin;

const WIDTHS: [usize; 4] = [4, 6, 8, 10];

/// A network of few channels, as a file would hold it.
pub fn weights(architecture: Architecture, stem: Stem) -> Named<Twin> {
    let mut weights = Named::new();
    let mut seed = 100;
    let mut put = |name: String, shape: &[usize], low: f64, high: f64| {
        seed += 1;
        let value = |v: f64| f64::from((low + (high - low) * (v + 1.0) / 2.0) as f32);
        weights.insert(name, Twin::random(shape, seed).map(value));
    };
    let mut conv = |conv: &str, norm: &str, [outputs, inputs, k]: [usize; 3]| {
        // The variance of activations stays about what it is.
        let reach = (6.0 / (inputs * k * k) as f64).sqrt();
        let shape = [outputs, inputs, k, k];
        put(format!("{conv}.weight"), &shape, -reach, reach);
        put(format!("{norm}.weight"), &[outputs], 0.7, 1.5);
        put(format!("{norm}.bias"), &[outputs], -0.1, 0.4);
        put(format!("{norm}.running_mean"), &[outputs], -0.2, 0.2);
        put(format!("{norm}.running_var"), &[outputs], 0.5, 1.5);
    };
    let kernel = match stem {
        Stem::ImageNet => 7,
        Stem::Cifar => 3,
    };
    conv("conv1", "bn1", [WIDTHS[0], 3, kernel]);
    let mut inputs = WIDTHS[0];
    let stages = WIDTHS.into_iter().zip(architecture.blocks());
    for (stage, (outputs, blocks)) in stages.enumerate() {
        for block in 0..blocks {
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            conv(&name("conv1"), &name("bn1"), [outputs, inputs, 3]);
            conv(&name("conv2"), &name("bn2"), [outputs, outputs, 3]);
            if inputs != outputs {
                let (conv_name, norm) = (name("downsample.0"), name("downsample.1"));
                conv(&conv_name, &norm, [outputs, inputs, 1]);
            }
            inputs = outputs;
        }
    }
    weights
}

/// The same as a file.
pub fn file(weights: &Named<Twin>) -> BackboneFile {
    let bytes: Named<Vec<u8>> = weights
        .iter()
        .map(|(name, twin)| (name.clone(), bytemuck::cast_slice(&twin.to_f32()).to_vec()))
        .collect();
    let views = weights.iter().map(|(name, twin)| {
        let view = TensorView::new(Dtype::F32, twin.shape.clone(), &bytes[name]);
        (name, view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    BackboneFile::from_bytes("a small network", &file).unwrap()
}

/// The same for the engine.
pub fn backbone(weights: &Named<Twin>) -> Backbone {
    Backbone::from_file("small", &file(weights))
}
