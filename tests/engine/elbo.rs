//! The objective: KL and its gradient on the GPU against f64, its weight against the data's, and
//! where it drives a gate whose optimum is known.

use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::gpu::Plan;
use bayeslora::low_level::model::{
    AdapterLayout, AdapterSlots, AdapterState, BatchInput, FrozenNetwork, GateMode, GateTable,
    Graph, KernelChoice, Map, Outer, Prior, Purpose, StepValues, Tensor, Up,
};
use bayeslora::low_level::train::kl::KlPrior;
use bayeslora::low_level::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common;
use crate::properties::{
    Draw, GPU, bits, kernels, random_state, single_layer, tiny_backbone, zero_state,
};

/// Every prior, as the shaders and as `train::kl` know it.
const PRIORS: [(Prior, KlPrior); 4] = [
    (Prior::Molchanov, KlPrior::Molchanov),
    (Prior::EmpiricalBayes, KlPrior::EmpiricalBayes),
    (
        Prior::Gaussian { variance: 1.0 },
        KlPrior::Gaussian { variance: 1.0 },
    ),
    (
        Prior::Gaussian { variance: 0.25 },
        KlPrior::Gaussian { variance: 0.25 },
    ),
];

#[derive(Clone, Copy)]
struct LogAlpha<'a> {
    layout: &'a AdapterLayout,
    state: &'a AdapterState,
    kappa: f64,
    kl_weight: f32,
    rows: usize,
    gates: &'a [f32],
    gate_gradients: &'a [f32],
}

/// Runs the log alpha operation alone: KL of every table entry, and the gradients.
fn log_alpha(args: LogAlpha, prior: Prior) -> (Vec<f32>, AdapterState) {
    let gpu = &*GPU;
    let LogAlpha {
        layout,
        state,
        kappa,
        kl_weight,
        rows,
        gates,
        gate_gradients,
    } = args;
    let (table, _, _) = layout.rank_table(rows, |_| kappa);
    let ranks = gpu.storage_with("ranks", &table);
    let parameters = gpu.storage_with("parameters", &layout.pack(state));
    let gates = gpu.storage_with("gates", gates);
    let gate_gradients = gpu.storage_with("gate gradients", gate_gradients);
    let gradients = gpu.storage("gradients", layout.len as u64 * 4);
    let kl = gpu.storage_with("kl", &vec![f32::NAN; table.len()]);
    let step = StepValues::buffer(gpu);
    let values = StepValues {
        kl_weight,
        ..Draw::BASE.values()
    };
    values.write(gpu, &step);
    let mut graph = Graph::new(gpu, KernelChoice::PLAIN);
    let slot = |graph: &mut Graph, buffer| graph.builder.buffer("buffer", buffer);
    let table = GateTable {
        step: slot(&mut graph, &step),
        ranks: slot(&mut graph, &ranks),
        parameters: slot(&mut graph, &parameters),
        entries: table.len(),
        rows,
    };
    let [gates, gate_gradients, gradients_slot, kl_slot] =
        [&gates, &gate_gradients, &gradients, &kl].map(|buffer| slot(&mut graph, buffer));
    graph.log_alpha(table, prior, gates, gate_gradients, gradients_slot, kl_slot);
    graph.builder.build().unwrap().run();
    let gradients = gpu.read(&gradients, 0, layout.len as u64 * 4).unwrap();
    (
        gpu.read(&kl, 0, table.entries as u64 * 4).unwrap(),
        layout.unpack(&gradients),
    )
}

