//! ResNets of basic blocks as tables of layers (He et al. 2016), with torchvision's names.

use globset::Glob;

use super::graph::Map;
use crate::formats::{Architecture, Stem};

/// A convolution with the BatchNorm behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// torchvision's name, as in `layer3.0.conv1` or `layer3.0.downsample.0`.
    pub name: String,
    /// The name of its BatchNorm.
    pub norm: String,
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
}

impl ConvSpec {
    /// Output side of a map with this input side.
    pub fn out_side(&self, side: usize) -> usize {
        (side + 2 * self.pad - self.kernel) / self.stride + 1
    }

    /// Parameters of one rank of an adapter here: n_i = Cin k^2 + Cout.
    pub fn params_per_rank(&self) -> usize {
        self.in_channels * self.kernel * self.kernel + self.out_channels
    }
}

/// A basic block: two 3x3 convolutions and a shortcut, which is 1x1 where the shape changes.
/// Members are places in [`ResNet::convs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub conv1: usize,
    pub conv2: usize,
    pub downsample: Option<usize>,
}

/// Where the frozen, deterministic prefix ends and the adapted suffix begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At the image: the stem itself is adapted.
    Stem,
    /// Before this block; past the last one only the classifier is left.
    Block(usize),
}

/// The layers of a ResNet. Convolution 0 is the stem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNet {
    pub architecture: Architecture,
    pub stem: Stem,
    pub convs: Vec<ConvSpec>,
    pub blocks: Vec<Block>,
}

impl ResNet {
    /// The table for a stem and the channels of `layer1` to `layer4`.
    pub fn new(architecture: Architecture, stem: Stem, widths: [usize; 4]) -> Self {
        let (kernel, stride) = match stem {
            Stem::ImageNet => (7, 2),
            Stem::Cifar => (3, 1),
        };
        let mut convs = vec![conv("conv1", "bn1", 3, widths[0], kernel, stride)];
        let mut blocks = Vec::new();
        let mut channels = widths[0];
        let stages = widths.into_iter().zip(architecture.blocks());
        for (stage, (width, count)) in stages.enumerate() {
            for index in 0..count {
                let name = |part: &str| format!("layer{}.{index}.{part}", stage + 1);
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let conv1 = convs.len();
                convs.push(conv(
                    &name("conv1"),
                    &name("bn1"),
                    channels,
                    width,
                    3,
                    stride,
                ));
                convs.push(conv(&name("conv2"), &name("bn2"), width, width, 3, 1));
                let downsample = (stride != 1 || channels != width).then(|| {
                    let (conv_name, norm) = (name("downsample.0"), name("downsample.1"));
                    convs.push(conv(&conv_name, &norm, channels, width, 1, stride));
                    conv1 + 2
                });
                blocks.push(Block {
                    conv1,
                    conv2: conv1 + 1,
                    downsample,
                });
                channels = width;
            }
        }
        Self {
            architecture,
            stem,
            convs,
            blocks,
        }
    }

    /// Channels of the pooled features.
    pub fn features(&self) -> usize {
        self.convs[self.blocks[self.blocks.len() - 1].conv2].out_channels
    }

    /// Where the network splits when `convs` (places in the table) are adapted: all that lies
    /// below the first block that holds one of them is deterministic.
    pub fn cut(&self, convs: &[usize]) -> Cut {
        if convs.contains(&0) {
            return Cut::Stem;
        }
        let holds = |block: &Block| {
            convs.contains(&block.conv1)
                || convs.contains(&block.conv2)
                || block.downsample.is_some_and(|place| convs.contains(&place))
        };
        Cut::Block(
            self.blocks
                .iter()
                .position(holds)
                .unwrap_or(self.blocks.len()),
        )
    }

    /// The map of what enters block `index` for square images of `size` pixels; past the last
    /// block, the map of the features.
    pub fn block_input(&self, index: usize, size: usize) -> Map {
        let stem = &self.convs[0];
        let mut map = Map::square(stem.out_side(size), stem.out_channels);
        if self.stem == Stem::ImageNet {
            map = map.pooled();
        }
        for block in &self.blocks[..index] {
            let conv1 = &self.convs[block.conv1];
            map = Map::square(conv1.out_side(map.height), conv1.out_channels);
        }
        map
    }

    /// The map at a cut.
    pub fn cut_map(&self, cut: Cut, size: usize) -> Map {
        match cut {
            Cut::Stem => Map::square(size, 3),
            Cut::Block(index) => self.block_input(index, size),
        }
    }

    /// Places of the convolutions that match any of the patterns, and whether `fc` does.
    ///
    /// A pattern is a layer's name, a stage or block (`layer3`, `layer4.1`), or a glob (`*.conv2`).
    ///
    /// # Errors
    /// The pattern that is malformed or matches nothing.
    pub fn select(&self, patterns: &[String]) -> Result<(Vec<usize>, bool), String> {
        let mut chosen = vec![false; self.convs.len()];
        let mut head = false;
        for pattern in patterns {
            let glob = Glob::new(pattern).map_err(|error| format!("{pattern:?}: {error}"))?;
            let matcher = glob.compile_matcher();
            let matches = |name: &str| {
                let below = name.strip_prefix(pattern.as_str());
                matcher.is_match(name) || below.is_some_and(|rest| rest.starts_with('.'))
            };
            let mut any = matches("fc");
            head |= any;
            for (place, spec) in self.convs.iter().enumerate() {
                if matches(&spec.name) {
                    chosen[place] = true;
                    any = true;
                }
            }
            if !any {
                let names: Vec<_> = self.convs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(format!(
                    "{pattern:?} matches no layer; there are {}, fc",
                    names.join(", ")
                ));
            }
        }
        let places = (0..chosen.len()).filter(|place| chosen[*place]).collect();
        Ok((places, head))
    }
}

fn conv(
    name: &str,
    norm: &str,
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    stride: usize,
) -> ConvSpec {
    ConvSpec {
        name: name.into(),
        norm: norm.into(),
        in_channels,
        out_channels,
        kernel,
        stride,
        pad: kernel / 2,
    }
}
