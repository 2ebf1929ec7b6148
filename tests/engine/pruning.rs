//! Pruning: what is zero goes without a trace, what is kept goes on as it was, and a run that stops
//! after a prune goes on bit for bit.

use bayeslora::low_level::formats::{
    Adapter, Checkpoint, FormatError, GateDistribution, Head, LayerAdapter, RunDir, TensorFile,
};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{
    self, AdapterLayout, AdapterSlots, AdapterState, Batch, BatchInput, Cut, FrozenNetwork,
    GateMode, GateTable, Graph, KernelChoice, LayerState, PLAIN_VIEW, Prior, Purpose, StepValues,
};
use bayeslora::low_level::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common;
use crate::properties::{Draw, GPU, bits, kernels, random_state, state_bits, tiny_backbone};

const SCALE: f32 = 16.0 / 9.0;
const CLASSES: usize = 3;
const SIDE: usize = 8;
const SIZE: usize = 16;
const ROWS: usize = 6;
const SAMPLES: usize = 3;

fn images() -> Vec<u8> {
    let mut rng = Pcg64::seed_from_u64(21);
    (0..ROWS * SIDE * SIDE * 3).map(|_| rng.random()).collect()
}

fn network(gpu: &Gpu, kernels: KernelChoice) -> FrozenNetwork {
    FrozenNetwork::new(gpu, kernels, &tiny_backbone())
}

/// Adapters on these layers with `rank` ranks each.
fn layout(network: &FrozenNetwork, targets: &[&str], rank: usize) -> AdapterLayout {
    let targets: Vec<String> = targets.iter().map(|target| (*target).into()).collect();
    let (convs, head) = network.resnet.select(&targets).unwrap();
    let ids = vec![(0..rank as u32).collect::<Vec<_>>(); convs.len() + usize::from(head)];
    AdapterLayout::new(&network.resnet, &convs, head, CLASSES, &ids)
}

const TARGETS: [&str; 5] = ["conv1", "layer1.1.conv2", "layer2.0", "layer4.1", "fc"];

/// Logits of every row (example x sample).
fn logits(
    network: &FrozenNetwork,
    layout: &AdapterLayout,
    state: &AdapterState,
    mode: GateMode,
) -> Vec<f32> {
    let gpu = &network.gpu;
    let rows = ROWS * SAMPLES;
    let (table, starts, gate_len) = layout.rank_table(rows, |_| 0.0);
    let parameters = gpu.storage_with("parameters", &layout.pack(state));
    let gates = gpu.storage("gates", gate_len as u64 * 4);
    let batch = Batch::new(
        gpu,
        BatchInput::Images {
            side: SIDE,
            size: SIZE,
        },
        ROWS,
    );
    batch.write_images(&images(), &[PLAIN_VIEW; ROWS]);
    let examples = gpu.storage_with("examples", &(50..50 + ROWS as u32).collect::<Vec<_>>());
    let step = StepValues::buffer(gpu);
    let draw = Draw {
        mode,
        purpose: Purpose::Predict,
        draw: 4,
        ..Draw::BASE
    };
    draw.values().write(gpu, &step);

    let mut graph = Graph::new(gpu, network.kernels);
    if !table.is_empty() {
        let ranks = gpu.storage_with("ranks", &table);
        let table = GateTable {
            step: graph.builder.buffer("step", &step),
            ranks: graph.builder.buffer("ranks", &ranks),
            parameters: graph.builder.buffer("parameters", &parameters),
            entries: table.len(),
            rows,
        };
        let examples = graph.builder.buffer("examples", &examples);
        let gates = graph.builder.buffer("gates", &gates);
        graph.gates(table, GateDistribution::Gaussian, examples, gates, SAMPLES);
    }
    let slots = AdapterSlots::new(
        &mut graph,
        layout,
        SCALE,
        &parameters,
        &gates,
        &starts,
        rows,
    );
    let input = batch.prefix_input(&mut graph);
    // The same cut whatever is adapted: only the adapters may differ.
    let x = model::prefix(&mut graph, network, Cut::Stem, input, ROWS, ROWS);
    let out = model::forward(&mut graph, network, Cut::Stem, layout, &slots, x, rows).logits;
    graph.builder.keep(out.slot);
    let plan = graph.builder.build().unwrap();
    plan.run();
    assert!(plan.guards_are_whole().unwrap());
    let values = plan.read(out.slot).unwrap();
    assert!(values.iter().all(|value| value.is_finite()));
    values
}