/// KL(t) and KL'(t) over the range that log alpha is projected to, in steps of 1/40.
#[test]
fn kl_and_its_slope_are_those_of_f64() {
    const RANKS: usize = 18 * 40 + 1;
    const KAPPA: f64 = 3.0;
    const WEIGHT: f32 = 0.5;
    let layout = single_layer(1, 1, 1, (0..RANKS as u32).collect());
    let mut state = zero_state(&layout);
    for (i, t) in state.layers[0].log_alpha.iter_mut().enumerate() {
        *t = i as f32 / 40.0 - 10.0;
    }
    let lanes = RANKS.next_multiple_of(4);
    let (gates, zeros) = (vec![1.0; lanes], vec![0.0; lanes]);
    for (prior, kl_prior) in PRIORS {
        let args = LogAlpha {
            layout: &layout,
            state: &state,
            kappa: KAPPA,
            kl_weight: WEIGHT,
            rows: 1,
            gates: &gates,
            gate_gradients: &zeros,
        };
        let (kl, gradients) = log_alpha(args, prior);
        let (mut worst_kl, mut worst_slope) = (0f64, 0f64);
        for (i, t) in state.layers[0].log_alpha.iter().enumerate() {
            // Relative to 1 or the value: a KL of a thousandth of a nat needs no seven digits.
            let error = |expected: f64, found: f32| {
                (expected - f64::from(found)).abs() / expected.abs().max(1.0)
            };
            let t = f64::from(*t);
            worst_kl = worst_kl.max(error(KAPPA * kl_prior.kl(t), kl[i]));
            let slope = f64::from(WEIGHT) * KAPPA * kl_prior.gradient(t);
            worst_slope = worst_slope.max(error(slope, gradients.layers[0].log_alpha[i]));
        }
        println!("{kl_prior}: KL {worst_kl:.1e}, slope {worst_slope:.1e}");
        assert!(
            worst_kl < 1e-6 && worst_slope < 1e-6,
            "{kl_prior}: {worst_kl:.1e} {worst_slope:.1e}"
        );
        // Padding lanes have none.
        assert!(kl[RANKS..].iter().all(|kl| *kl == 0.0));
    }
}

/// dL/dt_i = sum_n dz_ni (z_ni - 1)/2 + weight kappa KL'(t_i), the layers each with its own rows.
#[test]
fn the_likelihoods_part_of_the_gradient() {
    const ROWS: usize = 77;
    const RANKS: usize = 6;
    let layout = single_layer(3, 5, 1, (0..RANKS as u32).collect());
    let state = random_state(&layout, 41);
    let mut rng = Pcg64::seed_from_u64(42);
    let mut random =
        || -> Vec<f32> { (0..ROWS * 8).map(|_| rng.random_range(-2.0..2.0)).collect() };
    let (gates, gate_gradients) = (random(), random());
    for (prior, kl_prior) in PRIORS {
        let args = LogAlpha {
            layout: &layout,
            state: &state,
            kappa: 2.0,
            kl_weight: 0.1,
            rows: ROWS,
            gates: &gates,
            gate_gradients: &gate_gradients,
        };
        let (_, gradients) = log_alpha(args, prior);
        for i in 0..RANKS {
            let term = |row: usize| {
                let (z, dz) = (gates[row * 8 + i], gate_gradients[row * 8 + i]);
                f64::from(dz) * (f64::from(z) - 1.0) / 2.0
            };
            let t = f64::from(state.layers[0].log_alpha[i]);
            let expected = (0..ROWS).map(term).sum::<f64>() + 0.2 * kl_prior.gradient(t);
            let found = f64::from(gradients.layers[0].log_alpha[i]);
            assert!(
                (expected - found).abs() < 2e-5,
                "{kl_prior}: {found} is not {expected}"
            );
        }
    }
}

