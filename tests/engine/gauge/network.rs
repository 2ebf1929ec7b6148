//! Whole adapters: the network's answers, and the moments of a run.

use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::{
    AdapterLayout, AdapterParams, AdapterState, FrozenNetwork, KernelChoice,
};
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::low_level::train::TrainableState;
use bayeslora::low_level::train::gauge::{self, Turn};
use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::properties::{GPU, random_state, tiny_backbone};

use super::algebra::random;

pub const SCALE: f32 = 16.0 / 9.0;
pub const CLASSES: usize = 3;

/// Stem, 3x3, stride 2 with its 1x1 shortcut, the last block, the classifier.
pub const TARGETS: [&str; 5] = ["conv1", "layer1.1.conv2", "layer2.0", "layer4.1", "fc"];

pub fn network(gpu: &Gpu) -> Arc<FrozenNetwork> {
    Arc::new(FrozenNetwork::new(
        gpu,
        KernelChoice::for_gpu(gpu),
        &tiny_backbone(),
    ))
}

pub fn layout(network: &FrozenNetwork, rank: usize) -> AdapterLayout {
    let targets = TARGETS.map(String::from);
    let (convs, head) = network.resnet.select(&targets).unwrap();
    let ids = vec![(0..rank as u32).collect::<Vec<_>>(); convs.len() + usize::from(head)];
    AdapterLayout::new(&network.resnet, &convs, head, CLASSES, &ids)
}

pub fn images() -> Source {
    let mut rng = Pcg64::seed_from_u64(21);
    let pixels = (0..6 * 8 * 8 * 3).map(|_| rng.random()).collect();
    let names: Vec<String> = (0..CLASSES).map(|class| class.to_string()).collect();
    Source::images(Dataset::new(8, pixels, vec![0; 6], names.into()), 16)
}

/// Under Gaussian gates.
pub fn gated(layout: &AdapterLayout, state: &AdapterState) -> AdapterParams {
    AdapterParams {
        layout: layout.clone(),
        state: state.clone(),
        scale: SCALE,
        gates: Some(GateDistribution::Gaussian),
    }
}

pub fn answers(
    network: &Arc<FrozenNetwork>,
    layout: &AdapterLayout,
    state: &AdapterState,
    samples: Samples,
) -> Vec<f32> {
    let predictor = Predictor::with_params(network.clone(), gated(layout, state), 16);
    predictor
        .log_probs(&images(), samples, &mut |_| ())
        .unwrap()
}

/// The turn of every layer.
pub fn svd(layout: &AdapterLayout, state: &AdapterState) -> Vec<Turn> {
    let found = gauge::turns(layout, state, |_, a, b| gauge::svd(a, b)).unwrap();
    found.into_iter().map(|(turn, _)| turn).collect()
}

fn evidence(layout: &AdapterLayout, state: &AdapterState) -> Vec<Turn> {
    let found = gauge::turns(layout, state, |layer, a, b| {
        let moments = |seed: u64| {
            let samples = random(a.nrows(), 30, 2 * layer as u64 + seed);
            &samples * samples.transpose()
        };
        gauge::evidence(a, b, moments(0).as_ref(), moments(1).as_ref())
    });
    found.unwrap().into_iter().map(|(turn, _)| turn).collect()
}

fn silent(layout: &AdapterLayout) -> Vec<Vec<f32>> {
    layout
        .layers
        .iter()
        .map(|layer| vec![0.0; layer.rank()])
        .collect()
}

#[track_caller]
pub fn close(found: &[f32], expected: &[f32], tolerance: f32) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{worst:.2e}");
    worst
}

/// At every kind of layer, for any rank, and where ranks are dead, doubled or not yet born.
#[test]
fn a_turned_network_answers_the_same() {
    let network = network(&GPU);
    for rank in [0, 1, 5, 9] {
        let layout = layout(&network, rank);
        let mut state = random_state(&layout, 31 + rank as u64);
        // Adapters of about the size of what they are added to: logits of a few units.
        let factors = state.layers.iter_mut().flat_map(|layer| &mut layer.lora_b);
        factors.for_each(|b| *b *= 0.1);
        if rank == 9 {
            state.layers[0].lora_b.fill(0.0);
            state.layers[1].lora_a[..40].fill(0.0);
            let inputs = layout.layers[2].in_channels * 9;
            state.layers[2].lora_a.copy_within(..inputs, inputs);
        }
        let before = answers(&network, &layout, &state, Samples::MEAN);
        assert!(before.iter().all(|value| *value > -30.0), "{before:?}");
        for turns in [svd(&layout, &state), evidence(&layout, &state)] {
            let turned = gauge::turned_layout(&layout, &network.resnet, &turns);
            let values = gauge::turn(&layout, &state, &turns, &silent(&layout));
            let after = answers(&network, &turned, &values, Samples::MEAN);
            println!("rank {rank}: {:.1e}", close(&after, &before, 1e-5));
            if rank > 1 {
                assert_ne!(
                    values.layers[3].lora_a, state.layers[3].lora_a,
                    "the test is void"
                );
            }
        }
    }
}