/// The places that stay when these go.
fn without(layout: &AdapterLayout, gone: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let layers = layout.layers.iter().zip(gone);
    layers
        .map(|(layer, gone)| (0..layer.rank()).filter(|i| !gone.contains(i)).collect())
        .collect()
}

/// Which ranks go from each layer: the first, the last, several, all, none.
fn gone(layout: &AdapterLayout) -> Vec<Vec<usize>> {
    let patterns = [
        vec![0],
        vec![8],
        vec![1, 2, 3, 4, 5],
        (0..9).collect(),
        vec![],
        vec![0, 8],
    ];
    (0..layout.layers.len())
        .map(|layer| patterns[layer % patterns.len()].clone())
        .collect()
}

#[test]
fn zero_ranks_go_without_changing_a_bit() {
    for kernels in kernels() {
        let network = network(&GPU, kernels);
        let layout = layout(&network, &TARGETS, 9);
        let mut state = random_state(&layout, 31);
        let gone = gone(&layout);
        for ((layer, spec), gone) in state.layers.iter_mut().zip(&layout.layers).zip(&gone) {
            let (rank, inputs) = (spec.rank(), spec.in_channels * spec.taps());
            for i in gone {
                layer.lora_a[i * inputs..][..inputs].fill(0.0);
                layer
                    .lora_b
                    .iter_mut()
                    .skip(*i)
                    .step_by(rank)
                    .for_each(|b| *b = 0.0);
            }
        }
        let kept = without(&layout, &gone);
        let pruned_layout = layout.keep(&network.resnet, &kept);
        let mut pruned = state.clone();
        pruned.keep(&layout, &kept);
        for mode in [GateMode::Mean, GateMode::PerExample, GateMode::Shared] {
            let before = logits(&network, &layout, &state, mode);
            let after = logits(&network, &pruned_layout, &pruned, mode);
            assert_eq!(bits(&before), bits(&after), "{kernels:?} {mode:?}");
        }
        // Nor may the test be void: what is not zero does count.
        let mut kept = kept;
        kept[0].pop();
        let other_layout = layout.keep(&network.resnet, &kept);
        let mut other = state.clone();
        other.keep(&layout, &kept);
        let before = logits(&network, &layout, &state, GateMode::PerExample);
        let after = logits(&network, &other_layout, &other, GateMode::PerExample);
        assert_ne!(bits(&before), bits(&after));
    }
}

/// s = lora_alpha / r_initial whatever is left: the published code divided by the ranks left, which
/// doubled the output of a half-pruned layer.
#[test]
fn the_scale_stays() {
    let network = network(&GPU, KernelChoice::PLAIN);
    let layout = layout(&network, &TARGETS, 9);
    let state = random_state(&layout, 32);
    let adapter = |layout: &AdapterLayout, state: &AdapterState| Adapter {
        layers: layout
            .layers
            .iter()
            .zip(&state.layers)
            .map(|(spec, values)| LayerAdapter {
                name: spec.name.clone(),
                in_channels: spec.in_channels,
                out_channels: spec.out_channels,
                kernel: spec.kernel,
                lora_a: values.lora_a.clone(),
                lora_b: values.lora_b.clone(),
                log_alpha: Some(values.log_alpha.clone()),
                mixing: None,
                rank_ids: spec.rank_ids.clone(),
            })
            .collect(),
        head: Head {
            classes: layout.classes,
            features: layout.features,
            weight: state.head_weight.clone(),
            bias: state.head_bias.clone(),
            trained: true,
        },
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        class_balance: None,
        initial_rank: 9,
        lora_alpha: 16.0,
        backbone_sha256: String::new(),
        base_name: String::new(),
        resolution: SIZE,
        seed: 1,
        method: "bayeslora".into(),
        gates: GateDistribution::Gaussian,
    };
    assert_eq!(adapter(&layout, &state).scale(), SCALE);
    let kept = vec![vec![2, 5]; layout.layers.len()];
    let mut pruned = state.clone();
    pruned.keep(&layout, &kept);
    let pruned_layout = layout.keep(&network.resnet, &kept);
    let pruned = adapter(&pruned_layout, &pruned);
    assert_eq!(pruned.scale(), SCALE);
    // PEFT computes s from a layer's own alpha and rank: a file must give the same s back.
    let dir = tempfile::tempdir().unwrap();
    pruned.save_peft(dir.path()).unwrap();
    let read = Adapter::load_peft(dir.path()).unwrap();
    assert_eq!(read.scale(), SCALE);
    assert_eq!(read.layers, pruned.layers);
}

