//! The twins, and the KL, against a whole training step that PyTorch dumped in f64.
//!
//! The dump is not part of the repository. `BAYESLORA_GOLDEN` names its folder, which holds
//! `inputs.safetensors`, `expected.safetensors` and `steps.json`.

mod reference;

use bayeslora::low_level::train::kl::{KlMultiplicity, KlPrior};
use reference::adamw::{self, Group, Moments};
use reference::adapter::Adapter;
use reference::head::cross_entropy;
use reference::resize::{Augmentation, prepare};
use reference::resnet::{Gradients, Named, ResNet, Stem, Trace};
use reference::tensor::Tensor;
use safetensors::{Dtype, SafeTensors};
use std::path::PathBuf;

const BACKBONE: &str = "assets/resnet18-cifar100-tin200-64px.safetensors";
const RANK: usize = 6;
const SCALE: f64 = 16.0 / 6.0;
const KL_WEIGHT: f64 = 0.1 / 45_000.0;
/// The dump stores f64 results as f32.
const ROUNDING: f64 = 2e-7;

fn golden(name: &str) -> PathBuf {
    let folder = std::env::var_os("BAYESLORA_GOLDEN").expect("BAYESLORA_GOLDEN names the dump");
    PathBuf::from(folder).join(name)
}

fn load(path: PathBuf) -> Named<Tensor> {
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let decode = |view: &safetensors::tensor::TensorView<'_>| -> Vec<f64> {
        let words = view.data().chunks(view.dtype().bitsize() / 8);
        match view.dtype() {
            Dtype::F16 => words
                .map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f64())
                .collect(),
            Dtype::F32 => words
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            Dtype::F64 => words
                .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            Dtype::I32 => words
                .map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            Dtype::U8 => view.data().iter().map(|&b| f64::from(b)).collect(),
            other => panic!("{other:?}"),
        }
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, Tensor::new(view.shape(), decode(&view))))
        .collect()
}

struct State {
    weights: Named<Tensor>,
    adapters: Named<Adapter>,
    log_alpha: Named<Tensor>,
    eps: Named<Tensor>,
    images: Vec<u8>,
    labels: Vec<usize>,
}

struct Step {
    trace: Trace,
    loss: f64,
    kl: f64,
    gradients: Gradients,
}

impl State {
    fn load() -> Self {
        let inputs = load(golden("inputs.safetensors"));
        let mut weights = load(BACKBONE.into());
        for part in ["weight", "bias"] {
            let value = inputs[&format!("param.head.{part}")].clone();
            weights.insert(format!("fc.{part}"), value);
        }
        let mut adapters = Named::new();
        let mut log_alpha = Named::new();
        let mut eps = Named::new();
        for name in inputs.keys().filter_map(|k| k.strip_prefix("eps.")) {
            let part = |part: &str| inputs[&format!("param.{name}.{part}")].clone();
            let b = part("lora_B.weight");
            let adapter = Adapter {
                a: part("lora_A.weight"),
                b: b.reshaped(&[b.shape[0], RANK]),
                scale: SCALE,
            };
            adapters.insert(name.to_owned(), adapter);
            log_alpha.insert(name.to_owned(), part("log_alpha"));
            eps.insert(name.to_owned(), inputs[&format!("eps.{name}")].clone());
        }
        Self {
            weights,
            adapters,
            log_alpha,
            eps,
            images: inputs["images"].data.iter().map(|&b| b as u8).collect(),
            labels: inputs["labels"].data.iter().map(|&l| l as usize).collect(),
        }
    }

    fn input(&self, size: usize) -> Tensor {
        prepare(
            &self.images,
            [8, 3, 32, 32],
            &[Augmentation::NONE; 8],
            [size, size],
        )
    }

    fn gates(&self, step: usize) -> Named<Tensor> {
        let of = |(name, eps): (&String, &Tensor)| {
            let t = &self.log_alpha[name].data;
            let r = eps.shape[2];
            let z = Tensor::from_fn(&[8, r], |i| {
                1.0 + (t[i % r] / 2.0).exp() * eps.data[step * 8 * r + i]
            });
            (name.clone(), z)
        };
        self.eps.iter().map(of).collect()
    }

