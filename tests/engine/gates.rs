//! The gates as production draws them (`Graph::gates`): their distribution, their key, and that
//! nothing but the key decides them.
//!
//! Seeds are fixed, so a bound in standard deviations passes always or never.

use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::model::{
    AdapterLayout, AdapterState, BatchInput, FrozenNetwork, GateMode, KernelChoice, Prior, Purpose,
    StepValues,
};
use bayeslora::low_level::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::properties::{
    Draw, GPU, Gates, bits, correlation, draw_gates, random_state, state_bits, tiny_backbone,
    tiny_resnet, zero_state,
};
use crate::reference;
use crate::reference::gates::{SHARED_EXAMPLE, Stream};

/// Worst |z - twin| / (1 + sqrt(alpha)): f32's rounding of z, the polynomials, and WGSL's exp.
const TWIN: f64 = 2e-6;

/// Adapters on two convolutions and the classifier, all with these rank ids.
fn layout(ids: &[u32]) -> AdapterLayout {
    AdapterLayout::new(&tiny_resnet(), &[5, 6], true, 10, &vec![ids.to_vec(); 3])
}

/// The layer's number in the key.
fn number(layout: &AdapterLayout, layer: usize) -> u32 {
    layout.layers[layer]
        .conv
        .map_or(65_535, |place| place as u32)
}

/// eps = z - 1 at log alpha = 0.
fn eps(gates: &Gates, layer: usize, lanes: usize) -> Vec<f64> {
    (0..gates.rows)
        .flat_map(|row| (0..lanes).map(move |lane| (row, lane)))
        .map(|(row, lane)| f64::from(gates.at(layer, row, lane)) - 1.0)
        .collect()
}