/// A layer of rank 0 is the frozen layer.
#[test]
fn rank_0_is_no_adapter() {
    for kernels in kernels() {
        let network = network(&GPU, kernels);
        let all = layout(&network, &TARGETS, 5);
        let state = random_state(&all, 33);
        // Every layer in turn loses its ranks, then all do.
        for emptied in 0..=all.layers.len() {
            let is_empty = |layer: usize| layer == emptied || emptied == all.layers.len();
            let layers = 0..all.layers.len();
            let kept: Vec<Vec<usize>> = layers
                .map(|layer| {
                    if is_empty(layer) {
                        vec![]
                    } else {
                        (0..5).collect()
                    }
                })
                .collect();
            let mut empty = state.clone();
            empty.keep(&all, &kept);
            let empty_layout = all.keep(&network.resnet, &kept);

            let stay = (0..all.layers.len()).filter(|layer| !is_empty(*layer));
            let convs: Vec<usize> = stay
                .clone()
                .filter_map(|layer| all.layers[layer].conv)
                .collect();
            let head = stay.clone().any(|layer| all.layers[layer].conv.is_none());
            let ids = vec![(0..5).collect::<Vec<u32>>(); stay.clone().count()];
            let frozen_layout = AdapterLayout::new(&network.resnet, &convs, head, CLASSES, &ids);
            let frozen = AdapterState {
                layers: stay.map(|layer| state.layers[layer].clone()).collect(),
                ..state.clone()
            };
            let with = logits(&network, &empty_layout, &empty, GateMode::PerExample);
            let without = logits(&network, &frozen_layout, &frozen, GateMode::PerExample);
            assert_eq!(bits(&with), bits(&without), "{kernels:?}, layer {emptied}");
        }
    }
}

/// A run on one device: network, parameters, the plan of a step.
struct Run {
    network: FrozenNetwork,
    trainable: Trainable,
    step: TrainStep,
}

impl Run {
    fn new(gpu: &Gpu, kernels: KernelChoice, state: &TrainableState) -> Self {
        let network = network(gpu, kernels);
        let trainable = Trainable::upload(gpu, state);
        let step = Self::plan(&network, &trainable);
        Self {
            network,
            trainable,
            step,
        }
    }

    fn plan(network: &FrozenNetwork, trainable: &Trainable) -> TrainStep {
        let spec = StepSpec {
            input: BatchInput::Images {
                side: SIDE,
                size: SIZE,
            },
            batch: ROWS,
            scale: SCALE,
            distribution: GateDistribution::Gaussian,
            prior: Some(Prior::Molchanov),
            kappa: &|layer| 0.01 * layer.params_per_rank() as f64,
            slots: 6,
            draw_gates: true,
            adam: Adam::default(),
        };
        TrainStep::new(network, trainable, &spec).unwrap()
    }

    /// Steps `range` of the run, the batch of each depending on its number.
    fn steps(&self, range: std::ops::Range<usize>) {
        for index in range {
            let mut images = images();
            images.rotate_left(index * 37);
            let views = std::array::from_fn::<_, ROWS, _>(|row| [0, 0, (row % 2) as i32, 0]);
            self.step.batch.write_images(&images, &views);
            let labels: Vec<u32> = (0..ROWS)
                .map(|row| ((row + index) % CLASSES) as u32)
                .collect();
            let examples: Vec<u32> = (0..ROWS).map(|row| (row * 5 + index) as u32).collect();
            let (correction1, correction2) = Adam::default().corrections(index as u64 + 1);
            let values = StepValues {
                seed: 99,
                purpose: Purpose::Train,
                draw: index as u32,
                gates: GateMode::PerExample,
                count: ROWS,
                slot: index,
                learning_rate: 1e-2,
                log_alpha_learning_rate: 5e-2,
                weight_decay: 0.01,
                correction1,
                correction2,
                kl_weight: 1e-2,
            };
            self.step.run(&labels, &examples, &values);
        }
    }

