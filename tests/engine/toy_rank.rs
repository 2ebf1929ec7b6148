//! A rank-3 teacher, a rank-8 adapter: the pruning criterion finds the rank, with production
//! operations from the draw of the gates to AdamW.
//!
//! Task and schedule (`reference/toy.rs` makes the data): 3,000 examples in batches of 100, 150 epochs,
//! learning rate 1e-2 for every parameter, 1e-3 after 60 % of the epochs; z = 1 and no KL for five
//! epochs, then beta rises linearly over 30. Molchanov's KL with multiplicity kappa, n_i = 20 + 10.
//! A rank counts if log alpha < 2 at the end. The run that set the bands kept 8, 8, 8 ranks at
//! kappa = 1 and 3, 3, 3 at kappa = 4 n_i for three seeds; two of three must come out here.
//!
//! Read either way, it holds: three students (init, order, gates) of the teacher of seed 0 count
//! 3, 3, 3; a teacher of its own for each seed gives 3, 5, 3. The latter hangs on the noise: with
//! the draws numbered from 1 it is 3, 4, 4, on the GPU and in f64 alike, where the fourth rank of
//! teacher 1 ends at log alpha 1.9. Teachers 0 to 7 with three students each and
//! that noise count 3 in 18 of 24 runs in f64, else 4 or 5. `the_run_is_the_one_of_f64` tells such a
//! property of the method from an error of the engine.

use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::gpu::Plan;
use bayeslora::low_level::model::{
    AdapterLayout, AdapterSlots, AdapterState, GateMode, GateTable, Graph, KernelChoice, Map,
    Outer, Prior, Purpose, StepValues, Tensor as Rows, Up,
};
use bayeslora::low_level::train::kl::{KlMultiplicity, KlPrior};
use bayeslora::low_level::train::{Adam, Trainable, TrainableState};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::properties::{GPU, single_layer, zero_state};
use crate::reference;
use crate::reference::adamw::{self, Moments};
use crate::reference::gates::Stream;
use crate::reference::head::log_softmax;
use crate::reference::tensor::Tensor;
use crate::reference::toy::{CLASSES, INPUTS, TEACHER_RANK, TRAIN, Toy};

const RANK: usize = 8;
const BATCH: usize = 100;
const EPOCHS: usize = 150;
const THRESHOLD: f32 = 2.0;

/// The frozen W0 sits in the head's place, whose gradient stays zero; the adapter beside it.
fn start(toy: &Toy, seed: u64) -> (AdapterLayout, AdapterState) {
    let layout = single_layer(INPUTS, CLASSES, 1, (0..RANK as u32).collect());
    let mut state = zero_state(&layout);
    state.head_weight = toy.w0.to_f32();
    let mut rng = Pcg64::seed_from_u64(1_000 + seed);
    let bound = 1.0 / (INPUTS as f32).sqrt();
    for value in &mut state.layers[0].lora_a {
        *value = rng.random_range(-bound..bound);
    }
    state.layers[0].log_alpha.fill(-5.0);
    (layout, state)
}

struct Buffers {
    step: wgpu::Buffer,
    x: wgpu::Buffer,
    labels: wgpu::Buffer,
    examples: wgpu::Buffer,
    gates: wgpu::Buffer,
}

