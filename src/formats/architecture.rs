//! The networks that are read, and the names of others.

use std::collections::BTreeSet;

use super::TensorFile;

/// A ResNet of basic blocks (He et al. 2016, table 1), with torchvision's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Two blocks a stage.
    ResNet18,
    /// Three, four, six and three blocks.
    ResNet34,
}

impl Architecture {
    const ALL: [Self; 2] = [Self::ResNet18, Self::ResNet34];

    /// Blocks of `layer1` to `layer4`.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2; 4],
            Self::ResNet34 => [3, 4, 6, 3],
        }
    }

    /// As in "ResNet-18".
    pub fn name(self) -> &'static str {
        &self.with_article()["a ".len()..]
    }

    pub(super) fn with_article(self) -> &'static str {
        match self {
            Self::ResNet18 => "a ResNet-18",
            Self::ResNet34 => "a ResNet-34",
        }
    }

    /// What makes one in `torchvision.models`.
    pub fn torchvision(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
        }
    }

    /// By the number of blocks of a file, whatever is in them; a file of another number is compared with a ResNet-18.
    pub(super) fn of(file: &TensorFile) -> Self {
        let counts = block_counts(file);
        let found = Self::ALL.into_iter().find(|row| row.blocks() == counts);
        found.unwrap_or(Self::ResNet18)
    }
}

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

/// What a file looks like, judged by names and shapes; nothing for an [`Architecture`] and for what is not known.
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

/// Blocks of `layer1` to `layer4`.
fn block_counts(file: &TensorFile) -> [usize; 4] {
    [1, 2, 3, 4].map(|stage| {
        let prefix = format!("layer{stage}.");
        let of_stage = file
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix));
        let numbers: BTreeSet<_> = of_stage.filter_map(|rest| rest.split('.').next()).collect();
        numbers.len()
    })
}

/// The members of the family with torchvision's names.
fn residual(file: &TensorFile) -> Option<String> {
    let counts = block_counts(file);
    let shape = |name: &str| {
        file.tensors
            .get(name)
            .map_or(&[][..], |tensor| &tensor.shape)
    };
    let bottleneck = !shape("layer1.0.conv3.weight").is_empty();
    let depth = match (bottleneck, counts) {
        (_, [0, ..]) => return None,
        (false, counts) if Architecture::ALL.iter().any(|row| row.blocks() == counts) => {
            return None;
        }
        (false, [1, 1, 1, 1]) => "10",
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
