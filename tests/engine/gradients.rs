//! The whole of a small network on the GPU against its f64 twin: every gradient, for adapters on many
//! sets of layers; against finite differences of the GPU's own loss; and samples that share a forward.

use std::sync::LazyLock;

use bayeslora::low_level::formats::{self, Architecture, GateDistribution};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{
    self, AdapterLayout, AdapterSlots, AdapterState, Backbone, BackboneBits, BatchInput, Cut,
    FrozenNetwork, GateMode, Graph, KernelChoice, Prior, Purpose, StepValues,
};
use bayeslora::low_level::train::kl::KlPrior;
use bayeslora::low_level::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState};

use crate::common;
use crate::common::relative_error;
use crate::reference::adapter::Adapter;
use crate::reference::head::cross_entropy;
use crate::reference::int8::rounded;
use crate::reference::resize::{self, Augmentation};
use crate::reference::resnet::{Named, ResNet, Stem};
use crate::reference::tensor::Tensor as Twin;
use crate::small::{backbone, weights};

const CLASSES: usize = 5;
const SCALE: f32 = 1.5;

/// Twenty to forty layers forward and back, each erring by a few 1e-7 of its largest element; the error of
/// the logits, in units and not relative, is what the softmax passes on to every gradient.
const GRADIENTS: f64 = 1e-5;

static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    })
});

/// Which layers are adapted, and the ranks that they get by turns.
#[derive(Clone, Copy)]
struct Targets {
    name: &'static str,
    patterns: &'static [&'static str],
    ranks: &'static [usize],
}

const TARGETS: &[Targets] = &[
    Targets {
        name: "every convolution",
        patterns: &["conv1", "layer1", "layer2", "layer3", "layer4"],
        ranks: &[3, 1, 5, 2],
    },
    Targets {
        name: "everything, a third of it emptied by a prune",
        patterns: &["*"],
        ranks: &[2, 0, 9],
    },
    Targets {
        name: "everything, the stem emptied by a prune",
        patterns: &["*"],
        ranks: &[0, 3, 0, 1],
    },
    Targets {
        name: "layer4",
        patterns: &["layer4"],
        ranks: &[4, 12, 1, 8, 3],
    },
    Targets {
        name: "layer3 and layer4, the first block emptied",
        patterns: &["layer3", "layer4"],
        ranks: &[0, 0, 0, 3, 5, 0, 2, 1, 4, 8],
    },
    Targets {
        name: "second convolutions",
        patterns: &["*.conv2"],
        ranks: &[5, 3],
    },
    Targets {
        name: "first convolutions of layer2",
        patterns: &["layer2.*.conv1"],
        ranks: &[5, 3],
    },
    Targets {
        name: "downsampling",
        patterns: &["*.downsample.0"],
        ranks: &[3, 8],
    },
    Targets {
        name: "fc",
        patterns: &["fc"],
        ranks: &[5],
    },
    Targets {
        name: "fc, emptied",
        patterns: &["fc"],
        ranks: &[0],
    },
    Targets {
        name: "fc and layer4",
        patterns: &["fc", "layer4"],
        ranks: &[3, 2, 8, 1, 4, 5],
    },
];

struct Setting {
    backbone: Backbone,
    layout: AdapterLayout,
    cut: Cut,
    state: AdapterState,
}

impl Setting {
    fn new(weights: &Named<Twin>, targets: Targets) -> Self {
        Self::over(backbone(weights), targets)
    }

    fn over(backbone: Backbone, targets: Targets) -> Self {
        let resnet = &backbone.resnet;
        let patterns: Vec<String> = targets.patterns.iter().map(|p| (*p).to_owned()).collect();
        let (convs, head) = resnet.select(&patterns).unwrap();
        let ids: Vec<Vec<u32>> = (0..convs.len() + usize::from(head))
            .zip(targets.ranks.iter().cycle())
            // Numbers with holes, as after a prune.
            .map(|(_, rank)| (0..*rank as u32).map(|i| 3 * i + 1).collect())
            .collect();
        let layout = AdapterLayout::new(resnet, &convs, head, CLASSES, &ids);
        let random = Twin::random(&[layout.len], 7).map(|value| 0.1 * value);
        let mut state = layout.unpack(&random.to_f32());
        for layer in &mut state.layers {
            layer
                .log_alpha
                .iter_mut()
                .for_each(|t| *t = 20.0 * *t - 2.0);
        }
        // Logits of some units: a saturated softmax would multiply every error.
        state.head_weight.iter_mut().for_each(|w| *w *= 0.1);
        Self {
            cut: resnet.cut(&convs),
            backbone,
            layout,
            state,
        }
    }

