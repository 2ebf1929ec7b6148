//! Weights drawn about their means, and the gradients of means and noise.

use bayeslora::low_level::formats::{Architecture, Stem};
use bayeslora::low_level::model::{
    AdapterLayout, GateMode, LayoutLayer, Purpose, ResNet, Segment, StepValues, WeightTable,
};
use bayeslora::low_level::train::kl::KlPrior;

use crate::bench::{
    Bench, EXACT, Lane, a_lanes, assert_folded, b_lanes, everywhere, floats, values,
};
use crate::reference::gates::{self, Stream};
use crate::reference::tensor::Tensor;
use crate::reference::weights;

/// As of gates: the normals' polynomials and the `exp` in sigma.
const DRAWN: f64 = 1e-6;

/// A sum, and a logarithm in log mu^2 that WGSL allows 2^-21.
const GRADIENT: f64 = 4e-6;

const SEED: u64 = 0x1234_5678_9abc_def0;

/// Adapters of mixed rank, one emptied, with the holes that prunes leave; 3x3 and 1x1, channels that fill no quad.
fn layout() -> AdapterLayout {
    let resnet = ResNet::new(Architecture::ResNet18, Stem::Cifar, [4, 6, 8, 10]);
    let ids = [
        vec![7],
        vec![],
        vec![1, 2, 5, 7, 8, 11, 13, 40, 41],
        vec![0, 3, 6],
        vec![511, 2, 4],
        vec![0, 1, 2, 3, 4],
    ];
    AdapterLayout::new(&resnet, &[0, 3, 5, 7, 12], true, 5, &ids)
}

/// One layer's means, or what is laid out alike, and rho.
struct Layer {
    a: Tensor,
    b: Tensor,
    rho: Vec<f64>,
}

fn layers(layout: &AdapterLayout, seed: u64, size: f64, [low, high]: [f64; 2]) -> Vec<Layer> {
    let random = |shape: &[usize], seed| {
        let value = |value: f64| f64::from((size * value) as f32);
        Tensor::random(shape, seed).map(value)
    };
    let layer = |(number, layer): (usize, &LayoutLayer)| {
        let (rank, k, seed) = (layer.rank(), layer.kernel, seed + 3 * number as u64);
        let rho = Tensor::random(&[rank], seed + 2);
        let rho = rho.map(|t| f64::from((low + (high - low) * (t + 1.0) / 2.0) as f32));
        Layer {
            a: random(&[rank, layer.in_channels, k, k], seed),
            b: random(&[layer.out_channels, rank], seed + 1),
            rho: rho.data,
        }
    };
    layout.layers.iter().enumerate().map(layer).collect()
}

/// A buffer laid out as the parameters, untouched but for A, B and, where `rho` says so, rho.
fn lanes(layout: &AdapterLayout, layers: &[Layer], rho: bool) -> Vec<Lane> {
    let mut all = vec![Lane::Untouched; layout.len];
    let mut put = |segment: Segment, lanes: Vec<Lane>| {
        all[segment.start..segment.start + lanes.len()].copy_from_slice(&lanes);
    };
    for (spec, layer) in layout.layers.iter().zip(layers) {
        put(spec.a, a_lanes(&layer.a));
        put(spec.b, b_lanes(&layer.b));
        if rho {
            put(spec.log_alpha, values(&layer.rho));
        }
    }
    all
}

fn number(layer: &LayoutLayer) -> u32 {
    layer.conv.map_or(65_535, |place| place as u32)
}

fn kappa(layer: &LayoutLayer) -> f64 {
    0.1 * layer.params_per_rank() as f64
}

fn step(bench: &mut Bench, values: &StepValues) -> bayeslora::low_level::gpu::Slot {
    let step = StepValues::buffer(bench.gpu());
    values.write(bench.gpu(), &step);
    bench.graph.builder.buffer("step", &step)
}

fn draws(size: f64, rho: [f64; 2], mode: GateMode, purpose: Purpose) {
    let (layout, draw) = (layout(), 41);
    let means = layers(&layout, 5, size, rho);
    let drawn: Vec<Layer> = layout
        .layers
        .iter()
        .zip(&means)
        .map(|(spec, layer)| {
            let stream = Stream {
                seed: SEED,
                purpose: match purpose {
                    Purpose::Train => gates::Purpose::Train,
                    Purpose::Predict => gates::Purpose::Predict,
                },
                step_or_sample: draw,
                layer: number(spec),
            };
            let [a, b] = match mode {
                GateMode::Mean => [layer.a.clone(), layer.b.clone()],
                _ => weights::draw(stream, &spec.rank_ids, &layer.rho, &layer.a, &layer.b),
            };
            let rho = Vec::new();
            Layer { a, b, rho }
        })
        .collect();
    let name = format!("weights {mode:?} {purpose:?} means {size} rho {rho:?}");
    let tolerance = match mode {
        GateMode::Mean => EXACT,
        _ => DRAWN,
    };
    let plans = everywhere(&name, 9, |bench| {
        let values = StepValues {
            purpose,
            ..StepValues::prediction(SEED, draw, mode)
        };
        let entries = layout.weight_table(kappa);
        let out = bench.target(layout.len);
        let table = WeightTable {
            step: step(bench, &values),
            ranks: bench.words(bytemuck::cast_slice(&entries)),
            parameters: bench.lanes(&lanes(&layout, &means, true)),
            drawn: out.slot,
            entries: entries.len(),
        };
        bench.graph.draw_weights(table);
        bench.expect_target("theta", &out, lanes(&layout, &drawn, false), tolerance);
    });
    assert_folded(&plans);
}

