//! Options that are one of several.

use serde::{Deserialize, Serialize};

use crate::formats::GateDistribution;
use crate::model::{FLIPPED_VIEW, GateMode, PLAIN_VIEW, View};

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
