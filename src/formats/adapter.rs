//! A LoRA adapter with its gates and head, as plain data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::peft_modules::HEAD;
use super::{ClassBalance, FormatError, Mixing};

/// What is drawn again for every sample: the gates, whose mean is 1 and whose variance alpha, or the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateDistribution {
    /// `z ~ N(1, alpha)`
    #[default]
    Gaussian,
    /// z is 1 + alpha with probability 1/(1 + alpha), else 0: dropout of whole ranks with
    /// alpha = p/(1 - p).
    Bernoulli,
    /// No gates, z = 1: every weight of A and B is `N(mu, sigma_i^2)`, sigma_i shared by the weights of a rank. In
    /// place of log alpha stands `rho_i = log sigma_i^2`.
    Weights,
}

impl GateDistribution {
    /// Whether its noise is trained: that of dropout is an option.
    pub fn is_learnt(self) -> bool {
        self != Self::Bernoulli
    }

    /// log alpha of each rank of a layer, `[r]`, from what stands in its place, A `[r, ...]` and B `[out, r]`.
    ///
    /// Of weights, where each has an alpha of its own, it is `rho_i - log mean_j mu_ij^2` over the rank's
    /// weights (the authors take the mean of the medians of A's and B's), infinite where all are zero.
    pub fn log_alpha(self, stored: &[f32], lora_a: &[f32], lora_b: &[f32]) -> Vec<f32> {
        if self != Self::Weights {
            return stored.to_vec();
        }
        let rank = stored.len();
        let square = |weight: &f32| f64::from(*weight).powi(2);
        let of_rank = |(i, rho): (usize, &f32)| {
            let a = &lora_a[i * lora_a.len() / rank..][..lora_a.len() / rank];
            let b = lora_b.iter().skip(i).step_by(rank);
            let sum = a.iter().chain(b).map(square).sum::<f64>();
            let weights = (lora_a.len() + lora_b.len()) / rank;
            (f64::from(*rho) - (sum / weights as f64).ln()) as f32
        };
        stored.iter().enumerate().map(of_rank).collect()
    }
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
    /// `[r]`: the logarithm of the gates' variance, or of the weights' ([`GateDistribution::Weights`]); `None` where
    /// nothing is drawn. Where gates are mixed, of the latent ranks.
    pub log_alpha: Option<Vec<f32>>,
    /// Where gates are drawn in another basis than the ranks stand in.
    pub mixing: Option<Mixing>,
    /// `[r]`: the index each rank had before any pruning, below the adapter's `initial_rank`.
    pub rank_ids: Vec<u32>,
}

/// The classifier, trained in full or still to be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Rows of the weight.
    pub classes: usize,
    /// Columns of the weight.
    pub features: usize,
    /// `[classes, features]`.
    pub weight: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
    /// Whether it was trained. One that was not has starting values: its answers mean nothing, and no
    /// [`Predictor`](crate::predict::Predictor) takes it.
    pub trained: bool,
}

/// Everything that turns a frozen backbone into the fine-tuned model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The adapted convolutions, in the order of the network.
    pub layers: Vec<LayerAdapter>,
    /// The classifier.
    pub head: Head,
    /// Names of the classes, in the order of the head's rows.
    pub classes: Vec<String>,
    /// How frequent they were in training; `None` where that is not known, as an earlier version or another program made the
    /// adapter.
    pub class_balance: Option<ClassBalance>,
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
    /// What is drawn when predicting, where anything is.
    pub gates: GateDistribution,
}

/// Ranks that a layer may have at the start: the channels of a ResNet's widest.
pub const MAX_RANK: usize = 512;

/// Pixels that a side of the network's input may have.
const MAX_RESOLUTION: usize = 1 << 12;

/// log alpha up to here has an alpha whose square f32 still holds, and no noise drawn with it is infinite.
const MAX_LOG_ALPHA: f32 = 40.0;

impl LayerAdapter {
    /// The ranks left.
    pub fn rank(&self) -> usize {
        self.rank_ids.len()
    }

    /// The logarithm of the variance of each rank's own gate, `[r]`, or what [`GateDistribution::log_alpha`] says in its
    /// place; `None` where nothing is drawn.
    pub fn gate_log_variances(&self, gates: GateDistribution) -> Option<Vec<f32>> {
        let stored = self.log_alpha.as_ref()?;
        Some(match &self.mixing {
            None => gates.log_alpha(stored, &self.lora_a, &self.lora_b),
            Some(mixing) => {
                let variances = mixing.variances(stored).into_iter();
                variances.map(|variance| variance.ln() as f32).collect()
            }
        })
    }

