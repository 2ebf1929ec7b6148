//! Plans whose buffers are reused by liveness.

use std::sync::Arc;

use bayeslora::low_level::model::{
    ConvBackward, ConvForward, ConvSpec, ConvWeights, FrozenConv, Graph, KernelChoice, LowRank,
    Outer, Tensor,
};

use crate::bench::{self, a_lanes, b_lanes, floats, map_lanes};
use crate::reference::tensor::Tensor as Twin;

/// Three layers forward and back, with the outputs of all operations; `keep` keeps them all.
fn run(kernels: KernelChoice, keep: bool) -> (Vec<Vec<u32>>, u64) {
    let gpu = bench::default_gpu();
    let (rows, channels, rank) = (9, 6, 5);
    let spec = ConvSpec {
        name: "layer".into(),
        norm: "norm".into(),
        in_channels: channels,
        out_channels: channels,
        kernel: 3,
        stride: 1,
        pad: 1,
    };
    let narrow = |shape: &[usize], seed| Twin::random(shape, seed).to_f32();
    let layers: Vec<FrozenConv> = (0..3)
        .map(|layer| {
            let weights = ConvWeights {
                weight: narrow(&[channels, channels, 3, 3], layer),
                gain: narrow(&[channels], 10 + layer),
                bias: narrow(&[channels], 20 + layer),
                scales: None,
            };
            FrozenConv::new(&gpu, &spec, Arc::new(weights))
        })
        .collect();
    let x = Twin::random(&[rows, channels, 5, 7], 30);
    let upload = |label: &str, data: &[f32]| gpu.storage_with(label, data);
    let input = floats(&map_lanes(&x));
    let z = Twin::random(&[rows, rank], 31);
    let gates = upload("gates", &floats(&map_lanes(&z)));
    let a = upload(
        "a",
        &floats(&a_lanes(&Twin::random(&[rank, channels, 3, 3], 32))),
    );
    let b = upload("b", &floats(&b_lanes(&Twin::random(&[channels, rank], 33))));
    let grads: Vec<_> = (0..3)
        .map(|_| gpu.storage("gradient", (rank * 9 * 8 * 4) as u64))
        .collect();

    let mut graph = Graph::new(&gpu, kernels);
    let slot = |graph: &mut Graph, buffer: &_| graph.builder.buffer("test", buffer);
    let mut x = graph.constant("test input", bench::map_of(&x), rows, &input);
    let (gates, a, b) = (
        slot(&mut graph, &gates),
        slot(&mut graph, &a),
        slot(&mut graph, &b),
    );
    let adapter = |low: Tensor, up| LowRank {
        low: low.slot,
        gates,
        up,
        rank,
        scale: 1.5,
    };
    let mut all = Vec::new();
    let mut inputs = Vec::new();
    for frozen in &layers {
        let low = graph.down("low".into(), Some(&spec), x, a, rank, None);
        let out = graph.conv_forward(ConvForward {
            frozen,
            input: x,
            rows,
            adapter: Some(adapter(low, b)),
            residual: Some(x),
            relu: true,
        });
        inputs.push((x, low));
        all.extend([low, out]);
        x = out;
    }
    let mut grad = x;
    for ((frozen, (input, _)), target) in layers.iter().zip(inputs).zip(&grads).rev() {
        let scaled = graph.gain(frozen, grad);
        let q = graph.down("q".into(), None, scaled, b, rank, None);
        let target = slot(&mut graph, target);
        graph.outer(Outer {
            label: "d a".into(),
            geometry: Some(&spec),
            x: input,
            low: q,
            gates: Some(gates),
            scale: 1.5,
            grad: target,
        });
        let below = graph.conv_backward(ConvBackward {
            frozen,
            grad: scaled,
            map: input.map,
            adapter: Some(adapter(q, a)),
            residual: Some(grad),
            mask: Some(input),
            gain: None,
        });
        all.extend([scaled, q, below]);
        grad = below;
    }
    graph.builder.keep(grad.slot);
    if keep {
        for tensor in &all {
            graph.builder.keep(tensor.slot);
        }
    }
    let plan = graph.builder.build().unwrap();
    // Twice: the second run finds the first one's leavings where the first found NaN.
    let mut results: Vec<Vec<Vec<u32>>> = Vec::new();
    for _ in 0..2 {
        plan.run();
        let mut found = vec![plan.read(grad.slot).unwrap()];
        found.extend(
            grads
                .iter()
                .map(|buffer| gpu.read::<f32>(buffer, 0, buffer.size()).unwrap()),
        );
        let bits = |values: &Vec<f32>| values.iter().map(|value| value.to_bits()).collect();
        assert!(found.iter().flatten().all(|value| value.is_finite()));
        results.push(found.iter().map(bits).collect());
    }
    bench::whole(&plan);
    assert_eq!(results[0], results[1], "the second run differs");
    (results.remove(0), plan.transient_bytes())
}

#[test]
fn liveness_changes_no_bit() {
    for kernels in crate::common::kernel_choices(&bench::default_gpu()) {
        let (expected, kept) = run(kernels, true);
        let (found, reused) = run(kernels, false);
        println!("{kernels:?}: {kept} bytes kept, {reused} reused");
        assert!(reused < kept, "nothing was reused");
        assert_eq!(expected, found);
    }
}
