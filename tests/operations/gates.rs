//! Drawing gates, their gradient, log alpha's, the KL, the trace.

use bayeslora::low_level::formats::{Architecture, GateDistribution, Stem};
use bayeslora::low_level::model::{
    AdapterLayout, GateMode, GateTable, LayerSlots, Prior, Purpose, RankEntry, ResNet, StepValues,
};
use bayeslora::low_level::train::kl::KlPrior;

use crate::bench::{
    Bench, EXACT, Lane, SUM, assert_folded, b_lanes, everywhere, map_lanes, values,
};
use crate::reference::gates::{self, SHARED_EXAMPLE, Stream};
use crate::reference::tensor::Tensor;

/// Normals are polynomials of single precision, exact to some units of 2^-24; WGSL allows the `exp` in
/// sqrt(alpha) about six units of 2^-23 at the largest alpha here, whose gates are the largest.
const GATES: f64 = 1e-6;

/// Gates whose alpha is one: the normals' own error, and at most three units of an `exp(0)`.
const NORMALS: f64 = 4e-7;

const SEED: u64 = 0x1234_5678_9abc_def0;

/// Adapters of mixed rank, one emptied, with the holes that prunes leave.
fn layout() -> AdapterLayout {
    let resnet = ResNet::new(Architecture::ResNet18, Stem::Cifar, [4, 6, 8, 10]);
    let ids = [
        vec![7],
        vec![],
        vec![1, 2, 5, 7, 8, 11, 13, 40, 41],
        vec![0, 3, 6],
        vec![0, 1, 2, 3, 4],
    ];
    AdapterLayout::new(&resnet, &[0, 3, 5, 12], true, 5, &ids)
}

/// The number of a layer in the key of its noise.
fn number(conv: Option<usize>) -> u32 {
    conv.map_or(65_535, |place| place as u32)
}

/// log alpha of every layer: wide enough for tiny and huge noise, or all zero.
fn log_alpha(layout: &AdapterLayout, wide: bool) -> Vec<Vec<f64>> {
    let layers = layout.layers.iter().enumerate();
    layers
        .map(|(seed, layer)| {
            let t = Tensor::random(&[layer.rank()], seed as u64).data;
            t.iter()
                .map(|t| {
                    if wide {
                        f64::from((6.0 * t - 3.0) as f32)
                    } else {
                        0.0
                    }
                })
                .collect()
        })
        .collect()
}

/// The parameter buffer: NaN but for log alpha.
fn parameters(layout: &AdapterLayout, wide: bool) -> Vec<f32> {
    let mut all = vec![f32::NAN; layout.len];
    for (layer, t) in layout.layers.iter().zip(log_alpha(layout, wide)) {
        for (i, t) in t.iter().enumerate() {
            all[layer.log_alpha.start + i] = *t as f32;
        }
    }
    all
}

/// The gate buffer whose layers hold `[rows, rank]`.
fn gate_lanes(layout: &AdapterLayout, rows: usize, layers: &[Tensor]) -> Vec<Lane> {
    let (_, starts, len) = layout.rank_table(rows, |_| 0.0);
    let mut lanes = vec![Lane::Untouched; len];
    for (z, start) in layers.iter().zip(starts) {
        let z = map_lanes(z);
        lanes[start..start + z.len()].copy_from_slice(&z);
    }
    lanes
}

fn table(
    bench: &mut Bench,
    rows: usize,
    entries: &[RankEntry],
    values: &StepValues,
    wide: bool,
) -> GateTable {
    let step = StepValues::buffer(bench.gpu());
    values.write(bench.gpu(), &step);
    GateTable {
        step: bench.graph.builder.buffer("step", &step),
        ranks: bench.words(bytemuck::cast_slice(entries)),
        parameters: bench.data(&parameters(&layout(), wide)),
        entries: entries.len(),
        rows,
    }
}