/// One step: y = W0 x + B (z . A x), softmax cross-entropy, ELBO gradients, AdamW.
fn plan(trainable: &Trainable, kappa: f64) -> (Plan, Buffers) {
    let gpu = &*GPU;
    let layout = &trainable.layout;
    let (table, starts, gate_len) = layout.rank_table(BATCH, |_| kappa);
    let buffers = Buffers {
        step: StepValues::buffer(gpu),
        x: gpu.storage("x", (BATCH * INPUTS * 4) as u64),
        labels: gpu.storage("labels", BATCH as u64 * 4),
        examples: gpu.storage("examples", BATCH as u64 * 4),
        gates: gpu.storage("gates", gate_len as u64 * 4),
    };
    let gate_gradients = gpu.storage("gate gradients", gate_len as u64 * 4);
    let ranks = gpu.storage_with("ranks", &table);
    let losses = gpu.storage("losses", BATCH as u64 * 8);
    let kl = gpu.storage("kl", table.len() as u64 * 4);

    let mut graph = Graph::new(gpu, KernelChoice::for_gpu(gpu));
    let table = GateTable {
        step: graph.builder.buffer("step", &buffers.step),
        ranks: graph.builder.buffer("ranks", &ranks),
        parameters: graph.builder.buffer("parameters", &trainable.values),
        entries: table.len(),
        rows: BATCH,
    };
    let mut slots = |parameters, gates| {
        AdapterSlots::new(&mut graph, layout, 1.0, parameters, gates, &starts, BATCH)
    };
    let read = slots(&trainable.values, &buffers.gates).layer(0);
    let written = slots(&trainable.gradients, &gate_gradients).layer(0);
    let head = layout.head_weight;
    let (offset, bytes) = (head.start as u64 * 4, head.len as u64 * 4);
    let w0 = graph
        .builder
        .buffer_range("W0", &trainable.values, offset, bytes);
    let x = Rows {
        slot: graph.builder.buffer("x", &buffers.x),
        map: Map::vector(INPUTS),
        rows: BATCH,
        textured: false,
    };
    let examples = graph.builder.buffer("examples", &buffers.examples);
    let labels = graph.builder.buffer("labels", &buffers.labels);
    let losses = graph.builder.buffer("losses", &losses);
    let weights = gpu.storage_with("class weights", &[1f32; CLASSES]);
    let weights = graph.builder.buffer("class weights", &weights);
    let gates = graph.builder.buffer("gates", &buffers.gates);
    graph.gates(table, GateDistribution::Gaussian, examples, gates, 1);
    let base = graph.down("W0 x".into(), None, x, w0, CLASSES, None);
    let h = graph.down("A x".into(), None, x, read.a, RANK, None);
    let gated = Some((read.gates, 1.0));
    let logits = graph.up(Up {
        label: "y".into(),
        low: h,
        up: read.b,
        channels: CLASSES,
        rows: BATCH,
        gates: gated,
        base: Some(base),
    });
    let g = graph.cross_entropy(table.step, logits, labels, weights, losses);
    let q = graph.down("B' G".into(), None, g, read.b, RANK, None);
    for (label, x, low, grad) in [("dA", x, q, written.a), ("dB", g, h, written.b)] {
        graph.outer(Outer {
            label: label.into(),
            geometry: None,
            x,
            low,
            gates: Some(read.gates),
            scale: 1.0,
            grad,
        });
    }
    graph.gate_gradient("dz".into(), h, q, 1.0, written.gates);
    let gate_gradients = graph.builder.buffer("gate gradients", &gate_gradients);
    let gradients = graph.builder.buffer("gradients", &trainable.gradients);
    let kl = graph.builder.buffer("kl", &kl);
    graph.log_alpha(
        table,
        Prior::Molchanov,
        gates,
        gate_gradients,
        gradients,
        kl,
    );
    trainable.record_step(&mut graph, table.step, Adam::default());
    (graph.builder.build().unwrap(), buffers)
}

/// What epoch `epoch` (from 1) trains with: learning rate, beta, and whether gates are drawn.
fn schedule(epoch: usize) -> (f64, f64, bool) {
    let learning_rate = if epoch * 10 > EPOCHS * 6 { 1e-3 } else { 1e-2 };
    let beta = (epoch.saturating_sub(5) as f64 / 30.0).min(1.0);
    (learning_rate, beta, epoch > 5)
}

/// The examples of every batch of every epoch.
fn batches(seed: u64) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..TRAIN as u32).collect();
    let mut rng = Pcg64::seed_from_u64(2_000 + seed);
    let mut all = Vec::new();
    for _ in 0..EPOCHS {
        order.shuffle(&mut rng);
        all.extend(order.chunks(BATCH).map(<[u32]>::to_vec));
    }
    all
}

