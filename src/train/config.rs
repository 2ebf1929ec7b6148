//! Everything that defines a training run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ClassWeights;
use super::kl::{KlMultiplicity, KlPrior};
use crate::formats::GateDistribution;
use crate::gpu::Precision;
use crate::model::{FLIPPED_VIEW, GateMode, PLAIN_VIEW, View};
use crate::predict::Budget;
use crate::ranges::{self, LONGEST_SPAN};

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Plain low-rank adapters: z = 1.
    Lora,
    /// Gaussian gates with learnt alpha.
    #[default]
    BayesLora,
    /// Whole ranks dropped with a fixed probability, when predicting too (Gal and Ghahramani 2016).
    #[serde(rename = "mc-dropout")]
    McDropout,
    /// Several plain adapters, each with a seed of its own, whose predictions are averaged
    /// (Lakshminarayanan et al. 2017).
    Ensemble,
    /// Gaussian noise on every weight of A and B with a learnt sigma a rank, as in the code of the paper's authors: an
    /// ablation.
    #[serde(rename = "weight-noise")]
    WeightNoise,
}

impl Method {
    /// As the command line, the files and directories name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::BayesLora => "bayeslora",
            Self::McDropout => "mc-dropout",
            Self::Ensemble => "ensemble",
            Self::WeightNoise => "weight-noise",
        }
    }

    /// As tables name it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::BayesLora => "BayesLoRA",
            Self::McDropout => "MC dropout",
            Self::Ensemble => "Ensemble",
            Self::WeightNoise => "Weight noise",
        }
    }

    /// What is drawn for every sample; `None` where nothing is.
    pub fn gates(self) -> Option<GateDistribution> {
        match self {
            Self::Lora | Self::Ensemble => None,
            Self::BayesLora => Some(GateDistribution::Gaussian),
            Self::McDropout => Some(GateDistribution::Bernoulli),
            Self::WeightNoise => Some(GateDistribution::Weights),
        }
    }

    /// Whether the noise of a rank is learnt, under a KL, and so prunes it.
    pub fn learns_noise(self) -> bool {
        matches!(self, Self::BayesLora | Self::WeightNoise)
    }
}

/// How the learning rates go over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// A linear rise over the first twentieth, then a half cosine to zero.
    #[default]
    Cosine,
    /// The same throughout.
    Constant,
}

/// Random views of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augment {
    /// The images as they are.
    None,
    /// Mirrored half of the time.
    #[default]
    Flip,
    /// Mirrored, and shifted by up to an eighth of the side.
    Standard,
}

impl Augment {
    /// The views worth caching: none where pixels move, since features then differ every time.
    pub fn views(self) -> &'static [View] {
        match self {
            Self::None => &[PLAIN_VIEW],
            Self::Flip => &[PLAIN_VIEW, FLIPPED_VIEW],
            Self::Standard => &[],
        }
    }
}

/// Whose gates a training step draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gates {
    /// A draw an example: a fifth of the gradient's variance.
    #[default]
    PerExample,
    /// One draw for the whole batch.
    Shared,
}

impl From<Gates> for GateMode {
    fn from(gates: Gates) -> Self {
        match gates {
            Gates::PerExample => Self::PerExample,
            Gates::Shared => Self::Shared,
        }
    }
}

/// The basis in which training cuts ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruneGauge {
    /// The one that training has left them in.
    #[default]
    None,
    /// The singular directions of B A, recomputed before each prune.
    Svd,
    /// The basis in which both second moments, from training images, are diagonal; recomputed before each prune.
    Evidence,
}

impl PruneGauge {
    /// As the option takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Svd => "svd",
            Self::Evidence => "evidence",
        }
    }
}

/// A length of training: epochs (`3`, `2.5`) or a fraction of the run (`0.1`, `1.0`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TextOrNumber", into = "String")]
pub enum Span {
    /// A number of epochs.
    Epochs(f64),
    /// A share of the run, 0 to 1.
    Fraction(f64),
}