fn draws(
    distribution: GateDistribution,
    examples: usize,
    samples: usize,
    mode: GateMode,
    purpose: Purpose,
    wide: bool,
) {
    let layout = layout();
    let (rows, draw) = (examples * samples, 41);
    // Numbers of a data set, not places in the batch.
    let numbers: Vec<u32> = (0..examples as u32).map(|n| n * 7919 + 13).collect();
    let expected: Vec<Tensor> = layout
        .layers
        .iter()
        .zip(log_alpha(&layout, wide))
        .map(|(layer, t)| {
            let rank = layer.rank();
            Tensor::from_fn(&[rows, rank], |at| {
                let (row, i) = (at / rank, at % rank);
                let stream = Stream {
                    seed: SEED,
                    purpose: match purpose {
                        Purpose::Train => gates::Purpose::Train,
                        Purpose::Predict => gates::Purpose::Predict,
                    },
                    step_or_sample: draw + (row % samples) as u32,
                    layer: number(layer.conv),
                };
                let example = match mode {
                    GateMode::Mean => return 1.0,
                    GateMode::PerExample => numbers[row / samples],
                    GateMode::Shared => SHARED_EXAMPLE,
                };
                match distribution {
                    GateDistribution::Gaussian => {
                        1.0 + (t[i] / 2.0).exp() * stream.eps(example, layer.rank_ids[i])
                    }
                    GateDistribution::Bernoulli => stream.dropout(example, layer.rank_ids[i], t[i]),
                    GateDistribution::Weights => panic!("no gates"),
                }
            })
        })
        .collect();
    let lanes = gate_lanes(&layout, rows, &expected);
    let name = format!(
        "{distribution:?} gates {examples} examples x {samples} {mode:?} {purpose:?} wide {wide}"
    );
    let tolerance = match (mode, wide) {
        (GateMode::Mean, _) => EXACT,
        (_, true) => GATES,
        (_, false) => NORMALS,
    };
    let plans = everywhere(&name, if rows > 9 { 9 } else { 3 }, |bench| {
        let values = StepValues {
            purpose,
            ..StepValues::prediction(SEED, draw, mode)
        };
        let (entries, ..) = layout.rank_table(rows, |_| 0.0);
        let table = table(bench, rows, &entries, &values, wide);
        let examples = bench.words(&numbers);
        let out = bench.target(lanes.len());
        bench
            .graph
            .gates(table, distribution, examples, out.slot, samples);
        bench.expect_target("z", &out, lanes.clone(), tolerance);
    });
    if rows >= 9 {
        assert_folded(&plans);
    }
}

#[test]
fn gates() {
    draws(
        GateDistribution::Gaussian,
        1,
        1,
        GateMode::PerExample,
        Purpose::Train,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        9,
        1,
        GateMode::PerExample,
        Purpose::Train,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        40,
        1,
        GateMode::Shared,
        Purpose::Train,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        3,
        3,
        GateMode::PerExample,
        Purpose::Predict,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        5,
        8,
        GateMode::PerExample,
        Purpose::Predict,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        3,
        11,
        GateMode::Shared,
        Purpose::Predict,
        true,
    );
    draws(
        GateDistribution::Gaussian,
        3,
        3,
        GateMode::Mean,
        Purpose::Predict,
        true,
    );
    // Normals by themselves, enough of them to reach every branch.
    draws(
        GateDistribution::Gaussian,
        19,
        8,
        GateMode::PerExample,
        Purpose::Predict,
        false,
    );
}

#[test]
fn dropout_gates() {
    let distribution = GateDistribution::Bernoulli;
    draws(
        distribution,
        1,
        1,
        GateMode::PerExample,
        Purpose::Train,
        true,
    );
    draws(distribution, 40, 1, GateMode::Shared, Purpose::Train, true);
    draws(
        distribution,
        5,
        8,
        GateMode::PerExample,
        Purpose::Predict,
        true,
    );
    draws(distribution, 3, 3, GateMode::Mean, Purpose::Predict, true);
}

#[test]
fn gate_gradient() {
    let scale = 1.75f32;
    for (rank, [height, width], rows) in [
        (1, [1, 1], 1),
        (3, [5, 7], 9),
        (9, [3, 3], 40),
        (12, [2, 2], 33),
    ] {
        let h = Tensor::random(&[rows, rank, height, width], 1);
        let q = Tensor::random(&[rows, rank, height, width], 2);
        let positions = height * width;
        let expected = Tensor::from_fn(&[rows, rank], |at| {
            let plane = at * positions..(at + 1) * positions;
            f64::from(scale) * plane.map(|p| h.data[p] * q.data[p]).sum::<f64>()
        });
        let name = format!("gate gradient rank {rank} {height}x{width} {rows} rows");
        everywhere(&name, 3, |bench| {
            let (h, q) = (bench.buffer_input(&h), bench.buffer_input(&q));
            let lanes = map_lanes(&expected);
            let out = bench.target(lanes.len());
            let graph = &mut bench.graph;
            graph.gate_gradient("gates".into(), h, q, scale, out.slot);
            bench.expect_target("dz", &out, lanes, SUM);
        });
    }
}