    fn stem(&self) -> Stem {
        match self.backbone.resnet.stem {
            formats::Stem::ImageNet => Stem::ImageNet,
            formats::Stem::Cifar => Stem::Cifar,
        }
    }

    /// The twin's adapters, by name; without ranks there is none.
    fn adapters(&self) -> Named<Adapter> {
        let layers = self.layout.layers.iter().zip(&self.state.layers);
        layers
            .filter(|(layer, _)| layer.rank() > 0)
            .map(|(layer, values)| {
                let (rank, k) = (layer.rank(), layer.kernel);
                let adapter = Adapter {
                    a: Twin::from_f32(&[rank, layer.in_channels, k, k], &values.lora_a),
                    b: Twin::from_f32(&[layer.out_channels, rank], &values.lora_b),
                    scale: f64::from(SCALE),
                };
                (layer.name.clone(), adapter)
            })
            .collect()
    }

    /// Random gates `[rows, rank]` of every layer.
    fn gates(&self, rows: usize, seed: u64) -> Vec<Twin> {
        let layers = self.layout.layers.iter().enumerate();
        layers
            .map(|(i, layer)| {
                let noise = Twin::random(&[rows, layer.rank()], seed + i as u64);
                noise.map(|value| f64::from((1.0 + 0.8 * value) as f32))
            })
            .collect()
    }

    /// As the gate buffer holds them.
    fn packed(&self, rows: usize, gates: &[Twin]) -> Vec<f32> {
        let (_, starts, len) = self.layout.rank_table(rows, |_| 0.0);
        let mut packed = vec![0.0; len.max(4)];
        for (z, start) in gates.iter().zip(starts) {
            let [rows, rank] = z.dims2();
            for (i, value) in z.to_f32().into_iter().enumerate() {
                packed[start + i / rank * rank.next_multiple_of(4) + i % rank] = value;
            }
            assert_eq!(rows * rank, z.data.len());
        }
        packed
    }
}

/// A batch whose last row is not real.
struct Batch {
    side: usize,
    rows: usize,
    count: usize,
    planar: Vec<u8>,
    labels: Vec<usize>,
}

impl Batch {
    fn new(stem: Stem) -> Self {
        // The last map is 2x2 and, under the stem with the pool, 1x1.
        let side = match stem {
            Stem::ImageNet => 32,
            Stem::Cifar => 16,
        };
        let rows = 6;
        let noise = Twin::random(&[rows * 3 * side * side], 3);
        Self {
            side,
            rows,
            count: 5,
            planar: noise
                .data
                .iter()
                .map(|value| (127.9 * (value + 1.0)) as u8)
                .collect(),
            labels: (0..rows).map(|row| row * 3 % CLASSES).collect(),
        }
    }

    fn twin(&self) -> Twin {
        let shape = [self.rows, 3, self.side, self.side];
        let views = vec![Augmentation::NONE; self.rows];
        resize::prepare(&self.planar, shape, &views, [self.side; 2])
    }

    fn upload(&self, step: &TrainStep) {
        let plane = self.side * self.side;
        let pixel = |i: usize| self.planar[(i / (3 * plane) * 3 + i % 3) * plane + i / 3 % plane];
        let pixels: Vec<u8> = (0..self.planar.len()).map(pixel).collect();
        step.batch.write_images(&pixels, &vec![[0; 4]; self.rows]);
    }

