//! A LoRA adapter with its gates and head, as plain data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::FormatError;

/// What a gate is drawn from; either way its mean is 1 and its variance alpha.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateDistribution {
    /// `z ~ N(1, alpha)`
    #[default]
    Gaussian,
    /// z is 1 + alpha with probability 1/(1 + alpha), else 0: dropout of whole ranks with
    /// alpha = p/(1 - p).
    Bernoulli,
}

/// The adapter of one layer: `y = W * x + s B (z . (A * x))`.
///
/// After pruning, rank 0 (all vectors empty) is a valid adapter that adds nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerAdapter {
    /// Full name of the layer, such as `layer3.0.conv1`.
    pub name: String,
    /// Input channels of the layer.
    pub in_channels: usize,
    /// Output channels of the layer.
    pub out_channels: usize,
    /// Kernel size of the layer and of A; stride and padding are the layer's. 1 for `fc`.
    pub kernel: usize,
    /// A, `[r, in_channels, kernel, kernel]`.
    pub lora_a: Vec<f32>,
    /// B, `[out_channels, r, 1, 1]`.
    pub lora_b: Vec<f32>,
    /// `[r]`: the logarithm of the gates' variance; `None` without gates.
    pub log_alpha: Option<Vec<f32>>,
    /// `[r]`: the index each rank had before any pruning, below the adapter's `initial_rank`.
    pub rank_ids: Vec<u32>,
}

/// The classifier, trained in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub classes: usize,
    pub features: usize,
    /// `[classes, features]`.
    pub weight: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
}

/// Everything that turns a frozen backbone into the fine-tuned model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    pub layers: Vec<LayerAdapter>,
    pub head: Head,
    /// Names of the classes, in the order of the head's rows.
    pub classes: Vec<String>,
    /// Rank of every layer before any pruning.
    pub initial_rank: usize,
    /// Numerator of the scale.
    pub lora_alpha: f32,
    /// [`BackboneFile::sha256`](super::BackboneFile::sha256) of the backbone; empty if unknown.
    pub backbone_sha256: String,
    /// What peft calls `base_model_name_or_path`; empty if unknown.
    pub base_name: String,
    /// Side of the images it was trained on, in pixels; 0 if unknown.
    pub resolution: usize,
    /// Seed of the run.
    pub seed: u64,
    /// How it was trained, such as `bayeslora` or `lora`.
    pub method: String,
    /// What the gates are drawn from, where there are any.
    pub gates: GateDistribution,
}

impl LayerAdapter {
    /// The ranks left.
    pub fn rank(&self) -> usize {
        self.rank_ids.len()
    }

    pub(super) fn shape_a(&self) -> [usize; 4] {
        [self.rank(), self.in_channels, self.kernel, self.kernel]
    }

    pub(super) fn shape_b(&self) -> [usize; 4] {
        [self.out_channels, self.rank(), 1, 1]
    }
}

impl Adapter {
    /// s = `lora_alpha / initial_rank`: pruning does not change it.
    pub fn scale(&self) -> f32 {
        self.lora_alpha / self.initial_rank as f32
    }

    /// Checks what the shapes of tensors do not say; `file` is what errors call the adapter.
    pub(super) fn check(&self, file: &str) -> Result<(), FormatError> {
        let value = |item: String, found: String, expected: String| {
            Err(FormatError::Value {
                file: file.to_owned(),
                item,
                found,
                expected,
            })
        };
        if !(self.initial_rank > 0 && self.scale().is_finite()) {
            let found = format!("{} / {}", self.lora_alpha, self.initial_rank);
            return value(
                "the scale lora_alpha / r".into(),
                found,
                "a finite number".into(),
            );
        }
        if self.classes.len() != self.head.classes {
            let expected = format!("{}, the rows of fc.weight", self.head.classes);
            let found = self.classes.len().to_string();
            return value("the number of class names".into(), found, expected);
        }
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            let name = &layer.name;
            if !names.insert(name) {
                return value(
                    format!("the layer `{name}`"),
                    "listed twice".into(),
                    "once".into(),
                );
            }
            if let Some(log_alpha) = &layer.log_alpha
                && log_alpha.len() != layer.rank()
            {
                let item = format!("the length of `{name}.log_alpha`");
                let expected = format!("{}, the rank", layer.rank());
                return value(item, log_alpha.len().to_string(), expected);
            }
            let distinct: BTreeSet<_> = layer.rank_ids.iter().collect();
            let last = distinct.last().map_or(0, |&&id| id as usize);
            if distinct.len() != layer.rank() || last >= self.initial_rank {
                let expected = format!("distinct numbers below {}", self.initial_rank);
                return value(
                    format!("`{name}.rank_ids`"),
                    format!("{:?}", layer.rank_ids),
                    expected,
                );
            }
        }
        Ok(())
    }
}