#[test]
fn log_alpha_and_kl() {
    let layout = layout();
    let kl_weight = 0.37f32;
    let kappa = |params: usize| 0.1 * params as f64;
    let priors = [
        (Prior::Molchanov, KlPrior::Molchanov),
        (Prior::EmpiricalBayes, KlPrior::EmpiricalBayes),
        (
            Prior::Gaussian { variance: 0.75 },
            KlPrior::Gaussian { variance: 0.75 },
        ),
    ];
    for (prior, twin) in priors {
        for rows in [1, 17] {
            let random = |seed| -> Vec<Tensor> {
                let layers = layout.layers.iter().enumerate();
                layers
                    .map(|(i, layer)| Tensor::random(&[rows, layer.rank()], seed + i as u64))
                    .collect()
            };
            let (z, dz) = (random(10), random(20));
            let (entries, ..) = layout.rank_table(rows, |layer| kappa(layer.params_per_rank()));
            let mut gradient = vec![Lane::Untouched; layout.len];
            let mut kl = Vec::new();
            for (number, (layer, t)) in layout
                .layers
                .iter()
                .zip(log_alpha(&layout, true))
                .enumerate()
            {
                // kappa travels as f32.
                let kappa = f64::from(kappa(layer.params_per_rank()) as f32);
                for (i, t) in t.iter().enumerate() {
                    let term = |row: usize| {
                        dz[number].at(&[row, i]) * (z[number].at(&[row, i]) - 1.0) / 2.0
                    };
                    let data: f64 = (0..rows).map(term).sum();
                    let divergence = f64::from(kl_weight) * kappa * twin.gradient(*t);
                    gradient[layer.log_alpha.start + i] = Lane::Value(data + divergence);
                    kl.push(Lane::Value(kappa * twin.kl(*t)));
                }
                kl.resize(kl.len().next_multiple_of(4), Lane::Padding);
            }
            let name = format!("log alpha {prior:?} {rows} rows");
            everywhere(&name, 3, |bench| {
                let values = StepValues {
                    kl_weight,
                    ..StepValues::prediction(0, 0, GateMode::Mean)
                };
                let table = table(bench, rows, &entries, &values, true);
                let z = bench.lanes(&gate_lanes(&layout, rows, &z));
                let dz = bench.lanes(&gate_lanes(&layout, rows, &dz));
                let gradients = bench.target(layout.len);
                let out = bench.target(entries.len());
                let graph = &mut bench.graph;
                graph.log_alpha(table, prior, z, dz, gradients.slot, out.slot);
                bench.expect_target("dt", &gradients, gradient.clone(), SUM);
                bench.expect_target("KL", &out, kl.clone(), SUM);
            });
        }
    }
}

#[test]
fn trace() {
    let scale = 1.75f32;
    for (rank, channels, [height, width], rows) in [
        (1, 3, [1, 1], 1),
        (5, 10, [5, 7], 9),
        (9, 13, [3, 3], 40),
        (12, 6, [2, 2], 200),
    ] {
        let h = Tensor::random(&[rows, rank, height, width], 1);
        let b = Tensor::random(&[channels, rank], 2);
        let t = Tensor::random(&[rank], 3);
        let before = Tensor::random(&[rows], 4);
        let positions = height * width;
        let expected: Vec<f64> = (0..rows)
            .map(|row| {
                let term = |i: usize| {
                    let plane = (row * rank + i) * positions..(row * rank + i + 1) * positions;
                    let energy: f64 = plane.map(|p| h.data[p].powi(2)).sum();
                    let norm: f64 = (0..channels).map(|o| b.at(&[o, i]).powi(2)).sum();
                    t.data[i].exp() * energy * norm
                };
                before.data[row] + f64::from(scale).powi(2) * (0..rank).map(term).sum::<f64>()
            })
            .collect();
        let name = format!("trace rank {rank} {channels} channels {height}x{width} {rows} rows");
        everywhere(&name, 3, |bench| {
            let h = bench.buffer_input(&h);
            let b = bench.lanes(&b_lanes(&b));
            let mut log_alpha = t.to_f32();
            log_alpha.resize(rank.next_multiple_of(4), f32::NAN);
            let log_alpha = bench.data(&log_alpha);
            let out = bench.target_with(&before.to_f32());
            let graph = &mut bench.graph;
            // Only B and log alpha are read.
            let layer = LayerSlots {
                a: b,
                b,
                log_alpha,
                gates: b,
            };
            graph.trace("trace".into(), h, layer, channels, scale, out.slot);
            let mut lanes = values(&expected);
            lanes.resize(rows.next_multiple_of(4), Lane::Untouched);
            bench.expect_target("trace", &out, lanes, SUM);
        });
    }
}