    /// Prunes in place: repacks, and makes the plan anew.
    fn prune(&mut self, kept: &[Vec<usize>]) {
        let gpu = self.network.gpu.clone();
        let mut state = self.trainable.read(&gpu).unwrap();
        state.keep(&self.network.resnet, kept);
        self.trainable = Trainable::upload(&gpu, &state);
        self.step = Self::plan(&self.network, &self.trainable);
    }

    fn read(&self) -> TrainableState {
        self.trainable.read(&self.network.gpu).unwrap()
    }
}

fn all_bits(state: &TrainableState) -> Vec<u32> {
    let parts = [&state.values, &state.first_moment, &state.second_moment];
    parts.iter().flat_map(|part| state_bits(part)).collect()
}

/// What a checkpoint holds: every tensor by name, rank ids as integers.
fn save(state: &TrainableState) -> Checkpoint {
    let layout = &state.layout;
    let mut file = TensorFile::default();
    let parts = [
        ("parameters", &state.values),
        ("first_moment", &state.first_moment),
        ("second_moment", &state.second_moment),
    ];
    for (part, values) in parts {
        for (spec, layer) in layout.layers.iter().zip(&values.layers) {
            let name = |field: &str| format!("{part}.{}.{field}", spec.name);
            let shape = [spec.rank(), spec.in_channels, spec.kernel, spec.kernel];
            file.insert(name("lora_A"), &shape, layer.lora_a.clone());
            file.insert(
                name("lora_B"),
                &[spec.out_channels, spec.rank()],
                layer.lora_b.clone(),
            );
            file.insert(name("log_alpha"), &[spec.rank()], layer.log_alpha.clone());
        }
        let shape = [layout.classes, layout.features];
        file.insert(
            format!("{part}.head.weight"),
            &shape,
            values.head_weight.clone(),
        );
        file.insert(
            format!("{part}.head.bias"),
            &[layout.classes],
            values.head_bias.clone(),
        );
    }
    for spec in &layout.layers {
        file.insert_u32s(format!("rank_ids.{}", spec.name), &spec.rank_ids);
    }
    Checkpoint {
        step: 3,
        seed: 99,
        tensors: file,
        ..Checkpoint::default()
    }
}

/// The state of a checkpoint; `first` is the layout before any pruning.
fn restore(
    network: &FrozenNetwork,
    first: &AdapterLayout,
    checkpoint: &Checkpoint,
) -> TrainableState {
    let file = &checkpoint.tensors;
    let ids = |name: &str| file.u32s(&format!("rank_ids.{name}")).unwrap();
    let ids: Vec<Vec<u32>> = first.layers.iter().map(|layer| ids(&layer.name)).collect();
    let convs: Vec<usize> = first.layers.iter().filter_map(|layer| layer.conv).collect();
    let layout = AdapterLayout::new(
        &network.resnet,
        &convs,
        first.of_head().is_some(),
        CLASSES,
        &ids,
    );
    let part = |part: &str| {
        let data = |name: String| file.tensors[&format!("{part}.{name}")].data.clone();
        AdapterState {
            layers: layout
                .layers
                .iter()
                .map(|layer| LayerState {
                    lora_a: data(format!("{}.lora_A", layer.name)),
                    lora_b: data(format!("{}.lora_B", layer.name)),
                    log_alpha: data(format!("{}.log_alpha", layer.name)),
                })
                .collect(),
            head_weight: data("head.weight".into()),
            head_bias: data("head.bias".into()),
        }
    };
    let [values, first_moment, second_moment] =
        ["parameters", "first_moment", "second_moment"].map(part);
    TrainableState {
        layout,
        values,
        first_moment,
        second_moment,
    }
}

/// Layers keep 4 of 9, 8 of 9, none, ...: quads of ranks empty, shrink and stay.
fn kept(layout: &AdapterLayout) -> Vec<Vec<usize>> {
    let patterns = [
        vec![0, 3, 4, 8],
        (1..9).collect(),
        vec![],
        (0..9).collect(),
        vec![7],
    ];
    (0..layout.layers.len())
        .map(|layer| patterns[layer % patterns.len()].clone())
        .collect()
}