    /// Number of gates that are drawn, if any: one per rank unless they are mixed.
    fn drawn(&self) -> usize {
        self.mixing.as_ref().map_or(self.rank(), Mixing::latents)
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

    /// Whether there is anything to draw, gates or weights: if not, every sample is the mean.
    pub fn draws(&self) -> bool {
        let drawn = |layer: &LayerAdapter| layer.log_alpha.is_some() && layer.rank() > 0;
        self.layers.iter().any(drawn)
    }

    /// The trained numbers of all layers: A, B and learnt noise, and what mixes gates.
    pub fn scalars(&self) -> usize {
        let layer = |layer: &LayerAdapter| {
            let gates = layer.log_alpha.as_ref().filter(|_| self.gates.is_learnt());
            let gates = gates.map_or(0, Vec::len);
            let mixing = layer.mixing.as_ref();
            let mixing = mixing.map_or(0, |mixing| mixing.left.len() + mixing.right.len());
            layer.lora_a.len() + layer.lora_b.len() + gates + mixing
        };
        self.layers.iter().map(layer).sum()
    }

    /// The same without noise: every gate is 1.
    pub fn mean(&self) -> Self {
        let layer = |layer: &LayerAdapter| LayerAdapter {
            log_alpha: None,
            mixing: None,
            ..layer.clone()
        };
        Self {
            layers: self.layers.iter().map(layer).collect(),
            ..self.clone()
        }
    }

    /// Whether any gates are mixed.
    pub fn is_mixed(&self) -> bool {
        self.layers.iter().any(|layer| layer.mixing.is_some())
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
        let scale = self.scale();
        if !(1..=MAX_RANK).contains(&self.initial_rank) {
            let expected = format!("1 to {MAX_RANK}");
            return value(
                "the initial rank".into(),
                self.initial_rank.to_string(),
                expected,
            );
        }
        if !(scale.is_normal() && scale > 0.0) {
            let found = format!("{} / {}", self.lora_alpha, self.initial_rank);
            return value(
                "the scale lora_alpha / r".into(),
                found,
                "a finite number above 0".into(),
            );
        }
        if self.resolution > MAX_RESOLUTION {
            let expected = format!("at most {MAX_RESOLUTION} pixels");
            return value(
                "the resolution".into(),
                self.resolution.to_string(),
                expected,
            );
        }
        if self.head.classes < 2 {
            let expected = "at least 2 (a network with one output tells no classes apart)";
            return value(
                "the number of rows of fc.weight".into(),
                self.head.classes.to_string(),
                expected.into(),
            );
        }
        let is_adapted = self.layers.iter().any(|layer| layer.name == HEAD);
        if is_adapted && !self.head.trained {
            return value(
                format!("the adapter of `{HEAD}`"),
                "on a classifier that was never trained".into(),
                "the classifier of the base that it was trained on".into(),
            );
        }
        if self.classes.len() != self.head.classes {
            let expected = format!("{}, the rows of fc.weight", self.head.classes);
            let found = self.classes.len().to_string();
            return value("the number of class names".into(), found, expected);
        }
        let mut classes = BTreeSet::new();
        if let Some(twice) = self.classes.iter().find(|class| !classes.insert(*class)) {
            return value(
                format!("the class {twice:?}"),
                "listed twice".into(),
                "once".into(),
            );
        }
        let balance = self.class_balance.as_ref();
        if let Some(fault) = balance.and_then(|balance| balance.fault(self.classes.len())) {
            let expected = "what the training images were".into();
            return value("the balance of the classes".into(), fault, expected);
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
                && log_alpha.len() != layer.drawn()
            {
                let item = format!("the length of `{name}.log_alpha`");
                let whose = match &layer.mixing {
                    None => "the rank",
                    Some(_) => "the latent ranks",
                };
                let expected = format!("{}, {whose}", layer.drawn());
                return value(item, log_alpha.len().to_string(), expected);
            }
            let noisiest = layer
                .log_alpha
                .iter()
                .flatten()
                .copied()
                .fold(f32::MIN, f32::max);
            if noisiest > MAX_LOG_ALPHA {
                let item = format!("the largest element of `{name}.log_alpha`");
                return value(
                    item,
                    noisiest.to_string(),
                    format!("at most {MAX_LOG_ALPHA}"),
                );
            }
            if [layer.in_channels, layer.out_channels, layer.kernel].contains(&0) {
                let found = format!(
                    "{} to {} channels, kernel {}",
                    layer.in_channels, layer.out_channels, layer.kernel
                );
                return value(
                    format!("the size of `{name}`"),
                    found,
                    "at least 1 of each".into(),
                );
            }
            if let Some(mixing) = &layer.mixing {
                let drawn = layer.log_alpha.is_some() && self.gates != GateDistribution::Weights;
                let len = layer.rank() * mixing.latents();
                if !(drawn
                    && layer.rank() > 0
                    && mixing.left.len() == len
                    && mixing.right.len() == len)
                {
                    return value(
                        format!("the gates of `{name}`"),
                        format!(
                            "mixed by {} and {} numbers, {} latent ones, rank {}",
                            mixing.left.len(),
                            mixing.right.len(),
                            mixing.latents(),
                            layer.rank()
                        ),
                        "matrices of that rank, over gates that are drawn".into(),
                    );
                }
            }
            let latent = layer.mixing.iter().map(|mixing| ("gate_ids", &mixing.ids));
            for (tensor, ids) in latent.chain([("rank_ids", &layer.rank_ids)]) {
                let distinct: BTreeSet<_> = ids.iter().collect();
                let last = distinct.last().map_or(0, |&&id| id as usize);
                if distinct.len() != ids.len() || last >= self.initial_rank {
                    let expected = format!("distinct numbers below {}", self.initial_rank);
                    return value(format!("`{name}.{tensor}`"), format!("{ids:?}"), expected);
                }
            }
        }
        Ok(())
    }
}