/// The standard normal's distribution function, from
/// Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...), whose terms all have one sign.
fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 7.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum, mut k) = (x, x, 1.0);
    while f64::abs(term) > 1e-17 {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[test]
fn a_million_draws_are_standard_normal() {
    let ids: Vec<u32> = (0..64).collect();
    let layout = layout(&ids);
    let examples: Vec<u32> = (0..8192).collect();
    let gates = draw_gates(&layout, &zero_state(&layout), &examples, Draw::BASE);
    let mut all = eps(&gates, 0, 64);
    all.extend(eps(&gates, 1, 64));
    let n = all.len() as f64;
    assert!(n >= 1e6);

    // Standard deviations of the sample moments of a normal: 1, sqrt 2, sqrt 6, sqrt 24 over sqrt n.
    let moment = |k: i32| all.iter().map(|x| x.powi(k)).sum::<f64>() / n;
    for (name, found, expected, deviation) in [
        ("mean", moment(1), 0.0, 1.0),
        ("variance", moment(2) - moment(1).powi(2), 1.0, 2f64.sqrt()),
        ("skewness", moment(3), 0.0, 15f64.sqrt()),
        ("fourth moment", moment(4), 3.0, 96f64.sqrt()),
    ] {
        let sigmas = (found - expected) * n.sqrt() / deviation;
        println!("{name:<14} {found:+.6} ({sigmas:+.2} sigma)");
        assert!(sigmas.abs() < 4.0, "{name}: {found}, {sigmas} sigma");
    }

    // Tails, each side alone: a Box-Muller of few bits or a poor logarithm cuts them off.
    for limit in [3.0, 4.0] {
        for sign in [1.0, -1.0] {
            let expected = n * normal_cdf(-limit);
            let found = all.iter().filter(|x| sign * **x > limit).count() as f64;
            let sigmas = (found - expected) / expected.sqrt();
            println!(
                "eps beyond {:+}: {found} of {expected:.1} ({sigmas:+.2} sigma)",
                sign * limit
            );
            assert!(sigmas.abs() < 4.0, "{found} draws beyond {}", sign * limit);
        }
    }
    let largest = all.iter().fold(0f64, |max, x| max.max(x.abs()));
    // P(a million normals stay below 4) < 1e-28, P(one beyond 7) < 3e-6.
    assert!((4.0..7.0).contains(&largest), "largest {largest}");

    // Kolmogorov-Smirnov: sqrt(n) D > 1.95 has probability 0.001.
    all.sort_by(f64::total_cmp);
    let mut d = 0f64;
    for (i, x) in all.iter().enumerate() {
        let p = normal_cdf(*x);
        d = d
            .max((p - i as f64 / n).abs())
            .max(((i + 1) as f64 / n - p).abs());
    }
    println!("Kolmogorov-Smirnov: sqrt(n) D = {:.3}", n.sqrt() * d);
    assert!(n.sqrt() * d < 1.95);
}

/// Dropout's gates: two values, mean 1 and variance p/(1 - p), for every p and every lane of a block.
#[test]
fn dropout_gates_have_mean_one_and_their_variance() {
    let ids: Vec<u32> = (0..64).collect();
    let layout = layout(&ids);
    let examples: Vec<u32> = (0..4096).collect();
    let draw = Draw {
        distribution: GateDistribution::Bernoulli,
        ..Draw::BASE
    };
    for p in [0.02, 0.1, 0.5, 0.9] {
        let (alpha, keep) = (p / (1.0 - p), 1.0 - p);
        let mut state = zero_state(&layout);
        for layer in &mut state.layers {
            layer.log_alpha.fill(f64::ln(alpha) as f32);
        }
        let gates = draw_gates(&layout, &state, &examples, draw);
        let lane = |of: &dyn Fn(usize) -> bool| -> Vec<f64> {
            let lanes = (0..64).filter(|lane| of(*lane));
            let all = lanes.flat_map(|lane| gates.lane(0, lane));
            all.map(f64::from).collect()
        };
        let mut parts = vec![lane(&|_| true)];
        parts.extend((0..4).map(|word| lane(&|lane| lane % 4 == word)));
        for all in parts {
            let n = all.len() as f64;
            let weight = 1.0 / keep;
            let sound = |z: &f64| *z == 0.0 || (z - weight).abs() < 1e-6 * weight;
            assert!(all.iter().all(sound), "neither dropped nor kept");
            let mean = all.iter().sum::<f64>() / n;
            let variance = all.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / n;
            let kurtosis = (1.0 - 3.0 * p * keep) / (p * keep);
            for (name, found, expected, deviation) in [
                ("mean", mean, 1.0, alpha.sqrt()),
                ("variance", variance, alpha, alpha * (kurtosis - 1.0).sqrt()),
            ] {
                // At p = 1/2 the sample variance is exact up to the square of the mean's error.
                let sigmas = (found - expected) / (deviation / n.sqrt() + 16.0 * alpha / n);
                println!("p {p} {name:<8} {found:.5} ({sigmas:+.2} sigma)");
                assert!(sigmas.abs() < 4.0, "p {p}, {name}: {found}, {sigmas} sigma");
            }
        }
        // Ranks and examples are dropped independently: one word a rank.
        let first = gates.lane(0, 0).into_iter().map(f64::from);
        let first: Vec<f64> = first.collect();
        for lane in 1..8 {
            let other = gates.lane(0, lane).into_iter().map(f64::from);
            let sigmas = correlation(&first, &other.collect::<Vec<_>>()) * 64.0;
            assert!(
                sigmas.abs() < 4.5,
                "p {p}, ranks 0 and {lane}: {sigmas} sigma"
            );
        }
    }
}

#[test]
fn gates_are_the_twins() {
    // Every part of the key with its high bits set.
    let ids = [0, 1, 2, 3, 7, 62, 4093, 65_535];
    let layout = layout(&ids);
    let mut state = zero_state(&layout);
    let mut rng = Pcg64::seed_from_u64(3);
    for layer in &mut state.layers {
        for value in &mut layer.log_alpha {
            *value = rng.random_range(-10.0..8.0);
        }
    }
    let examples: Vec<u32> = (0..2000).map(|_| rng.random()).collect();
    let mut worst = 0f64;
    for draw in [
        Draw::BASE,
        Draw {
            seed: 0xFEDC_BA98_7654_3210,
            draw: 0x8000_0001,
            ..Draw::BASE
        },
        Draw {
            seed: 1 << 63,
            purpose: Purpose::Predict,
            draw: u32::MAX,
            ..Draw::BASE
        },
        Draw {
            seed: 5,
            mode: GateMode::Shared,
            draw: 77,
            ..Draw::BASE
        },
    ] {
        let gates = draw_gates(&layout, &state, &examples, draw);
        let examples = match draw.mode {
            GateMode::Shared => vec![SHARED_EXAMPLE; examples.len()],
            _ => examples.clone(),
        };
        for (layer, values) in state.layers.iter().enumerate() {
            let stream = Stream {
                seed: draw.seed,
                purpose: match draw.purpose {
                    Purpose::Train => reference::gates::Purpose::Train,
                    Purpose::Predict => reference::gates::Purpose::Predict,
                },
                step_or_sample: draw.draw,
                layer: number(&layout, layer),
            };
            let log_alpha: Vec<f64> = values.log_alpha.iter().map(|t| f64::from(*t)).collect();
            let expected = stream.gates(&examples, &ids, &log_alpha);
            for row in 0..gates.rows {
                for (lane, t) in log_alpha.iter().enumerate() {
                    let error = expected.at(&[row, lane]) - f64::from(gates.at(layer, row, lane));
                    worst = worst.max(error.abs() / (1.0 + (t / 2.0).exp()));
                }
            }
        }
    }
    println!("worst |z - twin| / (1 + sqrt alpha) = {worst:.2e}");
    assert!(worst < TWIN, "{worst:.2e}");
}

/// Streams that differ in one part of the key have nothing in common: neither values (correlation)
/// nor sizes (correlation of squares, which a shared radius of Box-Muller would show).
#[test]
fn streams_are_independent() {
    const ROWS: u32 = 16_384;
    let ids: Vec<u32> = (0..16).collect();
    let layout = layout(&ids);
    let state = zero_state(&layout);
    let examples: Vec<u32> = (0..ROWS).collect();
    let with = |examples: &[u32], draw: Draw| draw_gates(&layout, &state, examples, draw);
    let base = with(&examples, Draw::BASE);
    let all = |gates: &Gates| eps(gates, 0, 16);
    let mut pairs = Vec::new();
    for (name, draw) in [
        (
            "seed, lowest bit",
            Draw {
                seed: 0,
                ..Draw::BASE
            },
        ),
        (
            "seed, bit 31",
            Draw {
                seed: 1 | 1 << 31,
                ..Draw::BASE
            },
        ),
        (
            "seed, bit 32",
            Draw {
                seed: 1 | 1 << 32,
                ..Draw::BASE
            },
        ),
        (
            "seed, bit 63",
            Draw {
                seed: 1 | 1 << 63,
                ..Draw::BASE
            },
        ),
        (
            "purpose",
            Draw {
                purpose: Purpose::Predict,
                ..Draw::BASE
            },
        ),
        (
            "draw, lowest bit",
            Draw {
                draw: 1,
                ..Draw::BASE
            },
        ),
        (
            "draw, bit 31",
            Draw {
                draw: 1 << 31,
                ..Draw::BASE
            },
        ),
    ] {
        pairs.push((name.to_owned(), all(&base), all(&with(&examples, draw))));
    }
    for (name, mask) in [("example, lowest bit", 1), ("example, bit 31", 1 << 31)] {
        let others: Vec<u32> = examples.iter().map(|example| example ^ mask).collect();
        pairs.push((name.into(), all(&base), all(&with(&others, Draw::BASE))));
    }
    // Parts of a counter that trade places, or seed and counter, must not meet either.
    let firsts: Vec<u32> = vec![7; 1];
    let seventh: Vec<f64> = (0..4096u32)
        .step_by(512)
        .flat_map(|draw| eps(&with(&firsts, Draw { draw, ..Draw::BASE }), 0, 16))
        .collect();
    let draw7 = with(
        &(0..4096).step_by(512).collect::<Vec<u32>>(),
        Draw {
            draw: 7,
            ..Draw::BASE
        },
    );
    assert!(
        seventh.iter().zip(all(&draw7)).all(|(a, b)| *a != b),
        "example and draw trade places"
    );
    for (name, a, b) in [
        ("neighbouring layers", 0, 1),
        ("convolution and classifier", 0, 2),
    ] {
        pairs.push((name.into(), eps(&base, a, 16), eps(&base, b, 16)));
    }
    let lane = |i: usize| -> Vec<f64> {
        let lanes = (0..4).flat_map(|block| base.lane(0, block * 4 + i));
        lanes.map(|z| f64::from(z) - 1.0).collect()
    };
    for (i, j) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        pairs.push((format!("ranks {i} and {j} of a block"), lane(i), lane(j)));
    }
    let block = |first: usize| -> Vec<f64> {
        let lanes = (0..4).flat_map(|i| base.lane(0, first * 4 + i));
        lanes.map(|z| f64::from(z) - 1.0).collect()
    };
    for (a, b) in [(0, 1), (0, 2), (2, 3)] {
        pairs.push((format!("rank blocks {a} and {b}"), block(a), block(b)));
    }
    for (name, a, b) in pairs {
        let n = a.len() as f64;
        assert!(n >= 65_536.0 && a.len() == b.len());
        let square = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x * x).collect() };
        let product = |x: &[f64], y: &[f64]| correlation(x, y) * n.sqrt();
        let (linear, squares) = (product(&a, &b), product(&square(&a), &square(&b)));
        println!("{name:<28} {linear:+.2} sigma, squares {squares:+.2} sigma");
        assert!(linear.abs() < 4.5, "{name}: correlated by {linear} sigma");
        assert!(
            squares.abs() < 4.5,
            "{name}: squares correlated by {squares} sigma"
        );
    }
}