/// Trains student `seed`; its log alphas, and the mean model's NLL on the test examples.
fn train(toy: &Toy, seed: u64, kappa: f64) -> (Vec<f32>, f64) {
    let gpu = &*GPU;
    let (layout, state) = start(toy, seed);
    let trainable = Trainable::upload(gpu, &TrainableState::new(layout.clone(), state));
    let (plan, buffers) = plan(&trainable, kappa);
    let x = toy.train.x.to_f32();
    for (step, batch) in batches(seed).iter().enumerate() {
        let (learning_rate, beta, sample) = schedule(step / (TRAIN / BATCH) + 1);
        let (correction1, correction2) = Adam::default().corrections(step as u64 + 1);
        let values = StepValues {
            seed,
            purpose: Purpose::Train,
            draw: step as u32,
            gates: if sample {
                GateMode::PerExample
            } else {
                GateMode::Mean
            },
            count: BATCH,
            slot: 0,
            learning_rate: learning_rate as f32,
            log_alpha_learning_rate: learning_rate as f32,
            weight_decay: 0.0,
            correction1,
            correction2,
            kl_weight: (beta / TRAIN as f64) as f32,
        };
        values.write(gpu, &buffers.step);
        let rows = batch.iter().map(|i| *i as usize);
        let rows_x = rows.clone().flat_map(|i| &x[i * INPUTS..][..INPUTS]);
        let rows_x: Vec<f32> = rows_x.copied().collect();
        let labels: Vec<u32> = rows.map(|i| toy.train.labels[i] as u32).collect();
        let queue = gpu.queue();
        queue.write_buffer(&buffers.x, 0, bytemuck::cast_slice(&rows_x));
        queue.write_buffer(&buffers.labels, 0, bytemuck::cast_slice(&labels));
        queue.write_buffer(&buffers.examples, 0, bytemuck::cast_slice(batch));
        plan.run();
        if step % 30 == 0 {
            // The queue would otherwise hold every batch not yet run.
            gpu.wait().unwrap();
        }
    }
    let end = trainable.read_values(gpu).unwrap();
    assert_eq!(end.head_weight, toy.w0.to_f32(), "W0 is frozen");
    let layer = &end.layers[0];
    let delta = Tensor::from_fn(&[CLASSES, INPUTS], |at| {
        let (o, c) = (at / INPUTS, at % INPUTS);
        let part = |i: usize| layer.lora_b[o * RANK + i] * layer.lora_a[i * INPUTS + c];
        (0..RANK).map(|i| f64::from(part(i))).sum()
    });
    let weights = toy.w0.plus(&delta);
    let logits = reference::head::linear(&toy.test.x, &weights, &Tensor::zeros(&[CLASSES]));
    let log_p = log_softmax(&logits);
    let labels = toy.test.labels.iter().enumerate();
    let nll = labels
        .map(|(row, label)| -log_p.at(&[row, *label]))
        .sum::<f64>();
    (layer.log_alpha.clone(), nll / toy.test.labels.len() as f64)
}

