//! Names of networks whose tensors are not those of a ResNet-18.

use std::collections::BTreeSet;

use super::TensorFile;

/// Parts of names that tell a kind of network or file, the telling ones first.
const PARTS: [(&str, &str); 21] = [
    ("lora_A.", "a LoRA adapter, which goes beside a backbone"),
    ("hada_w", "a LoHa adapter, which goes beside a backbone"),
    ("lokr_w", "a LoKr adapter, which goes beside a backbone"),
    ("first_moment.", "the checkpoint of a run"),
    ("unet", "a diffusion model"),
    ("diffusion_model", "a diffusion model"),
    ("vision_model.", "a CLIP or SigLIP model"),
    ("visual.transformer", "a CLIP model"),
    ("self_attn.", "a transformer"),
    ("attention.", "a transformer"),
    ("attn.", "a vision transformer"),
    ("encoder_layer_", "a vision transformer"),
    ("denseblock", "a DenseNet"),
    ("conv_stem", "an EfficientNet or MobileNet of timm"),
    ("Mixed_", "an Inception network"),
    ("fire", "a SqueezeNet"),
    ("s1.b1", "a RegNet of timm"),
    (
        "stages.0",
        "a ConvNeXt, RegNet or ResNet of another program",
    ),
    (
        "shortcut.",
        "a ResNet whose names are others (`shortcut` for `downsample`)",
    ),
    (
        "conv1.0.weight",
        "a ResNet-D or another one with a stem of three convolutions",
    ),
    ("features.", "an AlexNet, VGG, MobileNet or EfficientNet"),
];

/// What a file looks like, judged by names and shapes; nothing for a ResNet-18 and for what is not known.
pub(super) fn looks_like(file: &TensorFile) -> Option<String> {
    if let Some(found) = residual(file) {
        return Some(found);
    }
    let names = || file.tensors.keys().chain(file.integers.keys());
    let part = PARTS
        .iter()
        .find(|(part, _)| names().any(|name| name.contains(part)));
    part.map(|(_, found)| (*found).to_owned())
}

/// The members of the family with torchvision's names.
fn residual(file: &TensorFile) -> Option<String> {
    let blocks = |stage: usize| {
        let prefix = format!("layer{stage}.");
        let of_stage = file
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix));
        let numbers: BTreeSet<_> = of_stage.filter_map(|rest| rest.split('.').next()).collect();
        numbers.len()
    };
    let counts = [1, 2, 3, 4].map(blocks);
    let shape = |name: &str| {
        file.tensors
            .get(name)
            .map_or(&[][..], |tensor| &tensor.shape)
    };
    let bottleneck = !shape("layer1.0.conv3.weight").is_empty();
    let depth = match (bottleneck, counts) {
        (_, [0, ..]) => return None,
        (false, [2, 2, 2, 2]) => return None,
        (false, [1, 1, 1, 1]) => "10",
        (false, [3, 4, 6, 3]) => "34",
        (true, [2, 2, 2, 2]) => "26",
        (true, [3, 4, 6, 3]) => "50",
        (true, [3, 4, 23, 3]) => "101",
        (true, [3, 8, 36, 3]) => "152",
        (false, [a, b, c, 0]) if a == b && b == c => {
            return Some(format!("a CIFAR ResNet-{}", 6 * a + 2));
        }
        _ => return None,
    };
    // Groups leave the middle convolution fewer inputs than outputs; wide ones have more channels there.
    let family = match *shape("layer1.0.conv2.weight") {
        [outputs, inputs, ..] if bottleneck && inputs < outputs => "ResNeXt",
        [outputs, ..] if bottleneck && outputs > 64 => "Wide ResNet",
        _ => "ResNet",
    };
    Some(format!("a {family}-{depth}"))
}
