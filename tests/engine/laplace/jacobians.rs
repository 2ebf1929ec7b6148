//! The engine's half, on a network of few channels.

use std::sync::LazyLock;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Architecture, GateDistribution};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{
    AdapterLayout, AdapterState, Backbone, FrozenNetwork, KernelChoice,
};
use bayeslora::low_level::predict::laplace::{
    Laplace, LaplaceConfig, LaplaceError, LaplaceStructure, Link, Point, PriorPrecision, Wanted,
    blocks, for_each, gather,
};
use bayeslora::low_level::predict::{GateFactors, Labels, Predictor, Samples, Source};
use faer::Mat;

use super::dense::Dense;
use crate::common;
use crate::reference::adapter::Adapter;
use crate::reference::gates::{Purpose, SHARED_EXAMPLE, Stream};
use crate::reference::resize::{self, Augmentation};
use crate::reference::resnet::{Named, ResNet, Stem};
use crate::reference::tensor::Tensor as Twin;
use crate::small::{backbone, weights};

const CLASSES: usize = 3;
const SCALE: f32 = 1.5;
const SIDE: usize = 16;
const IMAGES: usize = 5;

/// As for the gradients of the training step.
const TOLERANCE: f64 = 1e-5;

static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    })
});

struct Setting {
    weights: Named<Twin>,
    backbone: Backbone,
    layout: AdapterLayout,
    state: AdapterState,
}

impl Setting {
    fn new(targets: &[&str], ranks: &[usize]) -> Self {
        let mut weights = weights(Architecture::ResNet18, Stem::Cifar);
        let backbone = backbone(&weights);
        let targets: Vec<String> = targets.iter().map(|t| (*t).to_owned()).collect();
        let (convs, head) = backbone.resnet.select(&targets).unwrap();
        let count = convs.len() + usize::from(head);
        let ids: Vec<Vec<u32>> = (0..count)
            .zip(ranks.iter().cycle())
            .map(|(_, rank)| (0..*rank as u32).collect())
            .collect();
        let layout = AdapterLayout::new(&backbone.resnet, &convs, head, CLASSES, &ids);
        let random = Twin::random(&[layout.len], 7).map(|value| 0.1 * value);
        let state = layout.unpack(&random.to_f32());
        let head = Twin::from_f32(&[CLASSES, layout.features], &state.head_weight);
        weights.insert("fc.weight".into(), head);
        let bias = Twin::from_f32(&[CLASSES], &state.head_bias);
        weights.insert("fc.bias".into(), bias);
        Self {
            weights,
            backbone,
            layout,
            state,
        }
    }

    fn predictor(&self, packed: &[f32]) -> Predictor {
        let kernels = KernelChoice::for_gpu(&GPU);
        let network = FrozenNetwork::new(&GPU, kernels, &self.backbone);
        Predictor::over(
            network.into(),
            self.layout.clone(),
            GPU.storage_with("parameters", packed),
            SCALE,
            Some(GateDistribution::Gaussian),
            SIDE,
        )
    }

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
}

fn planar() -> Vec<u8> {
    let noise = Twin::random(&[IMAGES * 3 * SIDE * SIDE], 3);
    noise
        .data
        .iter()
        .map(|value| (127.9 * (value + 1.0)) as u8)
        .collect()
}

fn source() -> Source {
    let (planar, plane) = (planar(), SIDE * SIDE);
    let pixel = |i: usize| planar[(i / (3 * plane) * 3 + i % 3) * plane + i / 3 % plane];
    let pixels = (0..planar.len()).map(pixel).collect();
    let labels = (0..IMAGES as u32).map(|n| n % CLASSES as u32).collect();
    let classes = ["a", "b", "c"].map(str::to_owned).as_slice().into();
    Source::images(Dataset::new(SIDE, pixels, labels, classes), SIDE)
}

fn points(predictor: &Predictor, indices: &[usize], wanted: Wanted) -> Vec<Point> {
    let mut all = Vec::new();
    let mut each = |first: usize, points: Vec<Point>| {
        assert_eq!(first, all.len());
        all.extend(points);
        Ok(())
    };
    for_each(predictor, &source(), indices, wanted, &mut each).unwrap();
    all
}

