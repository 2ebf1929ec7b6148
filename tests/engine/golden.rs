//! The whole model against a dump made by PyTorch in f64 (`fixtures/golden/README.md`).

use std::ops::Range;

use bayeslora::low_level::formats::{GateDistribution, TensorFile};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{
    self, AdapterLayout, AdapterSlots, AdapterState, Backbone, Batch, BatchInput, Cut,
    FrozenNetwork, GateMode, Graph, KernelChoice, LayerState, PLAIN_VIEW, Prior, Purpose,
    StepValues, Tensor,
};
use bayeslora::low_level::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState};

use crate::common;
use crate::common::relative_error;

const EXAMPLES: usize = 8;
const RANK: usize = 6;
const SCALE: f32 = 16.0 / 6.0;
const ACTIVATIONS: f64 = 2e-5;
const GRADIENTS: f64 = 2e-4;

struct Golden {
    inputs: TensorFile,
    expected: TensorFile,
    steps: serde_json::Value,
    backbone: Backbone,
}

impl Golden {
    fn load() -> Self {
        let path = |name: &str| format!("tests/fixtures/golden/{name}");
        let steps = std::fs::read_to_string(path("steps.json")).unwrap();
        Self {
            inputs: TensorFile::read(path("inputs.safetensors")).unwrap(),
            expected: TensorFile::read(path("expected.safetensors")).unwrap(),
            steps: serde_json::from_str(&steps).unwrap(),
            backbone: Backbone::embedded().unwrap(),
        }
    }

    fn expected(&self, name: &str) -> &[f32] {
        &self.expected.tensors[name].data
    }

    fn layout(&self) -> AdapterLayout {
        let resnet = &self.backbone.resnet;
        let targets = ["layer3".to_owned(), "layer4".to_owned()];
        let (convs, head) = resnet.select(&targets).unwrap();
        let ids = vec![(0..RANK as u32).collect::<Vec<_>>(); convs.len()];
        AdapterLayout::new(resnet, &convs, head, 10, &ids)
    }

    /// Tensors named `prefix.<layer>...` as a state.
    fn state(&self, file: &TensorFile, prefix: &str, layout: &AdapterLayout) -> AdapterState {
        let data = |name: String| file.tensors[&format!("{prefix}.{name}")].data.clone();
        let layers = layout.layers.iter().map(|layer| LayerState {
            lora_a: data(format!("{}.lora_A.weight", layer.name)),
            lora_b: data(format!("{}.lora_B.weight", layer.name)),
            log_alpha: data(format!("{}.log_alpha", layer.name)),
        });
        AdapterState {
            layers: layers.collect(),
            head_weight: data("head.weight".into()),
            head_bias: data("head.bias".into()),
        }
    }

    /// Gates of a step in the buffer's order, from the dump's normals.
    fn gates(&self, layout: &AdapterLayout, state: &AdapterState, step: Option<usize>) -> Vec<f32> {
        let (table, starts, len) = layout.rank_table(EXAMPLES, |_| 0.0);
        let stride = table.first().map_or(0, |entry| entry.stride as usize);
        let mut gates = vec![0.0; len];
        for ((layer, values), start) in layout.layers.iter().zip(&state.layers).zip(starts) {
            let eps = &self.inputs.tensors[&format!("eps.{}", layer.name)].data;
            for row in 0..EXAMPLES {
                for (i, id) in layer.rank_ids.iter().enumerate() {
                    let noise = |step| {
                        let eps = eps[(step * EXAMPLES + row) * RANK + *id as usize];
                        (f64::from(values.log_alpha[i]) / 2.0).exp() * f64::from(eps)
                    };
                    gates[start + row * stride + i] = (1.0 + step.map_or(0.0, noise)) as f32;
                }
            }
        }
        gates
    }

