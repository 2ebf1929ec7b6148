//! Gates after a turn: exactly those from before, in files, on the GPU and in closed form.

use bayeslora::low_level::formats::{Adapter, GateDistribution, Head, LayerAdapter, Mixing};
use bayeslora::low_level::model::{AdapterLayout, AdapterState, exchange};
use bayeslora::low_level::predict::{Predictor, Samples};
use bayeslora::low_level::train::gauge::{self, Turn};

use super::network::{CLASSES, SCALE, answers, close, gated, images, layout, network, svd};
use crate::properties::{GPU, random_state, tiny_backbone};
use crate::reference::gates::{Purpose, Stream};

const SAMPLES: usize = 3;
const SEED: u64 = 9;

fn start(rank: usize) -> (AdapterLayout, AdapterState) {
    let layout = layout(&network(&GPU), rank);
    let mut state = random_state(&layout, 40 + rank as u64);
    let factors = state.layers.iter_mut().flat_map(|layer| &mut layer.lora_b);
    factors.for_each(|b| *b *= 0.1);
    (layout, state)
}

/// An adapter turned and cut to some ranks of each layer, its gates mixed.
fn mixed(
    layout: &AdapterLayout,
    state: &AdapterState,
    turns: &[Turn],
    left: impl Fn(usize) -> usize,
) -> Adapter {
    let resnet = &network(&GPU).resnet;
    let silent: Vec<Vec<f32>> = layout.layers.iter().map(|l| vec![0.0; l.rank()]).collect();
    let kept: Vec<Vec<usize>> = layout
        .layers
        .iter()
        .enumerate()
        .map(|(n, l)| (0..left(n).min(l.rank())).collect())
        .collect();
    let turned_layout = gauge::turned_layout(layout, resnet, turns);
    let mut turned = gated(&turned_layout, &gauge::turn(layout, state, turns, &silent));
    turned.keep(resnet, &kept);
    let (mut layers, head) = exchange::to_file(&turned);
    for (number, layer) in layers.iter_mut().enumerate() {
        if layer.rank() > 0 {
            layer.log_alpha = Some(state.layers[number].log_alpha.clone());
            layer.mixing = Some(
                turns[number]
                    .keep(&kept[number])
                    .mixing(&layout.layers[number].rank_ids),
            );
        }
    }
    adapter(layers, head)
}

fn adapter(layers: Vec<LayerAdapter>, head: Head) -> Adapter {
    Adapter {
        layers,
        head,
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        class_balance: None,
        initial_rank: 9,
        lora_alpha: 16.0,
        backbone_sha256: String::new(),
        base_name: String::new(),
        resolution: 64,
        seed: 1,
        method: "bayeslora".into(),
        gates: GateDistribution::Gaussian,
    }
}

fn samples(adapter: &Adapter) -> Vec<f32> {
    let predictor = Predictor::new(&GPU, &tiny_backbone(), adapter).unwrap();
    predictor
        .log_probs(&images(), Samples::new(SAMPLES, SEED), &mut |_| ())
        .unwrap()
}

#[test]
fn with_every_rank_left_samples_are_those_from_before() {
    for rank in [1, 5, 9] {
        let (layout, state) = start(rank);
        let before = answers(&network(&GPU), &layout, &state, Samples::new(SAMPLES, SEED));
        let mean = answers(&network(&GPU), &layout, &state, Samples::MEAN);
        assert!(
            before
                .iter()
                .zip(mean.iter().cycle())
                .any(|(a, b)| (a - b).abs() > 0.01),
            "noise shows"
        );
        let mixed = mixed(&layout, &state, &svd(&layout, &state), |_| rank);
        // Of log probabilities. Software adapters convolve in tiles of 4x4 outputs, which round up to three times as much as direct
        // sums (docs/performance.md), for which it was 1e-5.
        let worst = close(&samples(&mixed), &before, 3e-5);
        println!("rank {rank}: {worst:.1e}");
        // The trace of (16) too.
        let of = |adapter: &Adapter| {
            let predictor = Predictor::new(&GPU, &tiny_backbone(), adapter).unwrap();
            predictor.covariance_trace(&images()).unwrap()
        };
        let (layers, head) = exchange::to_file(&gated(&layout, &state));
        let (trained, turned) = (of(&adapter(layers, head)), of(&mixed));
        for (a, b) in trained.iter().zip(&turned) {
            assert!((a / b - 1.0).abs() < 1e-4, "{a} {b}");
        }
    }
}

