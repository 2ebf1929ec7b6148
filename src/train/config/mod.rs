//! Everything that defines a training run.

mod check;
mod options;
mod resolved;
mod span;

use serde::{Deserialize, Serialize};

use super::kl::{KlMultiplicity, KlPrior};
use super::{ClassWeights, Sampler};
use crate::gpu::Precision;
use crate::model::BackboneBits;
use crate::predict::Budget;

pub use check::ConfigError;
pub(super) use check::check_ranges;
pub use options::{Augment, Gates, LrSchedule, Method, PruneGauge};
pub use resolved::ResolvedConfig;
pub use span::Span;

/// A training run. `None` stands for a value that follows from others; [`TrainConfig::resolve`]
/// fills it in. Serialised with the command line's option names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is trained.
    pub method: Method,
    /// Side of the network's input in pixels.
    pub resolution: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Training ends once this many epochs have gone by without a lower NLL on the validation images, tempered; the run's
    /// adapter is that of the epoch with the lowest. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Default: 32 below 5,000 training images, 64 below 20,000, else 128.
    pub batch_size: Option<usize>,
    /// Learning rate of A, B and the head.
    pub lr: f64,
    /// Learning rate of log alpha. Default: what lets it cross 8 units in a third of the steps.
    pub lr_log_alpha: Option<f64>,
    /// How both learning rates go.
    pub lr_schedule: LrSchedule,
    /// On A and B alone.
    pub weight_decay: f64,
    /// Ranks of every adapter at the start.
    pub rank: usize,
    /// Prunes also cut as many ranks as the held-out images vouch for, those with the least evidence first: their NLL at a
    /// temperature rises by at most .002 nats, its standard error included.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_rank: bool,
    /// s = lora_alpha / rank for ever. Default: twice the rank; with [`auto_rank`](Self::auto_rank) 2 sqrt(8 rank).
    pub lora_alpha: Option<f64>,
    /// Layers by name, stage or glob.
    pub targets: Vec<String>,
    /// The probability with which [`Method::McDropout`] drops a rank. Default there: [`DROPOUT`].
    pub dropout: Option<f64>,
    /// Adapters of a [`Method::Ensemble`]. Default there: [`MEMBERS`].
    pub members: Option<usize>,
    /// What the gates are held to.
    pub kl_prior: KlPrior,
    /// Other values than 1 temper the posterior.
    pub kl_scale: f64,
    /// kappa_i. Default: [`KAPPA_PER_IMAGE`] N n_i, with N at least 2,000.
    pub kl_multiplicity: Option<KlMultiplicity>,
    /// No KL for this long: B starts at zero and has to grow first.
    pub kl_freeze: Span,
    /// Then the KL's weight rises linearly for this long.
    pub beta_warmup: Span,
    /// z = 1 for this long.
    pub sample_warmup: Span,
    /// The first prune, at the end of an epoch. Default: half of the run, and with [`auto_rank`](Self::auto_rank) one epoch.
    pub prune_from: Option<Span>,
    /// From one prune to the next. Default: a tenth of the run, with `auto_rank` a fifth.
    pub prune_every: Option<Span>,
    /// In which basis. Default: none, and with [`auto_rank`](Self::auto_rank) the evidence's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune_gauge: Option<PruneGauge>,
    /// Ranks with log alpha below it stay.
    pub threshold: f64,
    /// Ranks that a layer keeps regardless of their alpha.
    pub min_rank: usize,
    /// Whose gates a step draws.
    pub gates: Gates,
    /// Share of the training images set aside for choices; 0 for none.
    pub validation: f64,
    /// Which images are set aside. Default: the seed.
    pub split_seed: Option<u64>,
    /// Random views of the training images.
    pub augment: Augment,
    /// How much images count, by class.
    pub class_weights: ClassWeights,
    /// Which images an epoch has.
    pub sampler: Sampler,
    /// Bytes of host memory for cached features; where it is zero none are cached, on the GPU neither.
    pub prefix_cache: u64,
    /// Bytes of GPU memory for images, as cached features or as they are.
    pub resident_images: u64,
    /// Of the initial values, the order of the images, their views and the gates.
    pub seed: u64,
    /// What convolutions multiply. A trainer takes it from its device.
    pub precision: Precision,
    /// Bits of the frozen weights on the device. A trainer rounds the weights of a backbone that has more; one that was
    /// rounded before stays so, and the trainer takes over what it has.
    #[serde(skip_serializing_if = "BackboneBits::is_full")]
    pub backbone_bits: BackboneBits,
}

/// Ranks of every adapter by default.
const RANK: usize = 8;

/// Ranks of every adapter at the start where training is to find how many.
pub const AUTO_RANK: usize = 32;

/// The dropout probability by default.
pub const DROPOUT: f64 = 0.1;

/// Adapters of an ensemble by default.
pub const MEMBERS: usize = 5;

/// kappa_i / (N n_i) by default: .01 n_i at N = 20,000, in the middle of the useful range.
pub const KAPPA_PER_IMAGE: f64 = 5e-7;