/// The same examples twice: the mean cross-entropy, every gradient and KL/N stay. A KL divided by
/// the batch, or a loss summed over it, would not.
#[test]
fn a_batch_twice_is_the_batch() {
    const ROWS: usize = 5;
    for kernels in kernels() {
        let gpu = &*GPU;
        let network = FrozenNetwork::new(gpu, kernels, &tiny_backbone());
        let (convs, _) = network
            .resnet
            .select(&["layer3".into(), "layer4.1".into()])
            .unwrap();
        let ids = vec![(0..5).collect::<Vec<u32>>(); convs.len() + 1];
        let layout = AdapterLayout::new(&network.resnet, &convs, true, 3, &ids);
        let mut state = random_state(&layout, 43);
        // Logits of order one, so that no softmax saturates.
        state.head_weight.iter_mut().for_each(|w| *w *= 0.1);
        state
            .layers
            .iter_mut()
            .for_each(|l| l.lora_b.iter_mut().for_each(|b| *b *= 0.2));
        let mut rng = Pcg64::seed_from_u64(44);
        let images: Vec<u8> = (0..ROWS * 8 * 8 * 3).map(|_| rng.random()).collect();
        let run = |copies: usize, kl_weight: f32| {
            let rows = ROWS * copies;
            let fresh = TrainableState::new(layout.clone(), state.clone());
            let trainable = Trainable::upload(gpu, &fresh);
            let spec = StepSpec {
                input: BatchInput::Images { side: 8, size: 16 },
                batch: rows,
                scale: 1.5,
                distribution: GateDistribution::Gaussian,
                prior: Some(Prior::Molchanov),
                kappa: &|layer| layer.params_per_rank() as f64,
                slots: 1,
                draw_gates: true,
                adam: Adam::default(),
            };
            let step = TrainStep::new(&network, &trainable, &spec).unwrap();
            step.batch
                .write_images(&images.repeat(copies), &vec![[0; 4]; rows]);
            // The same ids get the same gates.
            let (labels, examples) = (
                [0, 1, 2, 0, 1].repeat(copies),
                [9, 8, 7, 6, 5].repeat(copies),
            );
            let values = StepValues {
                count: rows,
                kl_weight,
                ..Draw::BASE.values()
            };
            step.run(&labels, &examples, &values);
            let [loss, _, kl, count] = step.statistics(1).unwrap()[0];
            assert_eq!(count, rows as f32);
            (loss / count, kl, trainable.read_gradients(gpu).unwrap())
        };
        let weight = 0.1 / 45_000.0;
        let (once, twice) = (run(1, weight), run(2, weight));
        assert!(
            (once.0 - twice.0).abs() < 1e-5 * once.0,
            "{} {}",
            once.0,
            twice.0
        );
        assert_eq!(
            once.1.to_bits(),
            twice.1.to_bits(),
            "the KL knows of no batch"
        );
        let parts = |state: &AdapterState| -> Vec<Vec<f32>> {
            let layers = state.layers.iter().flat_map(|layer| {
                [
                    layer.lora_a.clone(),
                    layer.lora_b.clone(),
                    layer.log_alpha.clone(),
                ]
            });
            layers
                .chain([state.head_weight.clone(), state.head_bias.clone()])
                .collect()
        };
        for (once, twice) in parts(&once.2).iter().zip(parts(&twice.2)) {
            let error = common::relative_error(once, &twice);
            assert!(error < 2e-5, "{kernels:?}: {error:.1e}");
        }
        // What the weight adds is weight kappa KL'(t), whatever the batch.
        let with = [run(1, 1.0), run(2, 1.0)];
        let without = [run(1, 0.0), run(2, 0.0)];
        for (with, without) in with.iter().zip(&without) {
            for (number, spec) in layout.layers.iter().enumerate() {
                let slopes = with.2.layers[number]
                    .log_alpha
                    .iter()
                    .zip(&without.2.layers[number].log_alpha);
                for ((with, without), t) in slopes.zip(&state.layers[number].log_alpha) {
                    let slope = KlPrior::Molchanov.gradient(f64::from(*t));
                    let expected = spec.params_per_rank() as f64 * slope;
                    let found = f64::from(with - without);
                    assert!((expected - found).abs() < 1e-5 * expected.abs().max(1.0));
                }
            }
            assert_eq!(bits(&with.2.head_weight), bits(&without.2.head_weight));
        }
    }
}