/// The moments of a kept rank are those it had: sliced here by hand, by their meaning.
#[test]
fn moments_follow_their_ranks() {
    let gpu = &*GPU;
    let kernels = KernelChoice::for_gpu(gpu);
    let layout = layout(&network(gpu, kernels), &TARGETS, 9);
    let state = TrainableState::new(layout.clone(), random_state(&layout, 34));
    let mut run = Run::new(gpu, kernels, &state);
    run.steps(0..3);
    let before = run.read();
    let kept = kept(&layout);
    run.prune(&kept);
    let after = run.read();
    for (before, after) in [
        (&before.values, &after.values),
        (&before.first_moment, &after.first_moment),
        (&before.second_moment, &after.second_moment),
    ] {
        assert_eq!(bits(&before.head_weight), bits(&after.head_weight));
        assert_eq!(bits(&before.head_bias), bits(&after.head_bias));
        for (number, spec) in layout.layers.iter().enumerate() {
            let (old, new) = (&before.layers[number], &after.layers[number]);
            assert_eq!(new.log_alpha.len(), kept[number].len());
            let inputs = spec.in_channels * spec.taps();
            for (now, then) in kept[number].iter().enumerate() {
                let row = |a: &[f32], i: usize| bits(&a[i * inputs..][..inputs]);
                assert_eq!(
                    row(&old.lora_a, *then),
                    row(&new.lora_a, now),
                    "{}",
                    spec.name
                );
                for o in 0..spec.out_channels {
                    let (old_b, new_b) = (
                        old.lora_b[o * 9 + then],
                        new.lora_b[o * kept[number].len() + now],
                    );
                    assert_eq!(old_b.to_bits(), new_b.to_bits(), "{}", spec.name);
                }
                assert_eq!(old.log_alpha[*then].to_bits(), new.log_alpha[now].to_bits());
                // Three steps leave no moment of a rank at zero.
                assert!(before.layers[number].log_alpha[*then] != 0.0);
            }
        }
    }
}

/// Three steps, a prune, three steps; or the same with a checkpoint after the prune, read back on
/// another device into new buffers and plans.
#[test]
fn a_run_resumes_bit_for_bit_after_a_prune() {
    let gpu = &*GPU;
    for kernels in kernels() {
        let first = layout(&network(gpu, kernels), &TARGETS, 9);
        let start = TrainableState::new(first.clone(), random_state(&first, 35));
        let kept = kept(&first);

        let mut whole = Run::new(gpu, kernels, &start);
        whole.steps(0..3);
        whole.prune(&kept);
        whole.steps(3..6);
        let expected = whole.read();
        let statistics = whole.step.statistics(6).unwrap();

        let mut stopped = Run::new(gpu, kernels, &start);
        stopped.steps(0..3);
        stopped.prune(&kept);
        let state = stopped.read();
        let dir = tempfile::tempdir().unwrap();
        let nothing = |_: &RunDir| Ok::<_, FormatError>(());
        let dir = RunDir::create(dir.path().join("run"), "", nothing).unwrap();
        dir.write_checkpoint(&save(&state)).unwrap();
        drop(stopped);

        let other = common::gpu(GpuOptions {
            poison: true,
            ..Default::default()
        });
        let (checkpoint, _) = dir.read_checkpoint().unwrap();
        let restored = restore(&network(&other, kernels), &first, &checkpoint);
        assert_eq!(restored.layout, state.layout);
        assert_eq!(all_bits(&restored), all_bits(&state));
        let resumed = Run::new(&other, kernels, &restored);
        resumed.steps(3..6);
        assert_eq!(
            all_bits(&resumed.read()),
            all_bits(&expected),
            "{kernels:?}"
        );
        // The losses and KL of these steps too.
        assert_eq!(resumed.step.statistics(6).unwrap()[3..], statistics[3..]);
        assert!(statistics[3..].iter().all(|step| step[3] == ROWS as f32));
        assert_ne!(
            all_bits(&expected),
            all_bits(&state),
            "three steps move the parameters"
        );
        assert!(
            all_bits(&expected)
                .iter()
                .all(|v| f32::from_bits(*v).is_finite())
        );
    }
}