impl Span {
    /// In epochs of a run of `epochs`.
    pub fn epochs(self, epochs: usize) -> f64 {
        match self {
            Self::Epochs(count) => count,
            Self::Fraction(share) => share * epochs as f64,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is neither a number of epochs (3) nor a fraction of the run (0.1)")
        };
        let value: f64 = text.parse().map_err(|_| wrong())?;
        match value {
            value if !(0.0..=LONGEST_SPAN).contains(&value) => Err(wrong()),
            value if text.contains('.') && value <= 1.0 => Ok(Self::Fraction(value)),
            value => Ok(Self::Epochs(value)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Epochs(count) => write!(f, "{count}"),
            Self::Fraction(share) => write!(f, "{share:?}"),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Whole(u64),
    Number(f64),
}

impl TryFrom<TextOrNumber> for Span {
    type Error = String;

    fn try_from(value: TextOrNumber) -> Result<Self, String> {
        match value {
            TextOrNumber::Text(text) => text.parse(),
            TextOrNumber::Whole(count) => Ok(Self::Epochs(count as f64)),
            TextOrNumber::Number(number) => format!("{number:?}").parse(),
        }
    }
}

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
    /// s = lora_alpha / rank for ever. Default: twice the rank.
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
    /// kappa_i. Default: [`KAPPA_PER_IMAGE`] N n_i, so that kappa/N does not depend on N.
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
    /// Bytes of host memory for cached features; where it is zero none are cached, on the GPU neither.
    pub prefix_cache: u64,
    /// Bytes of GPU memory for images, as cached features or as they are.
    pub resident_images: u64,
    /// Of the initial values, the order of the images, their views and the gates.
    pub seed: u64,
    /// What convolutions multiply. A trainer takes it from its device.
    pub precision: Precision,
}

/// Ranks of every adapter at the start where training is to find how many.
pub const AUTO_RANK: usize = 32;

/// The dropout probability by default.
pub const DROPOUT: f64 = 0.1;

/// Adapters of an ensemble by default.
pub const MEMBERS: usize = 5;

/// kappa_i / (N n_i) by default: .01 n_i at N = 20,000, in the middle of the useful range.
pub const KAPPA_PER_IMAGE: f64 = 5e-7;

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
            rank: 8,
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
            prefix_cache: 2 << 30,
            resident_images: 2 << 30,
            seed: 1,
            precision: Precision::F32,
        }
    }
}

