//! `--method weight-noise`, the ablation: gradients through the whole network, what it shares with plain adapters, what
//! a prune and a file keep, and the property of gates that it lacks.

use std::ops::ControlFlow;
use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Adapter, GateDistribution};
use bayeslora::low_level::model::{
    AdapterLayout, AdapterSlots, AdapterState, BatchInput, DrawnWeights, FrozenNetwork, GateMode,
    Graph, KernelChoice, Map, Prior, Purpose, StepValues, Up,
};
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::low_level::train::gauge::{GaugeError, Posterior, Ranks};
use bayeslora::low_level::train::kl::{KlMultiplicity, KlPrior};
use bayeslora::low_level::train::{
    Adam, EpochOutcome, EpochReport, Gates, INITIAL_LOG_VARIANCE, Method, Progress, PruneGauge,
    Span, StepSpec, TrainConfig, TrainStep, Trainable, TrainableState, Trainer, kept_ranks,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::properties::{Draw, GPU, bits, kernels, random_state, single_layer, tiny_backbone};

const CLASSES: usize = 3;
const ROWS: usize = 5;
const SIDE: usize = 8;

/// A step over adapters on some layers of a small network, `fc` among them.
struct Setting {
    network: FrozenNetwork,
    layout: AdapterLayout,
    state: AdapterState,
}

impl Setting {
    fn new(kernels: KernelChoice) -> Self {
        let network = FrozenNetwork::new(&GPU, kernels, &tiny_backbone());
        let targets = ["layer3".to_owned(), "layer4.1".to_owned()];
        let (convs, _) = network.resnet.select(&targets).unwrap();
        let ids = vec![vec![0, 2, 3, 7, 8]; convs.len() + 1];
        let layout = AdapterLayout::new(&network.resnet, &convs, true, CLASSES, &ids);
        let mut state = random_state(&layout, 43);
        // Logits of order one, so that no softmax saturates.
        state.head_weight.iter_mut().for_each(|w| *w *= 0.02);
        for layer in &mut state.layers {
            layer.lora_b.iter_mut().for_each(|b| *b *= 0.3);
            // sigma of .02 to .14
            layer.log_alpha.iter_mut().for_each(|rho| *rho -= 5.0);
        }
        Self {
            network,
            layout,
            state,
        }
    }

    /// The step, and the parameters that it reads.
    fn step(&self, distribution: GateDistribution, prior: Option<Prior>) -> (TrainStep, Trainable) {
        let fresh = TrainableState::new(self.layout.clone(), self.state.clone());
        let trainable = Trainable::upload(&GPU, &fresh);
        let spec = StepSpec {
            input: BatchInput::Images {
                side: SIDE,
                size: 16,
            },
            batch: ROWS,
            scale: 1.5,
            distribution,
            prior,
            kappa: &|layer| 0.01 * layer.params_per_rank() as f64,
            slots: 1,
            draw_gates: true,
            adam: Adam::default(),
        };
        let step = TrainStep::new(&self.network, &trainable, &spec).unwrap();
        let mut rng = Pcg64::seed_from_u64(44);
        let images: Vec<u8> = (0..ROWS * SIDE * SIDE * 3).map(|_| rng.random()).collect();
        step.batch.write_images(&images, &[[0; 4]; ROWS]);
        (step, trainable)
    }

    /// Mean cross-entropy and KL of a step that always draws the same.
    fn run(step: &TrainStep, mode: GateMode, kl_weight: f32) -> [f32; 2] {
        let values = StepValues {
            count: ROWS,
            kl_weight,
            ..Draw { mode, ..Draw::BASE }.values()
        };
        step.run(&[0, 1, 2, 0, 1], &[9, 8, 7, 6, 5], &values);
        let [loss, _, kl, count] = step.statistics(1).unwrap()[0];
        [loss / count, kl]
    }
}

/// The loss along a direction through all means and along one through all rho, with and without the KL: its central
/// difference, the noise eps being fixed, is the gradients' projection.
#[test]
fn gradients_are_the_slope_of_the_loss() {
    let setting = Setting::new(KernelChoice::for_gpu(&GPU));
    let Setting { layout, state, .. } = &setting;
    let (step, trainable) = setting.step(GateDistribution::Weights, Some(Prior::Molchanov));
    let loss_at = |values: &[f32], kl_weight: f32| {
        GPU.queue()
            .write_buffer(&trainable.values, 0, bytemuck::cast_slice(values));
        let [loss, kl] = Setting::run(&step, GateMode::Shared, kl_weight);
        [f64::from(loss), f64::from(kl_weight) * f64::from(kl)]
    };
    let values = layout.pack(state);
    let mut rng = Pcg64::seed_from_u64(45);
    let mut failures = Vec::new();
    for (of_rho, size, kl_weight) in [
        (false, 1.0 / 4096.0, 0.0),
        (false, 1.0 / 4096.0, 4.0),
        (true, 1.0 / 256.0, 0.0),
        (true, 1.0 / 256.0, 1.0),
    ] {
        let name = format!("rho {of_rho}, weight of the KL {kl_weight}");
        let at_start = loss_at(&values, kl_weight);
        let gradient = trainable.read_gradients(&GPU).unwrap();
        // Along the gradient's signs, so that terms do not cancel.
        let mut direction = gradient.clone();
        let mut along = |values: &mut Vec<f32>, wanted: bool| {
            for value in values {
                let length = rng.random_range(0.0..1.0);
                *value = if wanted { value.signum() * length } else { 0.0 };
            }
        };
        for layer in &mut direction.layers {
            along(&mut layer.lora_a, !of_rho);
            along(&mut layer.lora_b, !of_rho);
            along(&mut layer.log_alpha, of_rho);
        }
        along(&mut direction.head_weight, false);
        along(&mut direction.head_bias, false);
        let direction = layout.pack(&direction);
        let products = layout.pack(&gradient).into_iter().zip(&direction);
        let expected: f64 = products.map(|(g, d)| f64::from(g) * f64::from(*d)).sum();
        let moved = |by: f32| -> Vec<f32> {
            let pairs = values.iter().zip(&direction);
            pairs.map(|(value, d)| value + by * d).collect()
        };
        let [up, down] = [size, -size].map(|by| loss_at(&moved(by), kl_weight));
        let [data, kl] = [0, 1].map(|part| (up[part] - down[part]) / (2.0 * f64::from(size)));
        println!(
            "{name}: loss and KL {at_start:.4?}, slopes {data:.4} + {kl:.4} for {expected:.4}"
        );
        let error = ((data + kl) / expected - 1.0).abs();
        if error > 0.01 {
            failures.push(format!("{name}: off by {error:.1e}"));
        }
        // What it weighs is seen.
        assert!(kl_weight == 0.0 || kl > 0.1 * data, "{name}");
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// Without noise, whether sigma is zero or nothing is drawn, loss and gradients are those of a plain adapter.
#[test]
fn without_noise_it_is_a_plain_adapter_to_the_bit() {
    for kernels in kernels() {
        let mut setting = Setting::new(kernels);
        let layers = setting.state.layers.iter_mut();
        // exp(-125) is zero in f32.
        layers.for_each(|layer| layer.log_alpha.fill(-250.0));
        let run = |distribution, mode, prior| {
            let (step, trainable) = setting.step(distribution, prior);
            let [loss, _] = Setting::run(&step, mode, 0.0);
            let gradient = trainable.read_gradients(&GPU).unwrap();
            let layers = gradient.layers.iter();
            let factors = layers.flat_map(|layer| [&layer.lora_a, &layer.lora_b]);
            let mut all: Vec<u32> = factors.flat_map(|values| bits(values)).collect();
            all.extend(bits(&gradient.head_weight));
            all.push(loss.to_bits());
            all
        };
        let plain = run(GateDistribution::Gaussian, GateMode::Mean, None);
        let prior = Some(Prior::Molchanov);
        let silent = run(GateDistribution::Weights, GateMode::Shared, prior);
        assert_eq!(plain, silent, "{kernels:?}, sigma = 0");
        setting
            .state
            .layers
            .iter_mut()
            .for_each(|layer| layer.log_alpha.fill(-3.0));
        let run = |mode| {
            let (step, _) = setting.step(GateDistribution::Weights, None);
            Setting::run(&step, mode, 0.0)[0].to_bits()
        };
        assert_eq!(
            plain.last(),
            Some(&run(GateMode::Mean)),
            "{kernels:?}, means"
        );
        assert_ne!(
            plain.last(),
            Some(&run(GateMode::Shared)),
            "{kernels:?}, noise"
        );
    }
}

/// A and B as one draw gives them.
fn drawn(layout: &AdapterLayout, state: &AdapterState) -> AdapterState {
    let parameters = GPU.storage_with("parameters", &layout.pack(state));
    let step = StepValues::buffer(&GPU);
    StepValues::prediction(3, 17, GateMode::Shared).write(&GPU, &step);
    let mut graph = Graph::new(&GPU, KernelChoice::PLAIN);
    let step = graph.builder.buffer("step", &step);
    let drawn = DrawnWeights::record(&mut graph, layout, &parameters, step, |_| 0.0);
    graph.builder.build().unwrap().run();
    layout.unpack(&GPU.read(&drawn.buffer, 0, layout.len as u64 * 4).unwrap())
}

#[test]
fn a_prune_leaves_the_survivors_their_draws() {
    let setting = Setting::new(KernelChoice::PLAIN);
    let Setting { layout, state, .. } = &setting;
    let patterns: [&[usize]; 4] = [&[1, 4], &[], &[0, 1, 2, 3, 4], &[3]];
    let layers = 0..layout.layers.len();
    let kept: Vec<_> = layers.map(|i| patterns[i % 4].to_vec()).collect();
    let mut expected = drawn(layout, state);
    expected.keep(layout, &kept);
    let mut pruned = state.clone();
    pruned.keep(layout, &kept);
    let found = drawn(&layout.keep(&setting.network.resnet, &kept), &pruned);
    for ((expected, found), mean) in expected
        .layers
        .iter()
        .zip(&found.layers)
        .zip(&pruned.layers)
    {
        assert_eq!(bits(&expected.lora_a), bits(&found.lora_a));
        assert_eq!(bits(&expected.lora_b), bits(&found.lora_b));
        assert!(found.lora_a.is_empty() || found.lora_a != mean.lora_a);
    }
}

/// Why it is an ablation and not the default: an input orthogonal to every row of A, on which an adapter says nothing
/// whatever its gates (Proposition 2), gets variance from noise on the weights:
/// s^2 |x|^2 sum_i (sigma_i^2 |b_i|^2 + sigma_i^4 out).
#[test]
fn an_input_that_no_rank_sees_has_variance() {
    const INPUTS: usize = 7;
    const OUTPUTS: usize = 5;
    const DRAWS: u32 = 2000;
    let scale = 1.5f32;
    let layout = single_layer(INPUTS, OUTPUTS, 1, vec![0, 1, 6]);
    let mut state = random_state(&layout, 51);
    let layer = &mut state.layers[0];
    layer.log_alpha.iter_mut().for_each(|rho| *rho -= 2.0);
    // The ranks see the first inputs alone, and x has none of them.
    for (at, a) in layer.lora_a.iter_mut().enumerate() {
        *a = if at % INPUTS < 4 { *a } else { 0.0 };
    }
    let x = [0.0, 0.0, 0.0, 0.0, 1.25, -0.5, 2.0, 0.0f32];
    let energy: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    let parameters = GPU.storage_with("parameters", &layout.pack(&state));
    let (table, starts, len) = layout.rank_table(1, |_| 0.0);
    assert_eq!(table.len(), 4);
    let gates = GPU.storage_with("gates", &vec![1.0f32; len]);
    let step_buffer = StepValues::buffer(&GPU);
    let mut graph = Graph::new(&GPU, KernelChoice::PLAIN);
    let step = graph.builder.buffer("step", &step_buffer);
    let drawn = DrawnWeights::record(&mut graph, &layout, &parameters, step, |_| 0.0);
    let slots = AdapterSlots::new(&mut graph, &layout, scale, &parameters, &gates, &starts, 1);
    let mean = slots.layer(0);
    let noisy = slots
        .with_factors(&mut graph, &layout, &drawn.buffer)
        .layer(0);
    let x = graph.constant("x", Map::vector(INPUTS), 1, &x);
    let mut answer = |slots: bayeslora::low_level::model::LayerSlots| {
        let low = graph.down("h".into(), None, x, slots.a, 3, None);
        let y = graph.up(Up {
            label: "y".into(),
            low,
            up: slots.b,
            channels: OUTPUTS,
            rows: 1,
            gates: Some((slots.gates, scale)),
            base: None,
        });
        graph.builder.keep(y.slot);
        y.slot
    };
    let (with_gates, with_noise) = (answer(mean), answer(noisy));
    let plan = graph.builder.build().unwrap();
    let mut trace = 0.0;
    for draw in 0..DRAWS {
        let values = StepValues {
            purpose: Purpose::Predict,
            ..StepValues::prediction(8, draw, GateMode::Shared)
        };
        values.write(&GPU, &step_buffer);
        plan.run();
        let y = plan.read(with_noise).unwrap();
        // The mean is zero.
        trace += y[..OUTPUTS]
            .iter()
            .map(|y| f64::from(*y).powi(2))
            .sum::<f64>();
        // h is zero, so whatever z is, so is z h.
        assert!(plan.read(with_gates).unwrap().iter().all(|y| *y == 0.0));
    }
    let layer = &state.layers[0];
    let terms = layer.log_alpha.iter().enumerate().map(|(i, rho)| {
        let variance = f64::from(*rho).exp();
        let b = layer.lora_b.iter().skip(i).step_by(3);
        let norm: f64 = b.map(|b| f64::from(*b).powi(2)).sum();
        variance * norm + variance.powi(2) * OUTPUTS as f64
    });
    let expected = f64::from(scale).powi(2) * energy * terms.sum::<f64>();
    let found = trace / f64::from(DRAWS);
    println!("variance {found:.3}, expected {expected:.3}");
    assert!(expected > 0.1 && (found / expected - 1.0).abs() < 0.15);
}

/// rho_i - log mean_j mu_ij^2 over the weights of A's row and B's column.
#[test]
fn the_alpha_of_a_rank_compares_noise_and_weights() {
    let (a, b) = ([1.0, 2.0, 0.0, 3.0, 0.0, 0.0], [2.0, 1.0, 0.0]);
    let of = |distribution: GateDistribution| {
        // Three ranks of two inputs and one output.
        distribution.log_alpha(&[-1.0, 0.5, 2.0], &a, &b)
    };
    assert_eq!(of(GateDistribution::Gaussian), [-1.0, 0.5, 2.0]);
    let found = of(GateDistribution::Weights);
    let expected = [-1.0 - 3f32.ln(), 0.5 - (10f32 / 3.0).ln()];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    // All its weights are zero: nothing but noise.
    assert_eq!(found[2], f32::INFINITY);
    let layout = single_layer(2, 1, 1, vec![0, 1, 2]);
    let mut state = random_state(&layout, 1);
    state.layers[0].lora_a = a.to_vec();
    state.layers[0].lora_b = b.to_vec();
    state.layers[0].log_alpha = vec![-1.0, 0.5, 2.0];
    let ranked = state.with_log_alpha(GateDistribution::Weights);
    assert_eq!(kept_ranks(&ranked, 8.0, 0), [[0, 1]]);
    assert_eq!(kept_ranks(&ranked, -1.5, 0), [[0]]);
}

/// Images whose mean colour gives the class away, with noise.
fn dataset(images: usize, seed: u64) -> Dataset {
    const SIDE: usize = 16;
    let mut random = Pcg64::seed_from_u64(seed);
    let labels: Vec<u32> = (0..images).map(|index| (index % CLASSES) as u32).collect();
    let mut pixels = Vec::new();
    for label in &labels {
        let tint = |c: usize| if c as u32 == *label { 160 } else { 60 };
        pixels.extend((0..SIDE * SIDE * 3).map(|i| tint(i % 3) + random.random_range(0..90u8)));
    }
    let classes = Arc::from(["red", "green", "blue"].map(str::to_owned));
    Dataset::new(SIDE, pixels, labels, classes)
}

fn config() -> TrainConfig {
    TrainConfig {
        method: Method::WeightNoise,
        resolution: 32,
        epochs: 3,
        batch_size: Some(8),
        rank: 5,
        lr: 0.01,
        lr_log_alpha: Some(1.0),
        kl_multiplicity: Some(KlMultiplicity::Value(0.001)),
        prune_from: Some(Span::Epochs(1.0)),
        prune_every: Some(Span::Epochs(1.0)),
        threshold: -2.0,
        min_rank: 2,
        ..TrainConfig::default()
    }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn trained(config: TrainConfig) -> (Trainer, Vec<EpochReport>) {
    let held_out = Some(dataset(12, 2));
    let train = dataset(43, 1);
    let mut trainer =
        Trainer::new(&GPU, &tiny_backbone(), config, train, held_out, &mut go_on).unwrap();
    let mut reports = Vec::new();
    while let EpochOutcome::Done(report) = trainer.next_epoch(&mut go_on).unwrap() {
        reports.push(*report);
    }
    (trainer, reports)
}

#[test]
fn it_learns_prunes_and_its_file_predicts_the_same() {
    let (trainer, reports) = trained(config());
    let losses: Vec<_> = reports.iter().map(|report| report.cross_entropy).collect();
    // Log 3 is what guessing costs.
    assert!(losses[2] < 0.9 * 3f64.ln(), "{losses:?}");
    let event = reports.iter().find_map(|report| report.prune.as_ref());
    let event = event.expect("a prune");
    assert!(event.ranks_after < event.ranks_before);
    let last = reports.last().unwrap();
    assert!(last.kl > 0.0 && last.soft_rank > 0.0 && last.soft_rank <= last.rank as f64);

    let adapter = trainer.adapter().unwrap();
    assert_eq!(adapter.method, "weight-noise");
    assert_eq!(adapter.gates, GateDistribution::Weights);
    let mut rho = adapter
        .layers
        .iter()
        .flat_map(|layer| layer.log_alpha.as_ref().unwrap());
    assert!(rho.any(|rho| *rho != INITIAL_LOG_VARIANCE), "rho is learnt");
    let dir = tempfile::tempdir().unwrap();
    adapter.save_peft(dir.path()).unwrap();
    let read = Adapter::load_peft(dir.path()).unwrap();
    assert_eq!(read, adapter);

    let set = dataset(12, 2);
    let source = Source::images(set.clone(), 32);
    let samples = Samples::new(3, 6);
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &read).unwrap();
    let expected = trainer
        .predictor()
        .log_probs(&source, samples, &mut |_| ())
        .unwrap();
    let found = predictor.log_probs(&source, samples, &mut |_| ()).unwrap();
    assert_eq!(bits(&expected), bits(&found));
    // Other weights a sample, and none of them the means.
    let size = set.len() * CLASSES;
    let means = predictor
        .log_probs(&source, Samples::MEAN, &mut |_| ())
        .unwrap();
    for (i, a) in found.chunks(size).enumerate() {
        assert_ne!(a, means);
        assert!(found.chunks(size).skip(i + 1).all(|b| a != b));
    }
    // The same for all images, whichever are asked for together.
    let few = Source::images(dataset(5, 2), 32);
    let few = predictor.log_probs(&few, samples, &mut |_| ()).unwrap();
    for (sample, few) in few.chunks(5 * CLASSES).enumerate() {
        assert_eq!(few, &found[sample * size..][..5 * CLASSES]);
    }
    let answer = predictor.predict(set, samples, true).unwrap();
    assert!(answer.mutual_information.iter().all(|mi| *mi > 0.0));
    // Equation (16) is not its covariance.
    let traces = answer.covariance_trace.unwrap();
    assert!(traces.iter().all(|trace| trace.is_nan()));

    // It does not turn with the ranks: with them only the mean weights can be kept.
    let backbone = tiny_backbone();
    let turned = |posterior| {
        let (ways, config) = ((PruneGauge::Svd, posterior), TrainConfig::default());
        Ranks::new(&backbone, &read, &config, ways, None).err()
    };
    for kept in [Posterior::Mixed, Posterior::Refit] {
        let refused = turned(Some(kept));
        assert!(
            matches!(refused, Some(GaugeError::DrawsWeights)),
            "{kept:?}"
        );
    }
    assert!(turned(Some(Posterior::Mean)).is_none());
}

/// One draw for the whole batch is what it can do; other priors have no KL of a weight here.
#[test]
fn options_follow_the_method() {
    let resolved = TrainConfig::from(config().resolve(43).unwrap());
    assert_eq!(resolved.gates, Gates::Shared);
    let text = toml::to_string(&resolved).unwrap();
    assert!(text.contains("method = \"weight-noise\""), "{text}");
    assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), resolved);
    let refused = |config: TrainConfig| config.resolve(43).unwrap_err().option;
    for kl_prior in [KlPrior::EmpiricalBayes, KlPrior::Gaussian { variance: 1.0 }] {
        assert_eq!(
            refused(TrainConfig {
                kl_prior,
                ..config()
            }),
            "kl-prior"
        );
    }
    let dropout = Some(0.1);
    assert_eq!(
        refused(TrainConfig {
            dropout,
            ..config()
        }),
        "dropout"
    );
    let members = Some(3);
    assert_eq!(
        refused(TrainConfig {
            members,
            ..config()
        }),
        "members"
    );
}
