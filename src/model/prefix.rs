//! The frozen layers below the lowest adapter: deterministic, computed once per image.

use super::KernelChoice;
use super::frozen::FrozenNetwork;
use super::graph::{Graph, Map, Tensor};
use super::ops::{ConvForward, Piece};
use super::resnet::{Cut, ResNet};
use crate::formats::Stem;
use crate::gpu::{Gpu, GpuError, Slot};

/// What a plan starts from.
#[derive(Clone, Debug)]
pub enum PrefixInput {
    /// u8 images of `side` pixels and what each row is a view of (crop x, crop y, flip, image), to be
    /// resized to `size`.
    Images {
        images: Vec<Piece>,
        views: Slot,
        side: usize,
        size: usize,
    },
    /// f16 features at the cut, computed before; the fourth place of a row's view has their number.
    Features {
        features: Vec<Piece>,
        views: Slot,
        map: Map,
    },
}

/// The tensor at the cut for a batch of `rows`, computed `chunk` rows at a time.
pub fn prefix(
    graph: &mut Graph,
    network: &FrozenNetwork,
    cut: Cut,
    input: PrefixInput,
    rows: usize,
    chunk: usize,
) -> Tensor {
    let (images, views, side, size) = match input {
        PrefixInput::Features {
            features,
            views,
            map,
        } => return graph.unpack(&features, views, map, rows),
        PrefixInput::Images {
            images,
            views,
            side,
            size,
        } => (images, views, side, size),
    };
    let part = |graph: &mut Graph, first: usize, count: usize| {
        let x = graph.prepare(&images, views, side, size, first, count);
        match cut {
            Cut::Stem => x,
            Cut::Block(last) => {
                let mut x = stem(graph, network, x);
                for index in 0..last {
                    x = frozen_block(graph, network, index, x);
                }
                x
            }
        }
    };
    if rows <= chunk {
        return part(graph, 0, rows);
    }
    let whole = graph.tensor("features", network.resnet.cut_map(cut, size), rows);
    for first in (0..rows).step_by(chunk) {
        let x = part(graph, first, chunk.min(rows - first));
        graph.place(x, first, whole);
    }
    whole
}

/// Convolution, BatchNorm, ReLU and, in the ImageNet stem, the max-pool.
fn stem(graph: &mut Graph, network: &FrozenNetwork, x: Tensor) -> Tensor {
    let x = frozen_conv(graph, network, 0, x, None, true);
    match network.resnet.stem {
        Stem::ImageNet => graph.max_pool(x),
        Stem::Cifar => x,
    }
}

fn frozen_block(graph: &mut Graph, network: &FrozenNetwork, index: usize, x: Tensor) -> Tensor {
    let block = network.resnet.blocks[index];
    let inner = frozen_conv(graph, network, block.conv1, x, None, true);
    let shortcut = match block.downsample {
        Some(place) => frozen_conv(graph, network, place, x, None, false),
        None => x,
    };
    frozen_conv(graph, network, block.conv2, inner, Some(shortcut), true)
}

fn frozen_conv(
    graph: &mut Graph,
    network: &FrozenNetwork,
    place: usize,
    input: Tensor,
    residual: Option<Tensor>,
    relu: bool,
) -> Tensor {
    let frozen = &network.convs[place];
    graph.conv_forward(ConvForward {
        frozen,
        input,
        rows: input.rows,
        adapter: None,
        residual,
        relu,
    })
}

/// The most rows whose largest tensor in the prefix still fits one binding of the device.
pub fn largest_chunk(gpu: &Gpu, network: &FrozenNetwork, size: usize) -> usize {
    let stem = &network.resnet.convs[0];
    let input = Map::square(size, 3);
    let widest = Map::square(stem.out_side(size), stem.out_channels);
    let bytes = 4 * input.floats().max(widest.floats()) as u64;
    (network.kernels.largest_tensor(gpu) / bytes).max(1) as usize
}

/// Whether a batch can be computed at all: one image's largest tensor, and the tensor at the cut for
/// all rows, from which the suffix goes on. To be asked before anything is read or allocated.
///
/// # Errors
/// A tensor is larger than what the device binds.
pub fn check_fit(
    gpu: &Gpu,
    resnet: &ResNet,
    cut: Cut,
    size: usize,
    rows: usize,
) -> Result<(), GpuError> {
    let allowed = KernelChoice::for_gpu(gpu).largest_tensor(gpu);
    let stem = &resnet.convs[0];
    let widest = Map::square(stem.out_side(size), stem.out_channels).floats();
    let at_cut = match cut {
        Cut::Stem => widest,
        Cut::Block(_) => resnet.cut_map(cut, size).floats(),
    };
    let tensors = [
        ("an image's largest feature map", widest),
        ("a batch's features", at_cut.saturating_mul(rows)),
    ];
    let bytes = |floats: usize| 4 * floats as u64;
    match tensors
        .into_iter()
        .find(|(_, floats)| bytes(*floats) > allowed)
    {
        None => Ok(()),
        Some((what, floats)) => Err(GpuError::BufferTooLarge {
            what: what.into(),
            wanted: bytes(floats),
            allowed,
        }),
    }
}