/// Every kind of Jacobian of every image, the head's adapter and an emptied layer among them.
#[test]
fn jacobians_are_the_twins() {
    let settings = [
        Setting::new(&["layer3", "layer4"], &[3, 5, 0, 2]),
        Setting::new(&["*"], &[2, 1, 3]),
    ];
    for setting in &settings {
        let Setting { layout, state, .. } = setting;
        let predictor = setting.predictor(&layout.pack(state));
        let all: Vec<usize> = (0..IMAGES).rev().collect();
        let [features, gates, adapters] = [Wanted::Features, Wanted::Gates, Wanted::Adapters]
            .map(|wanted| points(&predictor, &all, wanted));
        let twins = setting.adapters();
        let net = ResNet {
            weights: &setting.weights,
            stem: Stem::Cifar,
            adapters: &twins,
        };
        let image = 3 * SIDE * SIDE;
        for (place, index) in all.iter().enumerate() {
            let pixels = &planar()[index * image..][..image];
            let shape = [1, 3, SIDE, SIDE];
            let input = resize::prepare(pixels, shape, &[Augmentation::NONE], [SIDE; 2]);
            let layers = || layout.layers.iter().filter(|layer| layer.rank() > 0);
            let ones = layers().map(|layer| {
                (
                    layer.name.clone(),
                    Twin::from_fn(&[1, layer.rank()], |_| 1.0),
                )
            });
            let ones: Named<Twin> = ones.collect();
            let trace = net.forward(&input, &ones);
            let (mut dz, mut dtheta) = (Vec::new(), Vec::new());
            for class in 0..CLASSES {
                let unit = Twin::from_fn(&[1, CLASSES], |c| f64::from(u8::from(c == class)));
                let found = net.backward(&trace, &ones, &unit);
                for layer in layers() {
                    let gradients = &found.adapters[&layer.name];
                    dz.extend(&gradients.dz.data);
                    // [rank, in, k, k] to [rank, tap, in], and [out, rank] to [rank, out].
                    let (taps, inputs) = (layer.taps(), layer.in_channels);
                    dtheta.extend((0..layer.rank() * taps * inputs).map(|i| {
                        let (rank, tap, c) = (i / (taps * inputs), i / inputs % taps, i % inputs);
                        gradients.da.data[(rank * inputs + c) * taps + tap]
                    }));
                    dtheta.extend((0..layer.rank() * layer.out_channels).map(|i| {
                        let (rank, o) = (i / layer.out_channels, i % layer.out_channels);
                        gradients.db.data[o * layer.rank() + rank]
                    }));
                }
            }
            let mut phi = trace.outputs["pooled"].data.clone();
            phi.push(1.0);
            for (found, expected) in [(&features, &phi), (&gates, &dz), (&adapters, &dtheta)] {
                let expected = Twin::new(&[expected.len()], expected.clone());
                let error = expected.relative_error(&found[place].jacobian);
                assert!(error < TOLERANCE, "{error:.1e} of {}", expected.data.len());
                let logits = &trace.logits().data;
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                for (log, logit) in found[place].log_probs.iter().zip(logits) {
                    // Absolute, not relative to the largest logit; software adapters convolve in tiles of 4x4 outputs, which round up
                    // to three times as much as direct sums (docs/performance.md).
                    let error = (log - (logit - total.ln())).abs();
                    assert!(error < 3.0 * TOLERANCE, "{error:.1e}");
                }
            }
        }
    }
}

