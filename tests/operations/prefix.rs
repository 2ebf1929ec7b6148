//! Limits: a prefix in chunks, and what does not fit.

use std::sync::Arc;

use bayeslora::low_level::formats::{Architecture, Stem};
use bayeslora::low_level::gpu::{Gpu, GpuError};
use bayeslora::low_level::model::{
    self, Backbone, Batch, BatchInput, ConvWeights, Cut, FrozenNetwork, Graph, KernelChoice, Map,
    ResNet,
};

use crate::bench::{default_gpu, lowered_gpu, whole};
use crate::common::kernel_choices;
use crate::reference::tensor::Tensor as Twin;

const ROWS: usize = 11;
const SIDE: usize = 16;

/// A network of few channels.
fn backbone(stem: Stem) -> Backbone {
    let resnet = ResNet::new(Architecture::ResNet18, stem, [4, 6, 8, 10]);
    let convs = resnet.convs.iter().enumerate().map(|(seed, spec)| {
        let random =
            |shape: &[usize], part: u64| Twin::random(shape, part * 100 + seed as u64).to_f32();
        let (out, kernel) = (spec.out_channels, spec.kernel);
        ConvWeights {
            weight: random(&[out, spec.in_channels, kernel, kernel], 0),
            gain: random(&[out], 1),
            bias: random(&[out], 2),
            scales: None,
        }
    });
    Backbone {
        name: "small".into(),
        convs: convs.map(Arc::new).collect(),
        resnet,
        fc: None,
        sha256: String::new(),
    }
}

fn features(
    gpu: &Gpu,
    kernels: KernelChoice,
    stem: Stem,
    cut: Cut,
    chunk: Option<usize>,
) -> Vec<u32> {
    let network = FrozenNetwork::new(gpu, kernels, &backbone(stem));
    let chunk = chunk.unwrap_or_else(|| model::largest_chunk(gpu, &network, SIDE));
    let bytes: Vec<u8> = (0..ROWS * SIDE * SIDE * 3)
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let batch = Batch::new(
        gpu,
        BatchInput::Images {
            side: SIDE,
            size: SIDE,
        },
        ROWS,
    );
    batch.write_images(&bytes, &[[1, -2, 1, 0]; ROWS]);
    let mut graph = Graph::new(gpu, kernels);
    let input = batch.prefix_input(&mut graph);
    let x = model::prefix(&mut graph, &network, cut, input, ROWS, chunk);
    assert_eq!(x.map, network.resnet.cut_map(cut, SIDE));
    graph.builder.keep(x.slot);
    let plan = graph.builder.build().unwrap();
    plan.run();
    whole(&plan);
    let chunks = plan
        .dispatches()
        .iter()
        .filter(|dispatch| dispatch.label == "place chunk");
    println!(
        "{stem:?} {cut:?} {kernels:?}: {} chunks of {chunk}",
        chunks.count()
    );
    let found = plan.read(x.slot).unwrap();
    assert!(found.iter().all(|value| value.is_finite()));
    found.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn chunks_change_no_bit() {
    // The stem's output of the CIFAR network is 4 KiB an image: six images at a time.
    let small = lowered_gpu(17, 24 << 10);
    for kernels in kernel_choices(&small) {
        for stem in [Stem::Cifar, Stem::ImageNet] {
            for cut in [4, 8] {
                let cut = Cut::Block(cut);
                let expected = features(&default_gpu(), kernels, stem, cut, Some(ROWS));
                let chunked = features(&small, kernels, stem, cut, None);
                assert!(expected == chunked, "{stem:?} {cut:?} {kernels:?}");
                // One by one, too.
                let single = features(&default_gpu(), kernels, stem, cut, Some(1));
                assert!(
                    expected == single,
                    "{stem:?} {cut:?} {kernels:?} one by one"
                );
            }
        }
    }
}

#[test]
fn a_tensor_beyond_the_limits_is_an_error() {
    let small = lowered_gpu(17, 24 << 10);
    let mut graph = Graph::new(&small, KernelChoice::PLAIN);
    graph.tensor("too large", Map::square(8, 12), 4 * ROWS);
    let error = graph.builder.build().err();
    let Some(GpuError::BufferTooLarge {
        wanted, allowed, ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (wanted, allowed),
        (8 * 8 * 12 * 4 * 4 * ROWS as u64, 24 << 10)
    );
}