    fn net(&self) -> ResNet<'_> {
        ResNet {
            weights: &self.weights,
            stem: Stem::ImageNet,
            adapters: &self.adapters,
        }
    }

    fn run(&self, step: usize) -> Step {
        let gates = self.gates(step);
        let trace = self.net().forward(&self.input(64), &gates);
        let (loss, dlogits) = cross_entropy(trace.logits(), &self.labels);
        let gradients = self.net().backward(&trace, &gates, &dlogits);
        Step {
            trace,
            loss,
            kl: self.kl(),
            gradients,
        }
    }

    fn kappa(&self, layer: &str) -> f64 {
        KlMultiplicity::Params.kappa(self.adapters[layer].params_per_rank())
    }

    fn kl(&self) -> f64 {
        self.log_alpha
            .iter()
            .map(|(name, t)| {
                let kl = t.data.iter().map(|&t| KlPrior::Molchanov.kl(t));
                self.kappa(name) * kl.sum::<f64>()
            })
            .sum()
    }

    /// The likelihood's gradient and the KL's.
    fn log_alpha_gradient(&self, step: &Step, layer: &str) -> Vec<f64> {
        let t = &self.log_alpha[layer].data;
        let likelihood = &step.gradients.adapters[layer].dt;
        likelihood
            .iter()
            .zip(t)
            .map(|(dt, &t)| dt + KL_WEIGHT * self.kappa(layer) * KlPrior::Molchanov.gradient(t))
            .collect()
    }

    fn parameters(&self) -> Named<Vec<f64>> {
        let mut parameters = Named::new();
        for (name, adapter) in &self.adapters {
            parameters.insert(format!("{name}.lora_A.weight"), adapter.a.data.clone());
            parameters.insert(format!("{name}.lora_B.weight"), adapter.b.data.clone());
            parameters.insert(
                format!("{name}.log_alpha"),
                self.log_alpha[name].data.clone(),
            );
        }
        for part in ["weight", "bias"] {
            let value = self.weights[&format!("fc.{part}")].data.clone();
            parameters.insert(format!("head.{part}"), value);
        }
        parameters
    }

    fn update(&mut self, number: u32, step: &Step, moments: &mut Named<Moments>) {
        let decayed = Group::new(1e-3).weight_decay(0.01);
        let plain = Group::new(1e-3);
        let mut apply = |name: String, group: &Group, value: &mut Tensor, gradient: &[f64]| {
            let zeros = || Moments::zeros(gradient.len());
            let state = moments.entry(name).or_insert_with(zeros);
            adamw::step(group, number, &mut value.data, gradient, state);
        };
        let layers: Vec<String> = self.adapters.keys().cloned().collect();
        for layer in layers {
            let dt = self.log_alpha_gradient(step, &layer);
            let gradients = &step.gradients.adapters[&layer];
            let adapter = self.adapters.get_mut(&layer).unwrap();
            apply(
                format!("{layer}.A"),
                &decayed,
                &mut adapter.a,
                &gradients.da.data,
            );
            apply(
                format!("{layer}.B"),
                &decayed,
                &mut adapter.b,
                &gradients.db.data,
            );
            let t = self.log_alpha.get_mut(&layer).unwrap();
            apply(format!("{layer}.t"), &plain, t, &dt);
        }
        for (part, gradient) in [
            ("weight", &step.gradients.head_weight),
            ("bias", &step.gradients.head_bias),
        ] {
            let name = format!("fc.{part}");
            let value = self.weights.get_mut(&name).unwrap();
            apply(name, &plain, value, &gradient.data);
        }
    }

    /// Keeps these ranks of every layer, their moments and their noise.
    fn prune(&mut self, keep: &[usize], moments: &mut Named<Moments>) {
        // Ranks along the rows of A, along the last axis of all else.
        let rows = |data: &[f64], r: usize| -> Vec<f64> {
            let len = data.len() / r;
            let kept = keep.iter().flat_map(|&k| &data[k * len..(k + 1) * len]);
            kept.copied().collect()
        };
        let columns = |data: &[f64], r: usize| -> Vec<f64> {
            let kept = data.chunks(r).flat_map(|row| keep.iter().map(|&k| row[k]));
            kept.collect()
        };
        for (layer, adapter) in &mut self.adapters {
            let r = adapter.rank();
            adapter.a.data = rows(&adapter.a.data, r);
            adapter.a.shape[0] = keep.len();
            let t = self.log_alpha.get_mut(layer).unwrap();
            for tensor in [&mut adapter.b, t, self.eps.get_mut(layer).unwrap()] {
                tensor.data = columns(&tensor.data, r);
                *tensor.shape.last_mut().unwrap() = keep.len();
            }
            for part in ["A", "B", "t"] {
                let state = moments.get_mut(&format!("{layer}.{part}")).unwrap();
                for moment in [&mut state.first, &mut state.second] {
                    *moment = if part == "A" {
                        rows(moment, r)
                    } else {
                        columns(moment, r)
                    };
                }
            }
        }
    }
}

fn assert_tensor(what: &str, got: &[f64], want: &Tensor, tolerance: f64) {
    assert_eq!(got.len(), want.data.len(), "{what}");
    let difference = got.iter().zip(&want.data).map(|(a, b)| (a - b).abs());
    let error = difference.fold(0.0, f64::max) / want.max_abs();
    assert!(error <= tolerance, "{what}: {error:e}");
}