/// Second moments of h and q, and the gradients of gates in a basis of their own, with the images' labels: against the
/// twin's maps multiplied out in f64.
#[test]
fn gate_factors_are_the_twins() {
    let settings = [
        Setting::new(&["layer3", "layer4"], &[3, 5, 0, 2]),
        Setting::new(&["*"], &[2, 1, 3]),
    ];
    for setting in &settings {
        let layout = &setting.layout;
        let predictor = setting.predictor(&layout.pack(&setting.state));
        let source = source();
        let found =
            GateFactors::gather(&predictor, &source, 99, Labels::Given, &mut |_| ()).unwrap();
        assert_eq!(found.images, IMAGES);
        let twins = setting.adapters();
        let net = ResNet {
            weights: &setting.weights,
            stem: Stem::Cifar,
            adapters: &twins,
        };
        let input = resize::prepare(
            &planar(),
            [IMAGES, 3, SIDE, SIDE],
            &[Augmentation::NONE; IMAGES],
            [SIDE; 2],
        );
        let ones = twins.iter().map(|(name, adapter)| {
            let shape = [IMAGES, adapter.rank()];
            (name.clone(), Twin::from_fn(&shape, |_| 1.0))
        });
        let ones: Named<Twin> = ones.collect();
        let trace = net.forward(&input, &ones);
        // d NLL / d logits of every image.
        let dlogits = Twin::from_fn(&[IMAGES, CLASSES], |i| {
            let (image, class) = (i / CLASSES, i % CLASSES);
            let row = &trace.logits().data[image * CLASSES..][..CLASSES];
            let total: f64 = row.iter().map(|logit| logit.exp()).sum();
            let hit = source.dataset.labels[image] as usize == class;
            row[class].exp() / total - f64::from(u8::from(hit))
        });
        let gradients = net.backward(&trace, &ones, &dlogits);
        for (layer, factors) in layout.layers.iter().zip(&found.layers) {
            let r = layer.rank();
            if r == 0 {
                assert_eq!(factors.moments_h.nrows(), 0);
                continue;
            }
            let (h, q) = (
                trace.h(&layer.name).unwrap(),
                &gradients.adapters[&layer.name].q,
            );
            let positions = h.data.len() / (IMAGES * r);
            let at = |of: &Twin, image: usize, rank: usize, p: usize| {
                of.data[(image * r + rank) * positions + p]
            };
            let moment = |of: &Twin, i: usize, j: usize, over: usize| -> f64 {
                let all = (0..IMAGES).flat_map(|n| (0..positions).map(move |p| (n, p)));
                let sum: f64 = all.map(|(n, p)| at(of, n, i, p) * at(of, n, j, p)).sum();
                sum / over as f64
            };
            let compare = |found: Vec<f64>, expected: Vec<f64>, what: &str| {
                let found: Vec<f32> = found.into_iter().map(|value| value as f32).collect();
                let expected = Twin::new(&[expected.len()], expected);
                let error = expected.relative_error(&found);
                assert!(error < TOLERANCE, "{}: {what}: {error:.1e}", layer.name);
            };
            let pairs = || (0..r).flat_map(|i| (0..r).map(move |j| (i, j)));
            compare(
                pairs().map(|at| factors.moments_h[at]).collect(),
                pairs()
                    .map(|(i, j)| moment(h, i, j, IMAGES * positions))
                    .collect(),
                "E[h h']",
            );
            compare(
                pairs().map(|at| factors.moments_q[at]).collect(),
                pairs().map(|(i, j)| moment(q, i, j, IMAGES)).collect(),
                "E[q q']",
            );
            // Two ranks of some other basis: no inverse is needed for what the algebra says.
            let left = Mat::from_fn(2, r, |i, j| 0.3 + i as f64 - 0.7 * j as f64);
            let right = Mat::from_fn(r, 2, |i, j| 1.1 - 0.4 * i as f64 + j as f64);
            let turned = factors.gradients(left.as_ref(), right.as_ref());
            let expected = (0..IMAGES).flat_map(|n| (0..2).map(move |k| (n, k)));
            let expected = expected.map(|(n, k)| -> f64 {
                let of = |p: usize| {
                    let turned_q: f64 = (0..r).map(|i| right[(i, k)] * at(q, n, i, p)).sum();
                    let turned_h: f64 = (0..r).map(|i| left[(k, i)] * at(h, n, i, p)).sum();
                    turned_q * turned_h
                };
                (0..positions).map(of).sum()
            });
            let rows = turned.row_iter();
            compare(
                rows.flat_map(|row| row.iter().copied().collect::<Vec<_>>())
                    .collect(),
                expected.collect(),
                "gradients",
            );
        }
    }
}