/// y = W x + s B' (L (z . (Rr A' x))) with W + s B' L diag(z) Rr A' multiplied out in f64, a network of its own for every
/// row, and the noise of the r numbers from before.
#[test]
fn a_cut_adapter_is_its_dense_twin() {
    let (mut layout, state) = start(5);
    // Numbers after an earlier prune.
    for layer in &mut layout.layers {
        layer.rank_ids = vec![0, 2, 5, 6, 8];
    }
    let left = |layer: usize| [3, 1, 0, 4, 2, 5, 3, 2][layer];
    let adapter = mixed(&layout, &state, &svd(&layout, &state), left);
    let found = samples(&adapter);
    let backbone = tiny_backbone();
    let images = images();
    for image in 0..images.dataset.len() {
        for sample in 0..SAMPLES {
            let mut merged = backbone.clone();
            let mut head = adapter.head.clone();
            for (layer, spec) in adapter.layers.iter().zip(&layout.layers) {
                let Some(mixing) = &layer.mixing else {
                    continue;
                };
                let stream = Stream {
                    seed: SEED,
                    purpose: Purpose::Predict,
                    step_or_sample: sample as u32,
                    layer: spec.number(),
                };
                let log_alpha: Vec<f64> = layer
                    .log_alpha
                    .as_ref()
                    .unwrap()
                    .iter()
                    .map(|t| f64::from(*t))
                    .collect();
                let z = stream.gates(&[image as u32], &mixing.ids, &log_alpha);
                let delta = dense(layer, mixing, |i| z.at(&[0, i]));
                let weight = match spec.conv {
                    Some(place) => &mut std::sync::Arc::make_mut(&mut merged.convs[place]).weight,
                    None => &mut head.weight,
                };
                for (w, d) in weight.iter_mut().zip(&delta) {
                    *w = (f64::from(*w) + f64::from(SCALE) * d) as f32;
                }
            }
            let alone = Adapter {
                layers: vec![],
                head,
                ..adapter.clone()
            };
            let predictor = Predictor::new(&GPU, &merged, &alone).unwrap();
            let expected = predictor
                .log_probs(&images, Samples::MEAN, &mut |_| ())
                .unwrap();
            let row = (sample * images.dataset.len() + image) * CLASSES;
            close(
                &found[row..][..CLASSES],
                &expected[image * CLASSES..][..CLASSES],
                2e-5,
            );
        }
    }
}

/// B' L diag(z) Rr A', `[out, in k k]`.
fn dense(layer: &LayerAdapter, mixing: &Mixing, z: impl Fn(usize) -> f64) -> Vec<f64> {
    let (k, r) = (layer.rank(), mixing.latents());
    let inputs = layer.lora_a.len() / k;
    let entry = |values: &[f32], place: usize| f64::from(values[place]);
    let mut gates = vec![0.0; k * k];
    for (place, gate) in gates.iter_mut().enumerate() {
        let (p, q) = (place / k, place % k);
        *gate = (0..r)
            .map(|i| entry(&mixing.left, p * r + i) * z(i) * entry(&mixing.right, i * k + q))
            .sum();
    }
    let mut out = vec![0.0; layer.out_channels * inputs];
    for (place, value) in out.iter_mut().enumerate() {
        let (o, c) = (place / inputs, place % inputs);
        for p in 0..k {
            for q in 0..k {
                *value += entry(&layer.lora_b, o * k + p)
                    * gates[p * k + q]
                    * entry(&layer.lora_a, q * inputs + c);
            }
        }
    }
    out
}