/// With fewer training images the default kappa is that of so many: few images overfit, and a KL that shrinks with them does not hold
/// that back (docs/results/2026-11-26-small has the figures).
const KAPPA_LEAST_IMAGES: usize = 2_000;

/// kappa_i / n_i by default, for so many training images.
pub fn default_kappa(images: usize) -> f64 {
    KAPPA_PER_IMAGE * images.max(KAPPA_LEAST_IMAGES) as f64
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: Method::BayesLora,
            resolution: 64,
            epochs: 5,
            patience: None,
            batch_size: None,
            lr: 2e-3,
            lr_log_alpha: None,
            lr_schedule: LrSchedule::Cosine,
            weight_decay: 0.01,
            rank: RANK,
            auto_rank: false,
            lora_alpha: None,
            targets: vec!["layer3".into(), "layer4".into()],
            dropout: None,
            members: None,
            kl_prior: KlPrior::Molchanov,
            kl_scale: 1.0,
            kl_multiplicity: None,
            kl_freeze: Span::Fraction(0.1),
            beta_warmup: Span::Fraction(0.2),
            sample_warmup: Span::Fraction(0.1),
            prune_from: None,
            prune_every: None,
            prune_gauge: None,
            threshold: 0.0,
            min_rank: 0,
            gates: Gates::PerExample,
            validation: 0.1,
            split_seed: None,
            augment: Augment::Flip,
            class_weights: ClassWeights::None,
            sampler: Sampler::Shuffled,
            prefix_cache: 2 << 30,
            resident_images: 2 << 30,
            seed: 1,
            precision: Precision::F32,
            backbone_bits: BackboneBits::F32,
        }
    }
}

impl TrainConfig {
    /// What the sets of a run may take.
    pub fn budget(&self) -> Budget {
        Budget {
            features: (self.prefix_cache > 0).then_some(self.prefix_cache),
            resident: self.resident_images,
        }
    }

    /// Whether training is over after so many epochs, of which the one that is kept was so far the best.
    pub fn ends_after(&self, epochs: usize, kept: Option<usize>) -> bool {
        let waited = |kept: usize| self.patience.is_some_and(|most| epochs >= kept + most);
        epochs >= self.epochs || kept.is_some_and(waited)
    }

    /// The basis in which ranks are cut.
    pub fn prune_gauge(&self) -> PruneGauge {
        self.prune_gauge.unwrap_or(match self.auto_rank {
            true => PruneGauge::Evidence,
            false => PruneGauge::None,
        })
    }

    /// The first prune. With `auto_rank` it comes early: the ranks that it cuts have a KL until then, and those left learn what
    /// they did.
    pub fn prune_from(&self) -> Span {
        self.prune_from.unwrap_or(match self.auto_rank {
            true => Span::Epochs(1.0),
            false => Span::Fraction(0.5),
        })
    }

    /// From one prune to the next.
    pub fn prune_every(&self) -> Span {
        self.prune_every
            .unwrap_or(Span::Fraction(match self.auto_rank {
                true => 0.2,
                false => 0.1,
            }))
    }

    /// The configurations of an ensemble's members, each with a seed of its own; of another method
    /// itself.
    pub fn members(&self) -> Vec<Self> {
        let Some(count) = self.members else {
            return vec![self.clone()];
        };
        let member = |number: u64| Self {
            method: Method::Lora,
            members: None,
            seed: self.seed + number,
            split_seed: self.split_seed.or(Some(self.seed)),
            ..self.clone()
        };
        (0..count as u64).map(member).collect()
    }

    /// s = lora_alpha / rank.
    pub fn scale(&self) -> f32 {
        let lora_alpha = self.lora_alpha.unwrap_or(self.default_lora_alpha());
        (lora_alpha / self.divisor()) as f32
    }

    /// With `auto_rank` the scale falls as 1 / sqrt(rank), so that updates are about as large from many ranks as from few
    /// (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732), and is 2 from [`RANK`].
    fn default_lora_alpha(&self) -> f64 {
        match self.auto_rank {
            true => 2.0 * (RANK as f64 * self.divisor()).sqrt(),
            false => 2.0 * self.divisor(),
        }
    }

    /// What lora_alpha is divided by: the rank, or 1 where the head is trained alone and s multiplies nothing.
    fn divisor(&self) -> f64 {
        self.rank.max(1) as f64
    }

    /// Whether the ranks are cut after `epoch` (from 1). Not after the last: a cut needs training
    /// behind it.
    pub fn prunes_after(&self, epoch: usize) -> bool {
        let first = self.prune_from().epochs(self.epochs).ceil().max(1.0) as usize;
        let every = self.prune_every().epochs(self.epochs).round().max(1.0) as usize;
        (self.method.learns_noise() || self.auto_rank)
            && epoch < self.epochs
            && epoch >= first
            && (epoch - first).is_multiple_of(every)
    }
}