/// The engine's own log probabilities along a random direction of A and B: their central difference
/// is the Jacobian's, less the mean over classes.
#[test]
fn jacobians_are_the_slopes_of_the_logits() {
    const STEP: f32 = 1.0 / 256.0;
    let setting = Setting::new(&["layer3", "layer4"], &[3, 5, 0, 2]);
    let values = setting.layout.pack(&setting.state);
    let mut direction = Twin::random(&[values.len()], 70).to_f32();
    // The head stays.
    direction[setting.layout.head_weight.start..].fill(0.0);
    let log_probs = |step: f32| {
        let pairs = values.iter().zip(&direction);
        let moved: Vec<f32> = pairs.map(|(value, d)| value + step * d).collect();
        let predictor = setting.predictor(&moved);
        predictor
            .log_probs(&source(), Samples::MEAN, &mut |_| ())
            .unwrap()
    };
    let (up, down) = (log_probs(STEP), log_probs(-STEP));
    let all: Vec<usize> = (0..IMAGES).collect();
    let found = points(&setting.predictor(&values), &all, Wanted::Adapters);
    let direction = gather(&blocks(&setting.layout), &direction);
    let mut slopes = Vec::new();
    for point in &found {
        let rows = point.jacobian.chunks_exact(direction.len());
        let product = |row: &[f32]| {
            row.iter()
                .zip(&direction)
                .map(|(j, d)| f64::from(j * d))
                .sum()
        };
        let each: Vec<f64> = rows.map(product).collect();
        let mean: f64 = each
            .iter()
            .zip(&point.log_probs)
            .map(|(j, log)| log.exp() * j)
            .sum();
        slopes.extend(each.iter().map(|slope| slope - mean));
    }
    let differences = up.iter().zip(&down);
    let expected: Vec<f32> = differences
        .map(|(up, down)| (up - down) / (2.0 * STEP))
        .collect();
    let slopes: Vec<f32> = slopes.iter().map(|slope| *slope as f32).collect();
    // Losses round, and within a step ReLUs switch.
    let error = common::relative_error(&expected, &slopes);
    assert!(error < 0.02, "{error:.1e}: {slopes:?} for {expected:?}");
}

fn fit(predictor: &Predictor, config: LaplaceConfig) -> Laplace<'_> {
    Laplace::fit(
        predictor,
        &source(),
        Some(&source()),
        config,
        &mut |_, _, _| (),
    )
    .unwrap()
}

/// Without room for doubt in the parameters every structure is the mean weights; with a little, none
/// loses its head.
#[test]
fn an_infinite_precision_is_the_map() {
    let setting = Setting::new(&["layer3", "layer4"], &[3, 5, 0, 2]);
    let predictor = setting.predictor(&setting.layout.pack(&setting.state));
    let expected = predictor
        .log_probs(&source(), Samples::MEAN, &mut |_| ())
        .unwrap();
    for structure in LaplaceStructure::ALL {
        for link in [
            Link::Probit,
            Link::MonteCarlo {
                samples: 4,
                seed: 2,
            },
        ] {
            let mut config = LaplaceConfig::new(structure);
            (config.link, config.precision) = (link, PriorPrecision::Fixed(1e30));
            let mut laplace = fit(&predictor, config);
            let found = laplace.predictive(&source(), &mut |_, _, _| ()).unwrap();
            assert_eq!(found.sampled.len(), link.samples() * expected.len());
            let error = common::relative_error(&expected, &found.log_probs);
            assert!(error < 1e-6, "{}: {error:.1e}", structure.name());
            laplace.set_precision(0.5).unwrap();
            let doubtful = laplace.predictive(&source(), &mut |_, _, _| ()).unwrap();
            assert!(
                doubtful
                    .log_probs
                    .iter()
                    .all(|log| log.is_finite() && *log <= 0.0)
            );
            let change = common::relative_error(&expected, &doubtful.log_probs);
            assert!(change > 1e-4, "{}: nothing changed", structure.name());
        }
    }
}