/// An option that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("`{option}` is {found}, expected {expected}")]
pub struct ConfigError {
    /// As the command line names it.
    pub option: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

/// Checks those options that have a value against their ranges.
pub(super) fn check_ranges(
    counts: &[(&'static str, Option<u64>)],
    numbers: &[(&'static str, Option<f64>)],
) -> Result<(), ConfigError> {
    let wrong = |option, found: String, range: ranges::Range| {
        Err(ConfigError {
            option,
            found,
            expected: range.to_string(),
        })
    };
    for (option, found) in counts {
        if let (Some(found), Some(range)) = (found, ranges::of(option))
            && !range.has_whole(*found)
        {
            return wrong(option, found.to_string(), range);
        }
    }
    for (option, found) in numbers {
        if let (Some(found), Some(range)) = (found, ranges::of(option))
            && !range.has(*found)
        {
            return wrong(option, found.to_string(), range);
        }
    }
    Ok(())
}

impl TrainConfig {
    /// What the sets of a run may take.
    pub fn budget(&self) -> Budget {
        Budget {
            features: (self.prefix_cache > 0).then_some(self.prefix_cache),
            resident: self.resident_images,
        }
    }

    /// Fills in what follows from the number of training images (validation taken off), and
    /// checks every value.
    ///
    /// # Errors
    /// The option that is out of range or contradicts another.
    pub fn resolve(mut self, images: usize) -> Result<Self, ConfigError> {
        self.check()?;
        let batch = match images {
            0..5_000 => 32,
            5_000..20_000 => 64,
            _ => 128,
        };
        let batch = self.batch_size.unwrap_or(batch).min(images.max(1));
        self.batch_size = Some(batch);
        let lora_alpha = self.default_lora_alpha();
        self.lora_alpha.get_or_insert(lora_alpha);
        self.split_seed.get_or_insert(self.seed);
        self.prune_from = Some(self.prune_from());
        self.prune_every = Some(self.prune_every());
        let steps_per_epoch = images.div_ceil(batch);
        // Steps key the noise in 32 bits.
        let most = u32::MAX as usize / steps_per_epoch.max(1);
        if self.epochs > most {
            return Err(ConfigError {
                option: "epochs",
                found: self.epochs.to_string(),
                expected: format!("at most {most} of {steps_per_epoch} steps"),
            });
        }
        let steps = self.epochs * steps_per_epoch;
        // Adam moves a parameter by about its rate a step.
        let crossing = 24.0 / steps.max(1) as f64;
        self.lr_log_alpha
            .get_or_insert(crossing.min(0.2).max(self.lr));
        self.kl_multiplicity
            .get_or_insert(KlMultiplicity::Value(KAPPA_PER_IMAGE * images as f64));
        if self.method == Method::McDropout {
            self.dropout.get_or_insert(DROPOUT);
        }
        if self.method == Method::Ensemble {
            self.members.get_or_insert(MEMBERS);
        }
        if self.method == Method::WeightNoise {
            // A draw of all weights for every example would be a network for every example.
            self.gates = Gates::Shared;
        }
        Ok(self)
    }

    /// Checks every value, as far as it does not depend on the images.
    ///
    /// # Errors
    /// The option that is out of range or contradicts another.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |option, found: &dyn fmt::Display, expected: &str| {
            Err(ConfigError {
                option,
                found: found.to_string(),
                expected: expected.into(),
            })
        };
        let counts = [
            ("resolution", Some(self.resolution as u64)),
            ("epochs", Some(self.epochs as u64)),
            ("patience", self.patience.map(|count| count as u64)),
            ("batch-size", self.batch_size.map(|size| size as u64)),
            ("rank", Some(self.rank as u64)),
            ("min-rank", Some(self.min_rank as u64)),
            ("members", self.members.map(|count| count as u64)),
            ("seed", Some(self.seed)),
            ("split-seed", self.split_seed),
        ];
        let kl_multiplicity = match self.kl_multiplicity {
            Some(KlMultiplicity::Value(value)) => Some(value),
            _ => None,
        };
        let numbers = [
            ("lr", Some(self.lr)),
            ("lr-log-alpha", self.lr_log_alpha),
            ("lora-alpha", self.lora_alpha),
            ("weight-decay", Some(self.weight_decay)),
            ("kl-scale", Some(self.kl_scale)),
            ("kl-multiplicity", kl_multiplicity),
            ("validation", Some(self.validation)),
            ("threshold", Some(self.threshold)),
        ];
        check_ranges(&counts, &numbers)?;
        match self.dropout {
            Some(found) if self.method != Method::McDropout => {
                return wrong("dropout", &found, "nothing without `method mc-dropout`");
            }
            Some(found) if ranges::of("dropout").is_some_and(|range| !range.has(found)) => {
                let expected = "a probability from 0.001 to 0.99 (`method lora` drops nothing)";
                return wrong("dropout", &found, expected);
            }
            _ => {}
        }
        if let Some(members) = self.members {
            if self.method != Method::Ensemble {
                return wrong("members", &members, "nothing without `method ensemble`");
            }
            let largest = i64::MAX as u64 - members as u64;
            if self.seed > largest {
                let expected = format!("at most {largest}, each member having its own");
                return wrong("seed", &self.seed, &expected);
            }
        }
        if self.method == Method::WeightNoise && self.kl_prior != KlPrior::Molchanov {
            let expected =
                "molchanov with `method weight-noise`, whose KL is a weight's, not a gate's";
            return wrong("kl-prior", &self.kl_prior, expected);
        }
        if self.targets.is_empty() {
            return wrong("targets", &"empty", "layers to adapt, as in layer3,layer4");
        }
        if self.rank == 0 && (self.method != Method::Lora || self.auto_rank) {
            let expected = "at least 1; 0, which trains the head alone, goes with `method lora`";
            return wrong("rank", &self.rank, expected);
        }
        if self.min_rank > self.rank {
            let expected = format!("at most `rank` ({})", self.rank);
            return wrong("min-rank", &self.min_rank, &expected);
        }
        self.check_gauge()?;
        self.check_patience()?;
        let every = self.prune_every();
        if every.epochs(self.epochs) <= 0.0 {
            return wrong("prune-every", &every, "more than 0");
        }
        Ok(())
    }

    /// Whether ranks can be cut as it is said.
    fn check_gauge(&self) -> Result<(), ConfigError> {
        let wrong = |option, found: &str, expected: String| {
            Err(ConfigError {
                option,
                found: found.into(),
                expected,
            })
        };
        let method = self.method.name();
        if self.auto_rank {
            if !matches!(self.method, Method::Lora | Method::BayesLora) {
                let expected = format!(
                    "a number with `method {method}`: auto turns ranks, which lora and bayeslora alone can do"
                );
                return wrong("rank", "auto", expected);
            }
            if self.threshold != Self::default().threshold {
                let expected =
                    "left out with `rank auto`, which cuts at the default one and by held-out NLL";
                return wrong("threshold", &self.threshold.to_string(), expected.into());
            }
            if self.validation == 0.0 {
                let expected = "more than 0 with `rank auto`, which chooses on held-out images";
                return wrong("validation", "0", expected.into());
            }
        }
        match self.prune_gauge {
            Some(PruneGauge::None) if self.auto_rank => wrong(
                "prune-gauge",
                "none",
                "svd or evidence with `rank auto`".into(),
            ),
            Some(gauge)
                if gauge != PruneGauge::None
                    && !self.auto_rank
                    && self.method != Method::BayesLora =>
            {
                let expected = match self.method.learns_noise() {
                    true => format!(
                        "none with `method {method}`, whose noise on weights does not turn with the ranks"
                    ),
                    false => format!(
                        "none with `method {method}`, which cuts no ranks unless `rank` is auto"
                    ),
                };
                wrong("prune-gauge", gauge.name(), expected)
            }
            _ => Ok(()),
        }
    }

    /// Whether training can end early.
    fn check_patience(&self) -> Result<(), ConfigError> {
        let Some(patience) = self.patience else {
            return Ok(());
        };
        let wrong = |option, found: String, expected: &str| {
            Err(ConfigError {
                option,
                found,
                expected: expected.into(),
            })
        };
        if self.validation == 0.0 {
            let expected = "more than 0 with `patience`, which compares epochs on held-out images";
            return wrong("validation", "0".into(), expected);
        }
        if self.auto_rank {
            let expected =
                "nothing with `rank auto`: the epoch that it keeps may come before the cuts";
            return wrong("patience", patience.to_string(), expected);
        }
        Ok(())
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

    /// s = lora_alpha / rank, of a resolved configuration.
    pub fn scale(&self) -> f32 {
        let lora_alpha = self.lora_alpha.unwrap_or(self.default_lora_alpha());
        (lora_alpha / self.divisor()) as f32
    }

    fn default_lora_alpha(&self) -> f64 {
        2.0 * self.divisor()
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