/// Each distribution of the gates.
const BOTH: [Draw; 2] = [
    Draw::BASE,
    Draw {
        distribution: GateDistribution::Bernoulli,
        ..Draw::BASE
    },
];

#[test]
fn batches_and_their_order_do_not_matter() {
    let layout = layout(&[0, 1, 2, 5, 6]);
    let state = random_state(&layout, 11);
    let mut rng = Pcg64::seed_from_u64(4);
    let examples: Vec<u32> = (0..65).map(|_| rng.random()).collect();
    let mut order: Vec<usize> = (0..65).collect();
    order.shuffle(&mut rng);
    for draw in BOTH {
        same_in_every_batch(&layout, &state, &examples, &order, draw);
    }
}

fn same_in_every_batch(
    layout: &AdapterLayout,
    state: &AdapterState,
    examples: &[u32],
    order: &[usize],
    draw: Draw,
) {
    let whole = draw_gates(layout, state, examples, draw);
    for size in [1, 3, 31, 64, 65] {
        for part in order.chunks(size) {
            let ids: Vec<u32> = part.iter().map(|place| examples[*place]).collect();
            let gates = draw_gates(layout, state, &ids, draw);
            for (row, place) in part.iter().enumerate() {
                for layer in 0..3 {
                    for lane in 0..8 {
                        let (a, b) = (whole.at(layer, *place, lane), gates.at(layer, row, lane));
                        assert_eq!(a.to_bits(), b.to_bits(), "batches of {size}, lane {lane}");
                    }
                }
            }
        }
    }
    // Lanes that no rank has hold zero: the products rely on it.
    assert!((0..65).all(|row| (5..8).all(|lane| whole.at(0, row, lane).to_bits() == 0)));
}