#[test]
fn weights() {
    draws(1.0, [-12.0, 1.0], GateMode::Shared, Purpose::Train);
    // Examples do not matter.
    draws(1.0, [-3.0, 1.0], GateMode::PerExample, Purpose::Predict);
    // The noise alone, and small.
    draws(0.0, [-12.0, -12.0], GateMode::Shared, Purpose::Predict);
    draws(1.0, [-3.0, 1.0], GateMode::Mean, Purpose::Predict);
}

/// The KL of one weight, its derivatives in mu and rho; 0 at mu = 0, which they tend to.
fn divergence(mu: f64, rho: f64) -> [f64; 3] {
    if mu == 0.0 {
        return [0.0; 3];
    }
    let t = rho - mu.powi(2).ln();
    let slope = KlPrior::Molchanov.gradient(t);
    [KlPrior::Molchanov.kl(t), -2.0 * slope / mu, slope]
}

#[test]
fn weight_noise() {
    let (layout, kl_weight) = (layout(), 0.37f32);
    for rho in [[-3.0, 1.0], [-16.0, -8.0]] {
        let mut means = layers(&layout, 5, 1.0, rho);
        // Where log mu^2, or its square, is out of range.
        for (i, mu) in [0.0, 1e-30, -1e-12, 1e-6, 50.0].into_iter().enumerate() {
            means[2].a.data[7 * i] = f64::from(mu as f32);
            means[4].b.data[2 * i] = f64::from(mu as f32);
        }
        let (drawn, before) = (layers(&layout, 50, 1.5, rho), layers(&layout, 90, 1.0, rho));
        let (mut after, mut kl) = (Vec::new(), Vec::new());
        for (number, spec) in layout.layers.iter().enumerate() {
            let (mean, theta, g) = (&means[number], &drawn[number], &before[number]);
            let mean_rho = &mean.rho;
            // kappa / n travels as f32.
            let share = f64::from((kappa(spec) / spec.params_per_rank() as f64) as f32);
            let weight = f64::from(kl_weight) * share;
            let (rank, per_row) = (spec.rank(), spec.in_channels * spec.taps());
            let mut drho = vec![0.0; rank];
            let mut divergences = vec![0.0; rank];
            let mut factor = |mean: &Tensor, theta: &Tensor, g: &Tensor, of_a: bool| {
                Tensor::from_fn(&mean.shape, |at| {
                    let i = if of_a { at / per_row } else { at % rank };
                    let [value, dmu, slope] = divergence(mean.data[at], mean_rho[i]);
                    let noise = theta.data[at] - mean.data[at];
                    drho[i] += g.data[at] * noise / 2.0 + weight * slope;
                    divergences[i] += share * value;
                    g.data[at] + weight * dmu
                })
            };
            let a = factor(&mean.a, &theta.a, &g.a, true);
            let b = factor(&mean.b, &theta.b, &g.b, false);
            kl.extend(divergences);
            after.push(Layer { a, b, rho: drho });
        }
        let name = format!("weight noise, rho {rho:?}");
        everywhere(&name, 9, |bench| {
            let values = StepValues {
                kl_weight,
                ..StepValues::prediction(0, 0, GateMode::Mean)
            };
            let entries = layout.weight_table(kappa);
            let table = WeightTable {
                step: step(bench, &values),
                ranks: bench.words(bytemuck::cast_slice(&entries)),
                parameters: bench.lanes(&lanes(&layout, &means, true)),
                drawn: bench.lanes(&lanes(&layout, &drawn, false)),
                entries: entries.len(),
            };
            let gradients = bench.target_with(&floats(&lanes(&layout, &before, false)));
            let out = bench.target(entries.len());
            bench.graph.weight_noise(table, gradients.slot, out.slot);
            let expected = lanes(&layout, &after, true);
            bench.expect_target("gradients", &gradients, expected, GRADIENT);
            bench.expect_target("KL", &out, self::values(&kl), GRADIENT);
        });
    }
}