/// Gains of the ranks of the quadratic problem: rho_i = 2 (log-likelihood gained)/kappa.
const RHO: [f64; 8] = [0.3, 0.6, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// A regression whose every rank has an optimum in closed form, by production
/// operations throughout.
///
/// Example n belongs to rank i = n mod 8: x = e_i, A = 1, so that y_i = b_i z_i and all else is zero;
/// the target is e_i. Its loss 1/2 lambda_i (b z - 1)^2 has the expectation
/// 1/2 lambda_i (b^2 (1 + alpha) - 2 b + 1), least at b = 1/(1 + alpha), where it is
/// 1/2 lambda_i alpha/(1 + alpha). With the mean over the batch and lambda_i = 8 rho_i each rank
/// minimises rho_i/2 alpha/(1 + alpha) + KL(t). There is no operation for a squared error, but its
/// gradient G = lambda (y - target)/M is affine in y: an `up` with a diagonal matrix and a base.
struct Quadratic {
    trainable: Trainable,
    plan: Plan,
    step: wgpu::Buffer,
}

impl Quadratic {
    const RANKS: usize = RHO.len();
    const ROWS: usize = 128 * Self::RANKS;

    fn new(prior: Prior) -> Self {
        const RANKS: usize = Quadratic::RANKS;
        const ROWS: usize = Quadratic::ROWS;
        let gpu = &*GPU;
        let layout = single_layer(RANKS, RANKS, 1, (0..RANKS as u32).collect());
        let mut state = zero_state(&layout);
        let diagonal = |i: usize, values: &dyn Fn(usize) -> f64| -> f32 {
            if i.is_multiple_of(RANKS + 1) {
                values(i % RANKS) as f32
            } else {
                0.0
            }
        };
        let layer = &mut state.layers[0];
        for i in 0..RANKS * RANKS {
            layer.lora_a[i] = diagonal(i, &|_| 1.0);
            layer.lora_b[i] = diagonal(i, &|_| 0.5);
        }
        layer.log_alpha.fill(-1.0);
        let trainable = Trainable::upload(gpu, &TrainableState::new(layout.clone(), state));

        let lambda = |i: usize| RANKS as f64 * RHO[i] / ROWS as f64;
        let matrix: Vec<f32> = (0..RANKS * RANKS).map(|i| diagonal(i, &lambda)).collect();
        let one_hot = |row: usize, i: usize| f64::from(u8::from(row % RANKS == i));
        let rows = |value: &dyn Fn(usize, usize) -> f64| -> Vec<f32> {
            (0..ROWS * RANKS)
                .map(|at| value(at / RANKS, at % RANKS) as f32)
                .collect()
        };
        let x = gpu.storage_with("x", &rows(&one_hot));
        let target = rows(&|row, i| -lambda(i) * one_hot(row, i));
        let target = gpu.storage_with("target", &target);
        let matrix = gpu.storage_with("matrix", &matrix);
        let examples = gpu.storage_with("examples", &(0..ROWS as u32).collect::<Vec<_>>());
        let step = StepValues::buffer(gpu);
        let (table, starts, gate_len) = layout.rank_table(ROWS, |_| 1.0);
        let ranks = gpu.storage_with("ranks", &table);
        let gates = gpu.storage("gates", gate_len as u64 * 4);
        let gate_gradients = gpu.storage("gate gradients", gate_len as u64 * 4);
        let kl = gpu.storage("kl", table.len() as u64 * 4);

        let mut graph = Graph::new(gpu, KernelChoice::for_gpu(gpu));
        let mut slots = |parameters, gates| {
            AdapterSlots::new(&mut graph, &layout, 1.0, parameters, gates, &starts, ROWS).layer(0)
        };
        let (read, written) = (
            slots(&trainable.values, &gates),
            slots(&trainable.gradients, &gate_gradients),
        );
        let table = GateTable {
            step: graph.builder.buffer("step", &step),
            ranks: graph.builder.buffer("ranks", &ranks),
            parameters: graph.builder.buffer("parameters", &trainable.values),
            entries: table.len(),
            rows: ROWS,
        };
        let mut vector = |buffer| Tensor {
            slot: graph.builder.buffer("rows", buffer),
            map: Map::vector(RANKS),
            rows: ROWS,
            textured: false,
        };
        let (x, target) = (vector(&x), vector(&target));
        let matrix = graph.builder.buffer("matrix", &matrix);
        let example_slot = graph.builder.buffer("examples", &examples);
        let gates = graph.builder.buffer("gates", &gates);
        graph.gates(table, GateDistribution::Gaussian, example_slot, gates, 1);
        let h = graph.down("h".into(), None, x, read.a, RANKS, None);
        let y = graph.up(Up {
            label: "y".into(),
            low: h,
            up: read.b,
            channels: RANKS,
            rows: ROWS,
            gates: Some((read.gates, 1.0)),
            base: None,
        });
        let g = graph.up(Up {
            label: "G".into(),
            low: y,
            up: matrix,
            channels: RANKS,
            rows: ROWS,
            gates: None,
            base: Some(target),
        });
        let q = graph.down("q".into(), None, g, read.b, RANKS, None);
        graph.outer(Outer {
            label: "dB".into(),
            geometry: None,
            x: g,
            low: h,
            gates: Some(read.gates),
            scale: 1.0,
            grad: written.b,
        });
        graph.gate_gradient("dz".into(), h, q, 1.0, written.gates);
        let gate_gradients = graph.builder.buffer("gate gradients", &gate_gradients);
        let gradients = graph.builder.buffer("gradients", &trainable.gradients);
        let kl = graph.builder.buffer("kl", &kl);
        graph.log_alpha(table, prior, gates, gate_gradients, gradients, kl);
        trainable.record_step(&mut graph, table.step, Adam::default());
        let plan = graph.builder.build().unwrap();
        Self {
            trainable,
            plan,
            step,
        }
    }

    /// Trains; the mean of (b, log alpha) of each rank over the last quarter of the run.
    fn train(&self, steps: usize) -> Vec<(f64, f64)> {
        let gpu = &*GPU;
        let mut sums = [(0.0, 0.0); Self::RANKS];
        let mut counted = 0.0;
        for step in 0..steps {
            let (correction1, correction2) = Adam::default().corrections(step as u64 + 1);
            // Three quarters at full rate, then a tenth.
            let rate = if step * 4 < steps * 3 { 1e-2 } else { 1e-3 };
            let values = StepValues {
                seed: 3,
                purpose: Purpose::Train,
                draw: step as u32,
                gates: GateMode::PerExample,
                count: Self::ROWS,
                slot: 0,
                learning_rate: rate,
                log_alpha_learning_rate: rate,
                weight_decay: 0.0,
                correction1,
                correction2,
                kl_weight: 1.0,
            };
            values.write(gpu, &self.step);
            self.plan.run();
            if step * 4 >= steps * 3 && step % 20 == 0 {
                counted += 1.0;
                let state = self.trainable.read_values(gpu).unwrap();
                let layer = &state.layers[0];
                for (i, sum) in sums.iter_mut().enumerate() {
                    sum.0 += f64::from(layer.lora_b[i * (Self::RANKS + 1)]);
                    sum.1 += f64::from(layer.log_alpha[i]);
                }
            }
        }
        sums.iter()
            .map(|(b, t)| (b / counted, t / counted))
            .collect()
    }
}

/// The t that minimises rho/2 alpha/(1 + alpha) + KL(t), by bisection on its slope
/// rho/2 sig(t) sig(-t) + KL'(t), which rises from below zero; `None` where it never gets there.
fn optimum(rho: f64, prior: KlPrior) -> Option<f64> {
    let sigmoid = |t: f64| 1.0 / (1.0 + (-t).exp());
    let slope = |t: f64| rho / 2.0 * sigmoid(t) * sigmoid(-t) + prior.gradient(t);
    let above = (0..1800)
        .map(|k| f64::from(k) / 100.0 - 10.0)
        .find(|t| slope(*t) > 0.0)?;
    let (mut low, mut high) = (above - 0.02, above);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if slope(middle) > 0.0 {
            high = middle
        } else {
            low = middle
        }
    }
    Some(low)
}