/// The same in f64 on the host: the same start, batches and (up to rounding) gates.
fn train_f64(toy: &Toy, seed: u64, kappa: f64) -> Vec<f64> {
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|v| f64::from(*v)).collect() };
    let (_, state) = start(toy, seed);
    let mut a = wide(&state.layers[0].lora_a);
    let mut b = wide(&state.layers[0].lora_b);
    let mut t = wide(&state.layers[0].log_alpha);
    let mut moments = [a.len(), b.len(), t.len()].map(Moments::zeros);
    for (step, batch) in batches(seed).iter().enumerate() {
        let (learning_rate, beta, sample) = schedule(step / (TRAIN / BATCH) + 1);
        let stream = Stream {
            seed,
            purpose: reference::gates::Purpose::Train,
            step_or_sample: step as u32,
            layer: 3,
        };
        let mut da = vec![0.0; a.len()];
        let mut db = vec![0.0; b.len()];
        let mut dt: Vec<f64> = t
            .iter()
            .map(|t| beta * kappa / TRAIN as f64 * KlPrior::Molchanov.gradient(*t))
            .collect();
        for &n in batch {
            let x = &toy.train.x.data[n as usize * INPUTS..][..INPUTS];
            let dot = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            let h: Vec<f64> = a.chunks(INPUTS).map(dot).collect();
            let gate = |i: usize| 1.0 + (t[i] / 2.0).exp() * stream.eps(n, i as u32);
            let z: Vec<f64> = (0..RANK)
                .map(|i| if sample { gate(i) } else { 1.0 })
                .collect();
            let base = toy.w0.data.chunks(INPUTS).map(dot);
            let logits = base
                .zip(b.chunks(RANK))
                .map(|(base, b)| base + (0..RANK).map(|i| b[i] * z[i] * h[i]).sum::<f64>());
            let mut g: Vec<f64> = logits.collect();
            let most = g.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = g.iter().map(|v| (v - most).exp()).sum();
            for (o, v) in g.iter_mut().enumerate() {
                let target = f64::from(u8::from(o == toy.train.labels[n as usize]));
                *v = ((*v - most).exp() / total - target) / BATCH as f64;
            }
            for i in 0..RANK {
                let q: f64 = (0..CLASSES).map(|o| b[o * RANK + i] * g[o]).sum();
                for o in 0..CLASSES {
                    db[o * RANK + i] += g[o] * z[i] * h[i];
                }
                for c in 0..INPUTS {
                    da[i * INPUTS + c] += q * z[i] * x[c];
                }
                dt[i] += q * h[i] * (z[i] - 1.0) / 2.0;
            }
        }
        let group = adamw::Group::new(learning_rate);
        let step = step as u32 + 1;
        adamw::step(&group, step, &mut a, &da, &mut moments[0]);
        adamw::step(&group, step, &mut b, &db, &mut moments[1]);
        adamw::step(
            &group.project(-10.0, 8.0),
            step,
            &mut t,
            &dt,
            &mut moments[2],
        );
    }
    t
}

fn count(log_alpha: &[f32]) -> usize {
    log_alpha.iter().filter(|t| **t < THRESHOLD).count()
}

/// Three students of one teacher; two of them must keep this number of ranks.
fn expect_ranks(kappa: f64, expected: usize) {
    let toy = Toy::new(0);
    let counts = [0, 1, 2].map(|seed| {
        let (mut log_alpha, nll) = train(&toy, seed, kappa);
        log_alpha.sort_by(f32::total_cmp);
        let count = count(&log_alpha);
        println!(
            "kappa {kappa}, seed {seed}: {count} ranks, NLL {nll:.4}, log alpha {log_alpha:.1?}"
        );
        count
    });
    expect_two(counts, expected);
}

fn expect_two(counts: [usize; 3], expected: usize) {
    let hits = counts.iter().filter(|count| **count == expected).count();
    assert!(hits >= 2, "{counts:?} ranks, expected {expected} twice");
}

/// kappa = 4 n_i, n_i = 20 + 10
fn strong() -> f64 {
    let layout = single_layer(INPUTS, CLASSES, 1, vec![0]);
    KlMultiplicity::Value(4.0).kappa(layout.layers[0].params_per_rank())
}

#[test]
fn a_strong_kl_finds_the_teachers_rank() {
    expect_ranks(strong(), TEACHER_RANK);
}

#[test]
fn the_unit_kl_keeps_every_rank() {
    expect_ranks(KlMultiplicity::Unit.kappa(INPUTS + CLASSES), RANK);
}

/// After 4,500 steps each log alpha is where f64 has it: whatever is counted, it is the method's.
/// These seeds have a teacher each.
#[test]
fn the_run_is_the_one_of_f64() {
    let mut worst = 0f64;
    let counts = [0, 1, 2].map(|seed| {
        let toy = Toy::new(seed);
        let (found, _) = train(&toy, seed, strong());
        let expected = train_f64(&toy, seed, strong());
        println!(
            "teacher and student {seed}: {} ranks, log alpha {found:.2?}",
            count(&found)
        );
        for (expected, found) in expected.iter().zip(&found) {
            worst = worst.max((expected - f64::from(*found)).abs());
        }
        count(&found)
    });
    println!("worst |log alpha - f64| {worst:.1e}");
    assert!(worst < 0.02, "{worst}");
    expect_two(counts, TEACHER_RANK);
}