fn assert_number(what: &str, got: f64, want: f64) {
    assert!(
        (got / want - 1.0).abs() < 1e-12,
        "{what}: {got} against {want}"
    );
}

#[test]
#[ignore = "needs the dump that BAYESLORA_GOLDEN names"]
fn the_backbone_alone() {
    let expected = load(golden("expected.safetensors"));
    let state = State::load();
    let (weights, adapters) = (load(BACKBONE.into()), Named::new());
    let net = ResNet {
        weights: &weights,
        stem: Stem::ImageNet,
        adapters: &adapters,
    };
    for size in [64, 224] {
        let trace = net.forward(&state.input(size), &Named::new());
        let want = &expected[&format!("backbone.logits_{size}")];
        assert_tensor(
            &format!("logits at {size}"),
            &trace.logits().data,
            want,
            ROUNDING,
        );
    }
}

#[test]
#[ignore = "needs the dump that BAYESLORA_GOLDEN names"]
fn a_training_step() {
    let expected = load(golden("expected.safetensors"));
    let state = State::load();
    let input = state.input(64);
    let inputs = load(golden("inputs.safetensors"));
    for file in [&inputs, &expected] {
        if let Some(want) = file.get("input_64") {
            assert_tensor("input_64", &input.data, want, ROUNDING);
        }
    }

    let step = state.run(0);
    for (name, got) in &step.trace.outputs {
        let want = &expected[&format!("sampled.{name}")];
        assert_tensor(name, &got.data, want, ROUNDING);
    }
    assert_number("loss", step.loss, expected["sampled.loss"].data[0]);
    assert_number("KL", step.kl, expected["kl"].data[0]);
    let elbo = step.loss + KL_WEIGHT * step.kl;
    assert_number("ELBO", elbo, expected["elbo.loss"].data[0]);

    for (layer, got) in &step.gradients.adapters {
        let want = |part: &str| &expected[&format!("grad.{layer}.{part}")];
        assert_tensor(layer, &got.da.data, want("lora_A.weight"), ROUNDING);
        assert_tensor(layer, &got.db.data, want("lora_B.weight"), ROUNDING);
        assert_tensor(layer, &got.dt, want("log_alpha"), ROUNDING);
        let full = state.log_alpha_gradient(&step, layer);
        let want = &expected[&format!("elbo.grad.{layer}.log_alpha")];
        assert_tensor(layer, &full, want, ROUNDING);
    }
    let head = &step.gradients;
    for (part, got) in [("weight", &head.head_weight), ("bias", &head.head_bias)] {
        let want = &expected[&format!("grad.head.{part}")];
        assert_tensor(part, &got.data, want, ROUNDING);
    }

    let ones = state.gates(0).into_iter().map(|(k, z)| (k, z.map(|_| 1.0)));
    let mean = state.net().forward(&input, &ones.collect());
    for (name, got) in &mean.outputs {
        let want = &expected[&format!("mean.{name}")];
        assert_tensor(name, &got.data, want, ROUNDING);
    }
    let (loss, _) = cross_entropy(mean.logits(), &state.labels);
    assert_number("mean loss", loss, expected["mean.loss"].data[0]);
}

/// Ten AdamW steps, with `prune` of them done before the ranks are cut if that is asked.
fn ten_steps(prefix: &str, records: &serde_json::Value, prune: Option<(usize, &[usize])>) {
    let expected = load(golden("expected.safetensors"));
    let mut state = State::load();
    let mut moments = Named::new();
    for i in 0..10 {
        if let Some((after, keep)) = prune
            && after == i
        {
            state.prune(keep, &mut moments);
        }
        let step = state.run(i);
        let want = |key: &str| records[i][key].as_f64().unwrap();
        assert_number(&format!("{prefix} loss {i}"), step.loss, want("ce"));
        assert_number(&format!("{prefix} KL {i}"), step.kl, want("kl"));
        state.update(i as u32 + 1, &step, &mut moments);
    }
    for (name, got) in state.parameters() {
        assert_tensor(
            &name,
            &got,
            &expected[&format!("{prefix}.{name}")],
            ROUNDING,
        );
    }
}

#[test]
#[ignore = "needs the dump that BAYESLORA_GOLDEN names"]
fn ten_training_steps_with_and_without_a_prune() {
    let text = std::fs::read_to_string(golden("steps.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    ten_steps("after10", &json["steps"], None);
    let pruned = &json["pruned_after_step_5"];
    ten_steps("pruned10", &pruned["steps"], Some((5, &[0, 2, 3, 5])));
}
