//! ResNet-18 with frozen weights and the adapters that train.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Tensor};

pub const CLASSES: usize = 10;

const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// The first adapted stage: layer3.
const ADAPTED_FROM: usize = 2;

/// s = lora_alpha / r
const SCALE: f32 = 2.0;

/// A convolution and its BatchNorm as an affine map, neither of which trains.
struct FrozenConv {
    weight: Tensor<4>,
    gain: Tensor<4>,
    bias: Tensor<4>,
    stride: usize,
    pad: usize,
    /// Its place among the adapters.
    adapter: Option<usize>,
}

struct Block {
    conv1: FrozenConv,
    conv2: FrozenConv,
    downsample: Option<FrozenConv>,
}

/// The backbone.
pub struct Frozen {
    stem: FrozenConv,
    blocks: Vec<Block>,
}

/// y = g . (W * x + s B (z . (A * x))) + b, with z ~ N(1, alpha) one an example and rank.
#[derive(Module, Debug)]
struct Adapter {
    a: Param<Tensor<4>>,
    b: Param<Tensor<4>>,
    log_alpha: Param<Tensor<4>>,
}

/// What trains.
#[derive(Module, Debug)]
pub struct Trained {
    adapters: Vec<Adapter>,
    head: Param<Tensor<2>>,
    head_bias: Param<Tensor<2>>,
}

/// Input channels, output channels, kernel and stride of the adapted convolutions, in order.
fn adapted() -> Vec<(usize, usize, usize, usize)> {
    let mut shapes = Vec::new();
    for stage in ADAPTED_FROM..WIDTHS.len() {
        let (below, width) = (WIDTHS[stage - 1], WIDTHS[stage]);
        shapes.extend([
            (below, width, 3, 2),
            (width, width, 3, 1),
            (below, width, 1, 2),
        ]);
        shapes.extend([(width, width, 3, 1), (width, width, 3, 1)]);
    }
    shapes
}

fn normal<const D: usize>(shape: [usize; D], deviation: f64, device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, deviation), device)
}

impl FrozenConv {
    fn new(
        (inputs, outputs, kernel, stride): (usize, usize, usize, usize),
        adapter: Option<usize>,
        device: &Device,
    ) -> Self {
        let deviation = (2.0 / (inputs * kernel * kernel) as f64).sqrt();
        Self {
            weight: normal([outputs, inputs, kernel, kernel], deviation, device),
            gain: Tensor::ones([1, outputs, 1, 1], device),
            bias: Tensor::zeros([1, outputs, 1, 1], device),
            stride,
            pad: kernel / 2,
            adapter,
        }
    }

    fn forward(&self, x: Tensor<4>, trained: Option<&Trained>) -> Tensor<4> {
        let (stride, pad) = (self.stride, self.pad);
        let options = ConvOptions::new([stride, stride], [pad, pad], [1, 1], 1);
        let mut y = conv2d(x.clone(), self.weight.clone(), None, options.clone());
        if let (Some(trained), Some(place)) = (trained, self.adapter) {
            let Adapter { a, b, log_alpha } = &trained.adapters[place];
            let h = conv2d(x, a.val(), None, options);
            let [batch, rank, _, _] = h.dims();
            let noise = normal([batch, rank, 1, 1], 1.0, &h.device());
            let z = noise * (log_alpha.val() * 0.5).exp() + 1.0;
            let plain = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
            y = y + conv2d(h * z, b.val(), None, plain) * SCALE;
        }
        y * self.gain.clone() + self.bias.clone()
    }
}

impl Frozen {
    pub fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut adapters = 0..;
        for (stage, width) in WIDTHS.into_iter().enumerate() {
            let mut number = || (stage >= ADAPTED_FROM).then(|| adapters.next()).flatten();
            for index in 0..2 {
                let first = index == 0 && stage > 0;
                let (inputs, stride) = match first {
                    true => (WIDTHS[stage - 1], 2),
                    false => (width, 1),
                };
                blocks.push(Block {
                    conv1: FrozenConv::new((inputs, width, 3, stride), number(), device),
                    conv2: FrozenConv::new((width, width, 3, 1), number(), device),
                    downsample: first
                        .then(|| FrozenConv::new((inputs, width, 1, stride), number(), device)),
                });
            }
        }
        Self {
            stem: FrozenConv::new((3, WIDTHS[0], 7, 2), None, device),
            blocks,
        }
    }

    /// Pooled features `[batch, 512]`; without adapters, those of the backbone alone.
    pub fn features(&self, images: Tensor<4>, trained: Option<&Trained>) -> Tensor<2> {
        let x = relu(self.stem.forward(images, trained));
        let pool = MaxPoolOptions::new([3, 3])
            .with_stride([2, 2])
            .with_padding([1, 1]);
        let mut x = max_pool2d(x, pool);
        for block in &self.blocks {
            let inner = relu(block.conv1.forward(x.clone(), trained));
            let inner = block.conv2.forward(inner, trained);
            let shortcut = match &block.downsample {
                Some(conv) => conv.forward(x, trained),
                None => x,
            };
            x = relu(inner + shortcut);
        }
        let [batch, channels, _, _] = x.dims();
        x.mean_dim(3).mean_dim(2).reshape([batch, channels])
    }
}

impl Trained {
    pub fn new(rank: usize, device: &Device) -> Self {
        let adapters = adapted().into_iter().map(|(inputs, outputs, kernel, _)| {
            let deviation = (1.0 / (inputs * kernel * kernel) as f64).sqrt();
            Adapter {
                a: Param::from_tensor(normal([rank, inputs, kernel, kernel], deviation, device)),
                b: Param::from_tensor(Tensor::zeros([outputs, rank, 1, 1], device)),
                log_alpha: Param::from_tensor(Tensor::zeros([1, rank, 1, 1], device) - 5.0),
            }
        });
        Self {
            adapters: adapters.collect(),
            head: Param::from_tensor(normal([WIDTHS[3], CLASSES], 0.04, device)),
            head_bias: Param::from_tensor(Tensor::zeros([1, CLASSES], device)),
        }
    }

    /// Logits `[batch, CLASSES]`.
    pub fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        features.matmul(self.head.val()) + self.head_bias.val()
    }
}