#[test]
fn a_prune_leaves_the_survivors_gates() {
    BOTH.into_iter().for_each(survivors_keep_their_gates);
}

fn survivors_keep_their_gates(draw: Draw) {
    let resnet = tiny_resnet();
    let mut layout = layout(&(0..9).collect::<Vec<u32>>());
    let mut state = random_state(&layout, 12);
    let examples: Vec<u32> = (0..40).collect();
    let before = draw_gates(&layout, &state, &examples, draw);
    // Two prunes, the second by the places that the first has left; one layer loses all.
    let first = [vec![0, 2, 3, 5, 7, 8], vec![1, 4], (0..9).collect()];
    let second = [vec![1, 3, 4, 5], vec![1], vec![]];
    let mut places: Vec<Vec<usize>> = vec![(0..9).collect(); 3];
    for kept in [first, second] {
        state.keep(&layout, &kept);
        layout = layout.keep(&resnet, &kept);
        for (places, kept) in places.iter_mut().zip(&kept) {
            *places = kept.iter().map(|place| places[*place]).collect();
        }
        let after = draw_gates(&layout, &state, &examples, draw);
        for (layer, places) in places.iter().enumerate() {
            assert_eq!(places.len(), layout.layers[layer].rank());
            for (lane, place) in places.iter().enumerate() {
                let (old, new) = (before.lane(layer, *place), after.lane(layer, lane));
                assert_eq!(bits(&old), bits(&new), "layer {layer}, rank {place}");
            }
        }
    }
}

#[test]
fn modes() {
    let layout = layout(&[0, 1, 2, 3, 4]);
    let state = random_state(&layout, 13);
    let examples: Vec<u32> = (100..140).collect();
    let draw = |mode| draw_gates(&layout, &state, &examples, Draw { mode, ..Draw::BASE });
    let (mean, shared) = (draw(GateMode::Mean), draw(GateMode::Shared));
    let each = draw(GateMode::PerExample);
    for layer in 0..3 {
        for lane in 0..5 {
            assert_eq!(bits(&mean.lane(layer, lane)), [1f32.to_bits(); 40]);
            let one = bits(&shared.lane(layer, lane));
            assert!(one.iter().all(|z| *z == one[0]), "shared gates differ");
            assert_ne!(one[0], 1f32.to_bits());
            let mut distinct = bits(&each.lane(layer, lane));
            distinct.sort_unstable();
            distinct.dedup();
            assert!(distinct.len() >= 39, "per-example gates repeat");
        }
    }
}