/// The variance of each rank's own gate is that of many draws.
#[test]
fn variances_are_those_of_draws() {
    let (layout, state) = start(5);
    let adapter = mixed(&layout, &state, &svd(&layout, &state), |_| 3);
    let (layer, spec) = (&adapter.layers[3], &layout.layers[3]);
    let mixing = layer.mixing.as_ref().unwrap();
    let log_alpha = layer.log_alpha.as_ref().unwrap();
    let draws = 40_000u32;
    let stream = Stream {
        seed: 1,
        purpose: Purpose::Predict,
        step_or_sample: 0,
        layer: spec.number(),
    };
    let z = stream.gates(
        &(0..draws).collect::<Vec<_>>(),
        &mixing.ids,
        &log_alpha.iter().map(|t| f64::from(*t)).collect::<Vec<_>>(),
    );
    let variances = mixing.variances(log_alpha);
    let logs = layer.gate_log_variances(adapter.gates).unwrap();
    for j in 0..3 {
        let own = |n: usize| -> f64 {
            (0..5)
                .map(|i| {
                    f64::from(mixing.left[j * 5 + i])
                        * z.at(&[n, i])
                        * f64::from(mixing.right[i * 3 + j])
                })
                .sum()
        };
        let all: Vec<f64> = (0..draws as usize).map(own).collect();
        let mean = all.iter().sum::<f64>() / f64::from(draws);
        let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(draws);
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(
            (variance / variances[j] - 1.0).abs() < 0.05,
            "{variance} {}",
            variances[j]
        );
        assert!((f64::from(logs[j]).exp() / variances[j] - 1.0).abs() < 1e-5);
    }
}

/// What a cut of next to nothing changes is next to nothing, noise included. (Ranks that cancel in the mean are not nothing:
/// their noise does not cancel, and a cut of the direction in which they do takes it away.)
#[test]
fn a_cut_of_tiny_singular_values_keeps_the_posterior() {
    let (layout, mut state) = start(5);
    for (layer, spec) in state.layers.iter_mut().zip(&layout.layers) {
        let inputs = spec.in_channels * spec.taps();
        layer.lora_a[3 * inputs..]
            .iter_mut()
            .for_each(|a| *a *= 1e-3);
    }
    let before = answers(&network(&GPU), &layout, &state, Samples::new(SAMPLES, SEED));
    let after = samples(&mixed(&layout, &state, &svd(&layout, &state), |_| 3));
    let kl = bayeslora::low_level::metrics::mean_kl(&before, &after, CLASSES);
    assert!(kl < 1e-4, "{kl}");
    let dear = samples(&mixed(&layout, &state, &svd(&layout, &state), |_| 1));
    let dear = bayeslora::low_level::metrics::mean_kl(&before, &dear, CLASSES);
    assert!(dear > 100.0 * kl, "{dear} {kl}");
}

#[test]
fn files_give_mixed_gates_back_and_peft_the_mean() {
    let (layout, state) = start(5);
    let left = |layer: usize| [3, 1, 0, 4, 2, 5, 3, 2][layer];
    let adapter = mixed(&layout, &state, &svd(&layout, &state), left);
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path()).unwrap();
    let read = Adapter::load_peft(dir.path()).unwrap();
    assert_eq!(read, adapter);
    assert_eq!(samples(&read), samples(&adapter));
    // What a reader that knows of one gate a rank alone is told.
    let ours = std::fs::read_to_string(dir.path().join("bayeslora.json")).unwrap();
    assert!(ours.contains("\"version\": 3"), "{ours}");
    // Of the ranks that are left, and no others, as peft reads it.
    for name in ["bayeslora.json", "bayeslora.safetensors"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let weights = dir.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = format!("base_model.model.{}.lora_A.weight", adapter.layers[0].name);
    assert_eq!(tensors.tensor(&name).unwrap().shape()[0], 3);
}

#[test]
fn mixing_that_contradicts_itself_is_refused() {
    let (layout, state) = start(5);
    let adapter = mixed(&layout, &state, &svd(&layout, &state), |_| 3);
    type Spoil = fn(&mut LayerAdapter);
    let cases: [(Spoil, &str); 5] = [
        (
            |layer| layer.mixing.as_mut().unwrap().left.truncate(14),
            "mixed by 14 and 15",
        ),
        (
            |layer| layer.mixing.as_mut().unwrap().ids[1] = 0,
            "gate_ids",
        ),
        (
            |layer| layer.mixing.as_mut().unwrap().ids[1] = 9,
            "gate_ids",
        ),
        (|layer| layer.log_alpha = None, "mixed by"),
        (
            |layer| layer.log_alpha.as_mut().unwrap().truncate(4),
            "log_alpha",
        ),
    ];
    for (spoil, what) in cases {
        let mut spoilt = adapter.clone();
        spoil(&mut spoilt.layers[1]);
        let dir = tempfile::tempdir().unwrap();
        let error = spoilt.save_peft(dir.path()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