/// The head's posterior with two shared draws of the gates, against its formula: gates as the twin draws them, multiplied
/// into A; the curvature inverted by the school's method; the probit by hand.
#[test]
fn drawn_gates_meet_the_posterior_of_the_head() {
    const DELTA: f64 = 0.5;
    let mut setting = Setting::new(&["layer3", "layer4"], &[3, 5, 0, 2]);
    for layer in &mut setting.state.layers {
        layer.log_alpha.fill(-0.5);
    }
    let predictor = setting.predictor(&setting.layout.pack(&setting.state));
    let mut config = LaplaceConfig::new(LaplaceStructure::LastLayerFull);
    config.precision = PriorPrecision::Fixed(DELTA);
    let laplace = fit(&predictor, config);
    let draws = Samples {
        count: 2,
        seed: 9,
        shared: true,
    };
    let found = laplace
        .predictive_over_gates(&source(), draws, &mut |_, _, _| ())
        .unwrap();
    assert_eq!(found.sampled.len(), 2 * IMAGES * CLASSES);

    let indices: Vec<usize> = (0..IMAGES).collect();
    let wide = |point: &Point| -> Vec<f64> {
        point
            .jacobian
            .iter()
            .map(|value| f64::from(*value))
            .collect()
    };
    let at_mean = points(&predictor, &indices, Wanted::Features);
    let inputs = at_mean[0].jacobian.len();
    let features = predictor.features(&source(), &mut |_| ()).unwrap();
    let expected = at_mean
        .iter()
        .flat_map(|point| &point.jacobian[..inputs - 1]);
    assert!(
        features.iter().eq(expected),
        "the head's inputs under the mean weights"
    );
    let row = |class: usize, input: &[f64]| {
        let mut row = vec![0.0; CLASSES * inputs];
        row[class * inputs..][..inputs].copy_from_slice(input);
        row
    };
    let mut h = Dense::zeros(CLASSES * inputs);
    for point in &at_mean {
        let (phi, p) = (wide(point), point.log_probs.iter().map(|log| log.exp()));
        let p: Vec<f64> = p.collect();
        for a in 0..CLASSES {
            for b in 0..CLASSES {
                let weight = f64::from(u8::from(a == b)) * p[a] - p[a] * p[b];
                h.add(weight, &row(a, &phi), &row(b, &phi));
            }
        }
    }
    let (posterior, _) = h.plus_identity(DELTA).inverse();
    let mut mean = vec![0.0; IMAGES * CLASSES];
    for draw in 0..2 {
        let mut state = setting.state.clone();
        for (spec, values) in setting.layout.layers.iter().zip(&mut state.layers) {
            let stream = Stream {
                seed: draws.seed,
                purpose: Purpose::Predict,
                step_or_sample: draw,
                layer: spec.conv.map_or(65_535, |place| place as u32),
            };
            let log_alpha: Vec<f64> = values.log_alpha.iter().map(|t| f64::from(*t)).collect();
            let gates = stream.gates(&[SHARED_EXAMPLE], &spec.rank_ids, &log_alpha);
            let row = spec.in_channels * spec.taps();
            for (place, value) in values.lora_a.iter_mut().enumerate() {
                *value *= gates.at(&[0, place / row]) as f32;
            }
        }
        let drawn = setting.predictor(&setting.layout.pack(&state));
        for (image, point) in points(&drawn, &indices, Wanted::Features)
            .iter()
            .enumerate()
        {
            let phi = wide(point);
            // Relative to the mean logit.
            let contrast = |class: usize| {
                let mut all = vec![0.0; CLASSES * inputs];
                for other in 0..CLASSES {
                    let weight = f64::from(u8::from(other == class)) - 1.0 / CLASSES as f64;
                    let of = all[other * inputs..][..inputs].iter_mut().zip(&phi);
                    of.for_each(|(sum, value)| *sum = weight * value);
                }
                all
            };
            let middle = point.log_probs.iter().sum::<f64>() / CLASSES as f64;
            let scaled: Vec<f64> = (0..CLASSES)
                .map(|class| {
                    let v = posterior.form(&contrast(class), &contrast(class));
                    (point.log_probs[class] - middle)
                        / (1.0 + std::f64::consts::PI * v / 8.0).sqrt()
                })
                .collect();
            let total: f64 = scaled.iter().map(|logit| logit.exp()).sum();
            for (class, logit) in scaled.iter().enumerate() {
                let p = logit.exp() / total;
                mean[image * CLASSES + class] += 0.5 * p;
                let place = (draw as usize * IMAGES + image) * CLASSES + class;
                let of_draw = f64::from(found.sampled[place].exp());
                assert!((of_draw - p).abs() < 1e-4, "{of_draw} for {p}");
            }
        }
    }
    // Gates in f32 and on the host differ by some 1e-6; log probabilities of the network by 1e-5.
    for (found, expected) in found.log_probs.iter().zip(&mean) {
        let found = f64::from(found.exp());
        assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
    }
    let alone = laplace.predictive(&source(), &mut |_, _, _| ()).unwrap();
    let change = common::relative_error(&alone.log_probs, &found.log_probs);
    assert!(change > 1e-2, "the draws do nothing: {change:.1e}");
}