/// The gradient in the new basis by finite differences of a loss of B A, and Adam's second moments on the scale of the
/// gradient's squares.
#[test]
fn moments_follow_the_gradient() {
    let network = network(&GPU);
    let layout = layout(&network, 5);
    let state = random_state(&layout, 8);
    let turns = svd(&layout, &state);
    for (number, spec) in layout.layers.iter().enumerate() {
        let (inputs, outputs, rank) = (
            spec.in_channels * spec.taps(),
            spec.out_channels,
            spec.rank(),
        );
        let target = random(outputs, inputs, number as u64);
        let matrices = |values: &AdapterState| {
            let layer = &values.layers[number];
            (
                Mat::from_fn(rank, inputs, |i, c| f64::from(layer.lora_a[i * inputs + c])),
                Mat::from_fn(outputs, rank, |o, i| f64::from(layer.lora_b[o * rank + i])),
            )
        };
        let (a, b) = matrices(&state);
        let residual = &b * &a - &target;
        let mut gradient = state.clone();
        let layer = &mut gradient.layers[number];
        let (da, db) = (b.transpose() * &residual, &residual * a.transpose());
        layer.lora_a = (0..rank * inputs)
            .map(|i| da[(i / inputs, i % inputs)] as f32)
            .collect();
        layer.lora_b = (0..outputs * rank)
            .map(|i| db[(i / rank, i % rank)] as f32)
            .collect();

        let mut training = TrainableState::new(layout.clone(), state.clone());
        training.first_moment = gradient.clone();
        let squares = |values: &mut Vec<f32>| values.iter_mut().for_each(|value| *value *= *value);
        let mut second = gradient.clone();
        squares(&mut second.layers[number].lora_a);
        squares(&mut second.layers[number].lora_b);
        second.layers[number].log_alpha = vec![1.0, 2.0, 3.0, 4.0, 5.0];
        training.second_moment = second;
        training.turn(&network.resnet, &turns, &silent(&layout));

        let (a, b) = matrices(&training.values);
        let loss = |a: &Mat<f64>, b: &Mat<f64>| 0.5 * (b * a - &target).squared_norm_l2();
        let (da, db) = matrices(&training.first_moment);
        let step = 1e-4;
        for i in 0..rank {
            for (value, at) in [(true, (i, i % inputs)), (false, (i % outputs, i))] {
                let moved = |by: f64| {
                    let (mut a, mut b) = (a.clone(), b.clone());
                    *(if value { &mut a } else { &mut b }).get_mut(at.0, at.1) += by;
                    loss(&a, &b)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                let found = if value { da[at] } else { db[at] };
                let size = if value { da.norm_max() } else { db.norm_max() };
                assert!(
                    (slope - found).abs() < 1e-4 * size,
                    "{}: {slope} {found}",
                    spec.name
                );
            }
        }
        // No second moment is below the square of its first by more than the number of ranks: no step explodes.
        let (va, vb) = matrices(&training.second_moment);
        for (v, g) in [(va, da), (vb, db)] {
            for (v, g) in v
                .col_iter()
                .flat_map(|c| c.iter())
                .zip(g.col_iter().flat_map(|c| c.iter()))
            {
                assert!(g * g <= 1.001 * rank as f64 * v + 1e-12, "{g} {v}");
            }
        }
        assert!(
            training.first_moment.layers[number]
                .log_alpha
                .iter()
                .all(|m| *m == 0.0)
        );
        assert!(
            training.second_moment.layers[number]
                .log_alpha
                .iter()
                .all(|v| *v == 3.0)
        );
    }
}

#[test]
fn ranks_are_numbered_anew() {
    let network = network(&GPU);
    let layout = layout(&network, 5).keep(&network.resnet, &vec![vec![1, 4]; 8]);
    assert_eq!(layout.layers[0].rank_ids, [1, 4]);
    let turns = vec![Turn::identity(2); 8];
    let turned = gauge::turned_layout(&layout, &network.resnet, &turns);
    assert!(turned.layers.iter().all(|layer| layer.rank_ids == [0, 1]));
}