    fn run(&self, step: &TrainStep, kl_weight: f32) {
        let labels: Vec<u32> = self.labels.iter().map(|label| *label as u32).collect();
        let examples: Vec<u32> = (0..self.rows as u32).map(|row| 1000 + row).collect();
        let values = StepValues {
            purpose: Purpose::Train,
            count: self.count,
            kl_weight,
            ..StepValues::prediction(5, 11, GateMode::PerExample)
        };
        step.run(&labels, &examples, &values);
    }
}

fn train_step(
    network: &FrozenNetwork,
    trainable: &Trainable,
    batch: &Batch,
    draw_gates: bool,
) -> TrainStep {
    let spec = StepSpec {
        input: BatchInput::Images {
            side: batch.side,
            size: batch.side,
        },
        batch: batch.rows,
        scale: SCALE,
        distribution: GateDistribution::Gaussian,
        prior: Some(Prior::Molchanov),
        kappa: &|layer| layer.params_per_rank() as f64,
        slots: 1,
        draw_gates,
        adam: Adam::default(),
    };
    let step = TrainStep::new(network, trainable, &spec).unwrap();
    batch.upload(&step);
    step
}

#[test]
fn gradients_are_the_twins() {
    let kl_weight = 0.01f32;
    let mut failures = Vec::new();
    let full = BackboneBits::F32;
    for (architecture, stem, targets, bits) in [
        (Architecture::ResNet18, Stem::Cifar, TARGETS, full),
        (Architecture::ResNet18, Stem::ImageNet, TARGETS, full),
        // Every convolution of it.
        (Architecture::ResNet34, Stem::ImageNet, &TARGETS[..1], full),
        // And over weights of 8 bits.
        (
            Architecture::ResNet18,
            Stem::Cifar,
            &TARGETS[..2],
            BackboneBits::Int8,
        ),
        (
            Architecture::ResNet18,
            Stem::ImageNet,
            &TARGETS[..4],
            BackboneBits::Int8,
        ),
    ] {
        let mut weights = weights(architecture, stem);
        let frozen = backbone(&weights).in_bits(bits);
        if !bits.is_full() {
            let convs = weights
                .values_mut()
                .filter(|weight| weight.shape.len() == 4);
            convs.for_each(|weight| *weight = rounded(weight));
        }
        let batch = Batch::new(stem);
        let images = batch.twin();
        for targets in targets {
            weights.retain(|name, _| !name.starts_with("fc."));
            let setting = Setting::over(frozen.clone(), *targets);
            assert_eq!(setting.stem(), stem);
            let Setting { layout, state, .. } = &setting;
            let z = setting.gates(batch.rows, 50);

            let features = layout.features;
            let head = Twin::from_f32(&[CLASSES, features], &state.head_weight);
            weights.insert("fc.weight".into(), head);
            let bias = Twin::from_f32(&[CLASSES], &state.head_bias);
            weights.insert("fc.bias".into(), bias);
            let adapters = setting.adapters();
            let net = ResNet {
                weights: &weights,
                stem,
                adapters: &adapters,
            };
            let names = layout.layers.iter().map(|layer| layer.name.clone());
            let gates: Named<Twin> = names.zip(z.iter().cloned()).collect();
            let trace = net.forward(&images, &gates);
            let real = batch.count * CLASSES;
            let logits = Twin::new(
                &[batch.count, CLASSES],
                trace.logits().data[..real].to_vec(),
            );
            let (loss, gradient) = cross_entropy(&logits, &batch.labels[..batch.count]);
            let dlogits = Twin::from_fn(&[batch.rows, CLASSES], |i| {
                gradient.data.get(i).copied().unwrap_or(0.0)
            });
            let expected = net.backward(&trace, &gates, &dlogits);

            for kernels in common::kernel_choices(&GPU) {
                let network = FrozenNetwork::new(&GPU, kernels, &setting.backbone);
                let fresh = TrainableState::new(layout.clone(), state.clone());
                let trainable = Trainable::upload(&GPU, &fresh);
                let step = train_step(&network, &trainable, &batch, false);
                let packed = setting.packed(batch.rows, &z);
                GPU.queue()
                    .write_buffer(&step.gates, 0, bytemuck::cast_slice(&packed));
                batch.run(&step, kl_weight);
                let found = trainable.read_gradients(&GPU).unwrap();
                assert!(step.plan().guards_are_whole().unwrap(), "a guard is broken");

                let mut worst = (0f64, String::new());
                let mut check = |name: String, expected: &[f64], found: &[f32]| {
                    let twin = Twin::new(&[expected.len()], expected.to_vec());
                    let error = twin.relative_error(found);
                    if error > GRADIENTS {
                        failures.push(format!(
                            "{}, {bits} bits: {name}: {error:.1e}",
                            targets.name
                        ));
                    }
                    if error > worst.0 {
                        worst = (error, name);
                    }
                };
                let [total, _, _, count] = step.statistics(1).unwrap()[0];
                check("loss".into(), &[loss], &[total / count]);
                check(
                    "head weight".into(),
                    &expected.head_weight.data,
                    &found.head_weight,
                );
                check(
                    "head bias".into(),
                    &expected.head_bias.data,
                    &found.head_bias,
                );
                let layers = layout.layers.iter().zip(&found.layers).zip(&state.layers);
                for ((layer, found), state) in layers.filter(|((l, _), _)| l.rank() > 0) {
                    let name = |part: &str| format!("{} {part}", layer.name);
                    let expected = &expected.adapters[&layer.name];
                    check(name("A"), &expected.da.data, &found.lora_a);
                    check(name("B"), &expected.db.data, &found.lora_b);
                    let kappa = f64::from(kl_weight) * layer.params_per_rank() as f64;
                    let slope = |t: &f32| kappa * KlPrior::Molchanov.gradient(f64::from(*t));
                    let dt = expected.dt.iter().zip(&state.log_alpha);
                    let dt: Vec<f64> = dt.map(|(dt, t)| dt + slope(t)).collect();
                    check(name("log alpha"), &dt, &found.log_alpha);
                }
                println!(
                    "{stem:?}, {bits} bits, {}, {:?}: {:.1e} at {}",
                    targets.name, kernels.conv, worst.0, worst.1
                );
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The GPU's own loss along a random direction through all parameters, log alpha among them: its
/// central difference is the gradients' projection. This rests on nothing of the twin's.
#[test]
fn gradients_are_the_slope_of_the_loss() {
    // Losses round to 2e-7 of some units, so steps must not be tiny; within them ReLUs switch, and the
    // softmax bends.
    const STEP: f32 = 1.0 / 4096.0;
    const TOLERANCE: f64 = 0.01;
    for stem in [Stem::Cifar, Stem::ImageNet] {
        let weights = weights(Architecture::ResNet18, stem);
        let batch = Batch::new(stem);
        for targets in TARGETS {
            let setting = Setting::new(&weights, *targets);
            let Setting { layout, state, .. } = &setting;
            let kernels = KernelChoice::for_gpu(&GPU);
            let network = FrozenNetwork::new(&GPU, kernels, &setting.backbone);
            let fresh = TrainableState::new(layout.clone(), state.clone());
            let trainable = Trainable::upload(&GPU, &fresh);
            let step = train_step(&network, &trainable, &batch, true);
            let values = layout.pack(state);
            let loss_at = |values: &[f32]| {
                GPU.queue()
                    .write_buffer(&trainable.values, 0, bytemuck::cast_slice(values));
                batch.run(&step, 0.0);
                let [total, _, _, count] = step.statistics(1).unwrap()[0];
                f64::from(total) / f64::from(count)
            };
            let loss = loss_at(&values);
            let gradient = layout.pack(&trainable.read_gradients(&GPU).unwrap());
            // Along the gradient's signs, so that terms do not cancel.
            let noise = Twin::random(&[layout.len], 70).to_f32();
            let signs = noise
                .iter()
                .zip(&gradient)
                .map(|(d, g)| d.abs() * g.signum());
            let direction: Vec<f32> = signs.collect();
            let moved = |by: f32| -> Vec<f32> {
                let pairs = values.iter().zip(&direction);
                pairs.map(|(value, d)| value + by * d).collect()
            };
            let products = gradient.iter().zip(&direction);
            let expected: f64 = products.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let norm = direction
                .iter()
                .map(|d| f64::from(*d).powi(2))
                .sum::<f64>()
                .sqrt();
            let size = STEP * (8.0 / norm).min(1.0) as f32;
            let found = (loss_at(&moved(size)) - loss_at(&moved(-size))) / (2.0 * f64::from(size));
            let error = (found / expected - 1.0).abs();
            println!(
                "{stem:?}, {}: loss {loss:.3}, slope {expected:.4}, off by {error:.1e}",
                targets.name
            );
            assert!(
                error < TOLERANCE,
                "{}: {found} for {expected}",
                targets.name
            );
        }
    }
}

/// `[rows, classes]` without padding.
fn logits(values: &[f32]) -> Vec<f32> {
    let width = CLASSES.next_multiple_of(4);
    values
        .chunks(width)
        .flat_map(|row| row[..CLASSES].to_vec())
        .collect()
}

/// Three samples in one forward give the bits of three forwards.
#[test]
fn samples_share_a_forward() {
    const SAMPLES: usize = 3;
    let rows = 3;
    for stem in [Stem::Cifar, Stem::ImageNet] {
        let weights = weights(Architecture::ResNet18, stem);
        for targets in TARGETS {
            let setting = Setting::new(&weights, *targets);
            let Setting { layout, cut, .. } = &setting;
            let map = setting.backbone.resnet.cut_map(*cut, Batch::new(stem).side);
            let mut features =
                Twin::random(&[rows * map.positions(), map.quads() * 4], 60).to_f32();
            for (i, value) in features.iter_mut().enumerate() {
                let padding = i % (map.quads() * 4) >= map.channels;
                *value = if padding { 0.0 } else { value.max(0.0) };
            }
            let samples: Vec<Vec<Twin>> = (0..SAMPLES)
                .map(|sample| setting.gates(rows, 500 + 50 * sample as u64))
                .collect();
            let together: Vec<Twin> = (0..layout.layers.len())
                .map(|layer| {
                    let rank = layout.layers[layer].rank();
                    Twin::from_fn(&[rows * SAMPLES, rank], |at| {
                        let (row, i) = (at / rank, at % rank);
                        samples[row % SAMPLES][layer].at(&[row / SAMPLES, i])
                    })
                })
                .collect();
            for kernels in common::kernel_choices(&GPU) {
                let network = FrozenNetwork::new(&GPU, kernels, &setting.backbone);
                let forward = |rows_out: usize, gates: &[Twin]| {
                    let parameters = GPU.storage_with("parameters", &layout.pack(&setting.state));
                    let gates = GPU.storage_with("gates", &setting.packed(rows_out, gates));
                    let (_, starts, _) = layout.rank_table(rows_out, |_| 0.0);
                    let mut graph = Graph::new(&GPU, kernels);
                    let slots = AdapterSlots::new(
                        &mut graph,
                        layout,
                        SCALE,
                        &parameters,
                        &gates,
                        &starts,
                        rows_out,
                    );
                    let x = graph.constant("test input", map, rows, &features);
                    let out =
                        model::forward(&mut graph, &network, *cut, layout, &slots, x, rows_out);
                    graph.builder.keep(out.logits.slot);
                    let plan = graph.builder.build().unwrap();
                    plan.run();
                    assert!(plan.guards_are_whole().unwrap(), "a guard is broken");
                    assert_eq!(
                        out.logits.rows, rows_out,
                        "{}: rows of logits",
                        targets.name
                    );
                    logits(&plan.read(out.logits.slot).unwrap())
                };
                let found = forward(rows * SAMPLES, &together);
                let mut expected = vec![0.0; found.len()];
                for (sample, gates) in samples.iter().enumerate() {
                    for (i, value) in forward(rows, gates).into_iter().enumerate() {
                        let (row, class) = (i / CLASSES, i % CLASSES);
                        expected[(row * SAMPLES + sample) * CLASSES + class] = value;
                    }
                }
                let error = relative_error(&expected, &found);
                println!(
                    "{stem:?}, {}, {:?}: {error:.1e}",
                    targets.name, kernels.conv
                );
                assert_eq!(expected, found, "{}", targets.name);
            }
        }
    }
}