/// The ELBO's own optimum, found by AdamW over noisy gates: empirical Bayes at alpha = 1/(rho - 1) and
/// mean 1/(1 + alpha) = 1 - 1/rho, the others where f64 has them; rho < 1 prunes.
#[test]
fn gates_find_the_closed_form() {
    const STEPS: usize = 1600;
    for (prior, kl_prior) in &PRIORS[..3] {
        let found = Quadratic::new(*prior).train(STEPS);
        for (rho, (b, t)) in RHO.into_iter().zip(found) {
            let expected = optimum(rho, *kl_prior);
            println!("{kl_prior}, rho {rho}: log alpha {t:.3} of {expected:.3?}, mean {b:.4}");
            if *kl_prior == KlPrior::EmpiricalBayes {
                let closed = (rho > 1.0).then(|| -(rho - 1.0).ln());
                assert_eq!(expected.is_some(), closed.is_some(), "rho {rho}");
                let difference = expected.unwrap_or(0.0) - closed.unwrap_or(0.0);
                assert!(
                    difference.abs() < 1e-6,
                    "rho {rho}: {expected:?} {closed:?}"
                );
            }
            match expected {
                Some(expected) => {
                    assert!(
                        (t - expected).abs() < 0.05,
                        "rho {rho}: {t} is not {expected}"
                    );
                    let mean = 1.0 / (1.0 + expected.exp());
                    assert!((b - mean).abs() < 0.01, "rho {rho}: mean {b} is not {mean}");
                }
                // On its way to infinity, the mean to zero.
                None => assert!(t > 2.0 && b.abs() < 0.1, "rho {rho}: {t}, mean {b}"),
            }
        }
    }
}