/// Without doubt in the head it is the plain predictive of the same draws, for every structure of the head and both links;
/// other posteriors are refused.
#[test]
fn drawn_gates_alone_are_the_samples() {
    let mut setting = Setting::new(&["layer4"], &[2]);
    for layer in &mut setting.state.layers {
        layer.log_alpha.fill(0.0);
    }
    let predictor = setting.predictor(&setting.layout.pack(&setting.state));
    let draws = Samples::new(3, 4);
    let expected = predictor.log_probs(&source(), draws, &mut |_| ()).unwrap();
    for structure in [
        LaplaceStructure::LastLayerFull,
        LaplaceStructure::LastLayerKron,
    ] {
        let mut config = LaplaceConfig::new(structure);
        config.precision = PriorPrecision::Fixed(1e30);
        let laplace = fit(&predictor, config);
        let found = laplace
            .predictive_over_gates(&source(), draws, &mut |_, _, _| ())
            .unwrap();
        let error = common::relative_error(&expected, &found.sampled);
        assert!(error < 1e-6, "{}: {error:.1e}", structure.name());
        let none = laplace.predictive_over_gates(&source(), Samples::MEAN, &mut |_, _, _| ());
        assert!(matches!(none, Err(LaplaceError::Nothing(_))));
    }
    let mut config = LaplaceConfig::new(LaplaceStructure::Gates);
    config.precision = PriorPrecision::Fixed(1.0);
    let error = fit(&predictor, config).predictive_over_gates(&source(), draws, &mut |_, _, _| ());
    assert!(matches!(error, Err(LaplaceError::GatesOfHead("gates"))));
}

/// The curvature of some images stands for all, and the likelihood is that of the engine.
#[test]
fn a_subset_is_scaled_to_the_whole() {
    let setting = Setting::new(&["layer4"], &[2]);
    let predictor = setting.predictor(&setting.layout.pack(&setting.state));
    let mut config = LaplaceConfig::new(LaplaceStructure::Gates);
    config.precision = PriorPrecision::Fixed(1.0);
    let trace = |laplace: &Laplace| laplace.spectrum().values.iter().sum::<f64>();
    let whole = fit(&predictor, config);
    config.images = 1;
    let one = fit(&predictor, config);
    let fitted = one.fitted();
    assert_eq!((fitted.images, fitted.train_images), (1, IMAGES));
    // sum_n |sqrt(p) (J - mean)|^2 of the first image, five times.
    let point = points(&predictor, &[0], Wanted::Gates).remove(0);
    let p: Vec<f64> = point.log_probs.iter().map(|log| log.exp()).collect();
    let ranks = point.jacobian.len() / CLASSES;
    let expected: f64 = (0..ranks)
        .map(|i| {
            let j = |c: usize| f64::from(point.jacobian[c * ranks + i]);
            let mean: f64 = (0..CLASSES).map(|c| p[c] * j(c)).sum();
            (0..CLASSES)
                .map(|c| p[c] * (j(c) - mean).powi(2))
                .sum::<f64>()
        })
        .sum();
    assert!((trace(&one) / (IMAGES as f64 * expected) - 1.0).abs() < 1e-9);
    assert!(trace(&whole) != trace(&one));
    let log_probs = predictor
        .log_probs(&source(), Samples::MEAN, &mut |_| ())
        .unwrap();
    let labels = source().dataset.labels.clone();
    let rows = log_probs.chunks(CLASSES).zip(&labels);
    let likelihood: f64 = rows
        .map(|(row, label)| f64::from(row[*label as usize]))
        .sum();
    assert!((whole.fitted().log_likelihood - likelihood).abs() < 1e-4);
}

#[test]
fn what_cannot_be_is_refused() {
    let setting = Setting::new(&["layer4"], &[0]);
    let predictor = setting.predictor(&setting.layout.pack(&setting.state));
    let mut config = LaplaceConfig::new(LaplaceStructure::Gates);
    let error = |config| {
        let found = Laplace::fit(&predictor, &source(), None, config, &mut |_, _, _| ());
        found.err().expect("refused")
    };
    assert!(matches!(
        error(config),
        LaplaceError::NothingAdapted("gates")
    ));
    config = LaplaceConfig::new(LaplaceStructure::LastLayerKron);
    config.precision = PriorPrecision::Validation;
    assert!(matches!(error(config), LaplaceError::NoValidation));
    config.precision = PriorPrecision::Fixed(0.0);
    assert!(matches!(error(config), LaplaceError::Precision(_)));
    config.precision = PriorPrecision::MarginalLikelihood;
    config.images = 0;
    assert!(matches!(error(config), LaplaceError::Nothing(_)));
}