    fn images(&self) -> Vec<u8> {
        // Planar in the dump.
        let planar = &self.inputs.integers["images"].data;
        let pixel = |n: usize, at: usize, c: usize| planar[(n * 3 + c) * 1024 + at] as u8;
        (0..EXAMPLES * 1024 * 3)
            .map(|i| pixel(i / 3072, i / 3 % 1024, i % 3))
            .collect()
    }

    fn labels(&self) -> Vec<u32> {
        self.inputs.integers["labels"]
            .data
            .iter()
            .map(|label| *label as u32)
            .collect()
    }
}

/// Position-major rows to NCHW.
fn nchw(tensor: Tensor, values: &[f32]) -> Vec<f32> {
    let (map, rows) = (tensor.map, tensor.rows);
    let width = map.quads() * 4;
    let mut out = Vec::with_capacity(rows * map.channels * map.positions());
    for row in 0..rows {
        for channel in 0..map.channels {
            for position in 0..map.positions() {
                out.push(values[(position * rows + row) * width + channel]);
            }
        }
    }
    out
}

fn check(worst: &mut Vec<String>, name: &str, expected: &[f32], found: &[f32], tolerance: f64) {
    let error = relative_error(expected, found);
    println!("{name:<40} {error:.2e}");
    if error > tolerance || error.is_nan() {
        worst.push(format!("{name}: {error:.2e} > {tolerance:.0e}"));
    }
}