/// Row example * samples + s is draw `first + s` of that example.
#[test]
fn samples_are_draws() {
    let layout = layout(&[0, 1, 2, 3, 4]);
    let state = random_state(&layout, 14);
    let examples: Vec<u32> = (7..12).collect();
    let modes = [GateMode::PerExample, GateMode::Shared];
    for (mode, draw) in modes
        .into_iter()
        .flat_map(|mode| BOTH.map(|draw| (mode, draw)))
    {
        let base = Draw {
            purpose: Purpose::Predict,
            draw: 30,
            mode,
            ..draw
        };
        let many = draw_gates(&layout, &state, &examples, Draw { samples: 6, ..base });
        for s in 0..6 {
            let one = draw_gates(
                &layout,
                &state,
                &examples,
                Draw {
                    draw: 30 + s as u32,
                    ..base
                },
            );
            for layer in 0..3 {
                for lane in 0..8 {
                    let every = many.lane(layer, lane);
                    let rows: Vec<f32> = every.iter().skip(s).step_by(6).copied().collect();
                    assert_eq!(
                        bits(&rows),
                        bits(&one.lane(layer, lane)),
                        "{mode:?} sample {s}"
                    );
                }
            }
        }
    }
}

const ROWS: usize = 6;

fn train_step(network: &FrozenNetwork, trainable: &Trainable, draw: bool) -> TrainStep {
    let spec = StepSpec {
        input: BatchInput::Images { side: 8, size: 16 },
        batch: ROWS,
        scale: 0.5,
        distribution: GateDistribution::Gaussian,
        prior: Some(Prior::Molchanov),
        kappa: &|layer| layer.params_per_rank() as f64,
        slots: 1,
        draw_gates: draw,
        adam: Adam::default(),
    };
    let step = TrainStep::new(network, trainable, &spec).unwrap();
    let mut rng = Pcg64::seed_from_u64(5);
    let images: Vec<u8> = (0..ROWS * 8 * 8 * 3).map(|_| rng.random()).collect();
    step.batch.write_images(&images, &[[0; 4]; ROWS]);
    step
}

/// A training step draws its gates once; forward and backward read what was drawn. The proof: the
/// same gates injected by the host give every gradient bit for bit.
#[test]
fn forward_and_backward_share_one_draw() {
    let gpu = &*GPU;
    let kernels = KernelChoice::for_gpu(gpu);
    let network = FrozenNetwork::new(gpu, kernels, &tiny_backbone());
    let (convs, _) = network
        .resnet
        .select(&["layer2".into(), "layer4.1".into()])
        .unwrap();
    let ids = vec![(0..5).collect::<Vec<u32>>(); convs.len() + 1];
    let layout = AdapterLayout::new(&network.resnet, &convs, true, 3, &ids);
    let state = random_state(&layout, 15);
    let run = |gates: Option<&[f32]>| {
        let state = TrainableState::new(layout.clone(), state.clone());
        let trainable = Trainable::upload(gpu, &state);
        let step = train_step(&network, &trainable, gates.is_none());
        if let Some(gates) = gates {
            gpu.queue()
                .write_buffer(&step.gates, 0, bytemuck::cast_slice(gates));
        }
        let draws = step.plan().dispatches().iter();
        let draws = draws.filter(|dispatch| dispatch.kernel.contains("adapter/gates"));
        assert_eq!(draws.count(), usize::from(gates.is_none()));
        let values = StepValues {
            count: ROWS,
            draw: 9,
            kl_weight: 1e-3,
            ..Draw::BASE.values()
        };
        step.run(&[0, 1, 2, 0, 1, 2], &[10, 11, 12, 13, 14, 15], &values);
        let gradients = trainable.read_gradients(gpu).unwrap();
        let drawn: Vec<f32> = gpu.read(&step.gates, 0, step.gates.size()).unwrap();
        (gradients, drawn)
    };
    let (gradients, drawn) = run(None);
    let expected = draw_gates(
        &layout,
        &state,
        &[10, 11, 12, 13, 14, 15],
        Draw {
            draw: 9,
            ..Draw::BASE
        },
    );
    for layer in 0..ids.len() {
        for row in 0..ROWS {
            for lane in 0..5 {
                let place = expected.starts[layer] + row * expected.strides[layer] + lane;
                assert_eq!(drawn[place].to_bits(), expected.data[place].to_bits());
            }
        }
    }
    let (again, _) = run(Some(&drawn));
    assert_eq!(state_bits(&gradients), state_bits(&again));
    // Neither side may be void.
    assert!(
        gradients
            .layers
            .iter()
            .all(|layer| layer.log_alpha.iter().all(|g| *g != 0.0))
    );
}