#[test]
fn features_and_logits() {
    let golden = Golden::load();
    let gpu = common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    });
    let tiled = [common::tiled()];
    for kernels in common::kernel_choices(&gpu).into_iter().chain(tiled) {
        println!("{kernels:?}");
        let network = FrozenNetwork::new(&gpu, kernels, &golden.backbone);
        let layout = golden.layout();
        let state = golden.state(&golden.inputs, "param", &layout);
        let mut failures = Vec::new();
        for (name, step) in [("sampled", Some(0)), ("mean", None)] {
            let parameters = gpu.storage_with("parameters", &layout.pack(&state));
            let gates = gpu.storage_with("gates", &golden.gates(&layout, &state, step));
            let batch = Batch::new(&gpu, BatchInput::Images { side: 32, size: 64 }, EXAMPLES);
            batch.write_images(&golden.images(), &[PLAIN_VIEW; EXAMPLES]);
            let (_, starts, _) = layout.rank_table(EXAMPLES, |_| 0.0);
            let mut graph = Graph::new(&gpu, kernels);
            let slots = AdapterSlots::new(
                &mut graph,
                &layout,
                SCALE,
                &parameters,
                &gates,
                &starts,
                EXAMPLES,
            );
            let input = batch.prefix_input(&mut graph);
            let mut kept = Vec::new();
            // Cuts above the stem give the prefix's stages; chunks of three leave a partial one.
            for (cut, stage) in [(0, "stem"), (2, "layer1"), (4, "layer2")] {
                let x = model::prefix(
                    &mut graph,
                    &network,
                    Cut::Block(cut),
                    input.clone(),
                    EXAMPLES,
                    3 + cut,
                );
                kept.push((stage, x));
            }
            let x = kept[2].1;
            let activations = model::forward(
                &mut graph,
                &network,
                Cut::Block(4),
                &layout,
                &slots,
                x,
                EXAMPLES,
            );
            let outputs: Vec<_> = activations.block_outputs().collect();
            kept.extend([
                ("layer3", outputs[1]),
                ("layer4", outputs[3]),
                ("pooled", activations.pooled),
                ("logits", activations.logits),
            ]);
            for (_, tensor) in &kept {
                graph.builder.keep(tensor.slot);
            }
            let plan = graph.builder.build().unwrap();
            plan.run();
            for (stage, tensor) in kept {
                let found = nchw(tensor, &plan.read(tensor.slot).unwrap());
                let name = format!("{name}.{stage}");
                check(
                    &mut failures,
                    &name,
                    golden.expected(&name),
                    &found,
                    ACTIVATIONS,
                );
            }
            assert!(
                plan.guards_are_whole().unwrap(),
                "a dispatch wrote past its buffer"
            );
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

/// A training step over the dump's batch whose gates the test injects.
fn train_step(golden: &Golden, network: &FrozenNetwork, trainable: &Trainable) -> TrainStep {
    let spec = StepSpec {
        input: BatchInput::Images { side: 32, size: 64 },
        batch: EXAMPLES,
        scale: SCALE,
        distribution: GateDistribution::Gaussian,
        prior: Some(Prior::Molchanov),
        kappa: &|layer| layer.params_per_rank() as f64,
        slots: 10,
        draw_gates: false,
        adam: Adam::default(),
    };
    let step = TrainStep::new(network, trainable, &spec).unwrap();
    step.batch
        .write_images(&golden.images(), &[[0; 4]; EXAMPLES]);
    step
}

/// Runs step `index` with the dump's gates and settings.
fn run_step(
    golden: &Golden,
    gpu: &Gpu,
    step: &TrainStep,
    trainable: &Trainable,
    index: usize,
    kl_weight: f32,
) {
    let state = trainable.read_values(gpu).unwrap();
    let gates = golden.gates(&trainable.layout, &state, Some(index));
    gpu.queue()
        .write_buffer(&step.gates, 0, bytemuck::cast_slice(&gates));
    let (correction1, correction2) = Adam::default().corrections(index as u64 + 1);
    let values = StepValues {
        seed: 0,
        purpose: Purpose::Train,
        draw: index as u32,
        gates: GateMode::PerExample,
        count: EXAMPLES,
        slot: index,
        learning_rate: 1e-3,
        log_alpha_learning_rate: 1e-3,
        weight_decay: 0.01,
        correction1,
        correction2,
        kl_weight,
    };
    step.run(&golden.labels(), &[0; EXAMPLES], &values);
}

/// Every parameter with the dump's name.
fn named<'a>(layout: &AdapterLayout, state: &'a AdapterState) -> Vec<(String, &'a [f32])> {
    let mut all = Vec::new();
    for (layer, values) in layout.layers.iter().zip(&state.layers) {
        all.push((format!("{}.lora_A.weight", layer.name), &values.lora_a[..]));
        all.push((format!("{}.lora_B.weight", layer.name), &values.lora_b[..]));
        all.push((format!("{}.log_alpha", layer.name), &values.log_alpha[..]));
    }
    all.push(("head.weight".into(), &state.head_weight[..]));
    all.push(("head.bias".into(), &state.head_bias[..]));
    all
}

fn setup(golden: &Golden, gpu: &Gpu, kernels: KernelChoice) -> (FrozenNetwork, Trainable) {
    let network = FrozenNetwork::new(gpu, kernels, &golden.backbone);
    let layout = golden.layout();
    let state = golden.state(&golden.inputs, "param", &layout);
    let state = TrainableState::new(layout, state);
    (network, Trainable::upload(gpu, &state))
}

#[test]
fn gradients() {
    let golden = Golden::load();
    let gpu = common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    });
    let tiled = [common::tiled()];
    for kernels in common::kernel_choices(&gpu).into_iter().chain(tiled) {
        println!("{kernels:?}");
        let mut failures = Vec::new();
        for (prefix, kl_weight) in [("grad", 0.0), ("elbo.grad", 0.1 / 45000.0)] {
            let (network, trainable) = setup(&golden, &gpu, kernels);
            let step = train_step(&golden, &network, &trainable);
            run_step(&golden, &gpu, &step, &trainable, 0, kl_weight);
            let gradients = trainable.read_gradients(&gpu).unwrap();
            for (name, found) in named(&trainable.layout, &gradients) {
                let name = format!("{prefix}.{name}");
                if let Some(expected) = golden.expected.tensors.get(&name) {
                    check(&mut failures, &name, &expected.data, found, GRADIENTS);
                }
            }
            assert!(
                step.plan().guards_are_whole().unwrap(),
                "a dispatch wrote past its buffer"
            );
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

/// Steps `range` of the dump's ten, whose losses stand in `reference`.
fn steps(
    golden: &Golden,
    gpu: &Gpu,
    trainable: &Trainable,
    step: &TrainStep,
    range: Range<usize>,
    reference: &serde_json::Value,
    failures: &mut Vec<String>,
) {
    for index in range {
        run_step(golden, gpu, step, trainable, index, 0.1 / 45000.0);
        let [loss, _, kl, count] = step.statistics(10).unwrap()[index];
        for (name, found) in [("ce", loss / count), ("kl", kl)] {
            let expected = reference[index][name].as_f64().unwrap() as f32;
            let name = format!("step {index} {name}");
            check(failures, &name, &[expected], &[found], ACTIVATIONS);
        }
    }
}

/// What ten steps from `start` have changed, against the dump's parameters under `prefix`.
fn compare_updates(
    golden: &Golden,
    gpu: &Gpu,
    trainable: &Trainable,
    start: &AdapterState,
    prefix: &str,
    failures: &mut Vec<String>,
) {
    let end = trainable.read_values(gpu).unwrap();
    let starts = named(&trainable.layout, start);
    for ((name, found), (_, start)) in named(&trainable.layout, &end).iter().zip(starts) {
        let expected = golden.expected(&format!("{prefix}.{name}"));
        let update = |after: &[f32]| -> Vec<f64> {
            after
                .iter()
                .zip(start)
                .map(|(a, b)| f64::from(*a) - f64::from(*b))
                .collect()
        };
        let (expected, found) = (update(expected), update(found));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let norms = (dot(&expected, &expected) * dot(&found, &found)).sqrt();
        let cosine = dot(&expected, &found) / norms;
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-4;
        let share = expected
            .iter()
            .zip(&found)
            .filter(|pair| near(*pair))
            .count() as f64
            / expected.len() as f64;
        println!("{prefix}.{name:<40} cosine {cosine:.6} near {share:.5}");
        if cosine.is_nan() || cosine < 0.9999 || share < 0.999 {
            failures.push(format!("{name}: cosine {cosine:.6}, near {share:.5}"));
        }
    }
}

/// Ten AdamW steps, and their last five again where only some ranks were kept.
fn ten_steps(kernels: KernelChoice, golden: &Golden, gpu: &Gpu) {
    let (network, trainable) = setup(golden, gpu, kernels);
    let mut start = golden.state(&golden.inputs, "param", &trainable.layout);
    let whole = &golden.steps["steps"];
    let step = train_step(golden, &network, &trainable);
    let mut failures = Vec::new();
    steps(golden, gpu, &trainable, &step, 0..5, whole, &mut failures);
    let mut state = trainable.read(gpu).unwrap();
    steps(golden, gpu, &trainable, &step, 5..10, whole, &mut failures);
    compare_updates(golden, gpu, &trainable, &start, "after10", &mut failures);

    let kept = vec![vec![0, 2, 3, 5]; trainable.layout.layers.len()];
    state.keep(&network.resnet, &kept);
    start.keep(&trainable.layout, &kept);
    let pruned = Trainable::upload(gpu, &state);
    let step = train_step(golden, &network, &pruned);
    let reference = &golden.steps["pruned_after_step_5"]["steps"];
    steps(golden, gpu, &pruned, &step, 5..10, reference, &mut failures);
    compare_updates(golden, gpu, &pruned, &start, "pruned10", &mut failures);
    assert!(network.is_unchanged().unwrap(), "the backbone changed");
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn ten_training_steps() {
    let golden = Golden::load();
    let gpu = common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    });
    for kernels in common::kernel_choices(&gpu) {
        println!("{kernels:?}");
        ten_steps(kernels, &golden, &gpu);
    }
}
