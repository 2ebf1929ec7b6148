//! Laplace approximations around a trained adapter, with the linearised predictive.
//!
//! At the MAP theta* (z = 1) the posterior is N(theta*, P^-1) with P = H + delta I, where H is the
//! generalised Gauss-Newton matrix summed over the training set and delta the precision of the prior
//! N(0, I/delta); N(1, I/delta) for gates. Logits are linearised, f ~ N(f_map, J P^-1 J'), never the
//! network with sampled weights, whose accuracy collapses (Immer et al. 2021).
//!
//! * [`LaplaceStructure::LastLayerFull`] and [`LaplaceStructure::LastLayerKron`]: the head.
//! * [`LaplaceStructure::AdapterDiag`] and [`LaplaceStructure::AdapterKron`]: A and B of all layers,
//!   the latter block by block (Yang et al. 2024).
//! * [`LaplaceStructure::Gates`]: all gates together; its diagonal is what small learnt alphas tend to.
//!
//! Each is the eigenvalues of H and the Jacobians in its eigenvectors, so the evidence and the
//! variances cost little for another delta.

mod curvature;
mod dense;
mod diagonal;
mod drawn;
mod factor;
mod factors;
mod fit;
mod jacobian;
mod kron;
mod linalg;
mod points;
mod predictive;
mod spectrum;
mod structure;

pub use curvature::{Basis, Curvature};
pub use fit::{Fitted, Laplace, LaplacePrediction};
pub use jacobian::Wanted;
pub use points::{Block, Point, blocks, for_each, gather};
pub use predictive::Link;
pub use spectrum::{PRECISION_RANGE, Projection, Spectrum};
pub use structure::{Dims, curvature};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::PredictError;
use crate::data::DataError;
use crate::gpu::GpuError;
use crate::metrics::PredictionsError;

/// Which parameters a posterior is over, and what its covariance looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaplaceStructure {
    LastLayerFull,
    LastLayerKron,
    AdapterDiag,
    AdapterKron,
    Gates,
}

impl LaplaceStructure {
    pub const ALL: [Self; 5] = [
        Self::LastLayerFull,
        Self::LastLayerKron,
        Self::AdapterDiag,
        Self::AdapterKron,
        Self::Gates,
    ];

    /// As files and options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastLayerFull => "last-layer-full",
            Self::LastLayerKron => "last-layer-kron",
            Self::AdapterDiag => "adapter-diag",
            Self::AdapterKron => "adapter-kron",
            Self::Gates => "gates",
        }
    }

    /// What the logits are differentiated by.
    pub const fn wanted(self) -> Wanted {
        match self {
            Self::LastLayerFull | Self::LastLayerKron => Wanted::Features,
            Self::AdapterDiag | Self::AdapterKron => Wanted::Adapters,
            Self::Gates => Wanted::Gates,
        }
    }

    /// Training images that H is estimated on unless more are asked for: all where a forward pass is
    /// enough.
    pub const fn default_images(self) -> usize {
        match self.wanted() {
            Wanted::Features => usize::MAX,
            Wanted::Gates | Wanted::Adapters => 1000,
        }
    }
}

/// How delta is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PriorPrecision {
    /// The largest evidence. That of the gates has no maximum: z = 1 is the prior's own mean, so
    /// any larger delta is likelier and the posterior shrinks to the MAP.
    MarginalLikelihood,
    /// The lowest NLL on validation images, of two values a decade.
    Validation,
    Fixed(f64),
}

impl PriorPrecision {
    /// Marginal likelihood, and validation for the gates, whose evidence has no maximum.
    pub const fn default_for(structure: LaplaceStructure) -> Self {
        match structure {
            LaplaceStructure::Gates => Self::Validation,
            _ => Self::MarginalLikelihood,
        }
    }
}

impl FromStr for PriorPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "marglik" => Ok(Self::MarginalLikelihood),
            "validation" => Ok(Self::Validation),
            number => match number.parse() {
                Ok(delta) if delta > 0.0 && f64::is_finite(delta) => Ok(Self::Fixed(delta)),
                _ => Err("expected marglik, validation or a number above 0".into()),
            },
        }
    }
}

/// As options and files write it.
impl fmt::Display for PriorPrecision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::MarginalLikelihood => f.write_str("marglik"),
            Self::Validation => f.write_str("validation"),
            Self::Fixed(delta) => delta.fmt(f),
        }
    }
}

impl Serialize for PriorPrecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(delta) => serializer.serialize_f64(*delta),
            _ => serializer.collect_str(self),
        }
    }
}

/// What to fit and how to predict with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaplaceConfig {
    pub structure: LaplaceStructure,
    pub precision: PriorPrecision,
    /// Training images that H is estimated on, evenly spread over the set; their sum is scaled by
    /// N_train / images. At most this many validation images are used as well.
    pub images: usize,
    pub link: Link,
}

impl LaplaceConfig {
    /// The defaults of a structure, with the probit predictive.
    pub const fn new(structure: LaplaceStructure) -> Self {
        Self {
            structure,
            precision: PriorPrecision::default_for(structure),
            images: structure.default_images(),
            link: Link::Probit,
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaplaceStage {
    /// Summing H over training images.
    Fitting,
    /// Finding its eigenvectors: one step.
    Decomposing,
    /// Linearising validation images.
    Choosing,
    Predicting,
}

/// Called with the stage, what is done of it and the whole.
pub type LaplaceObserver<'a> = &'a mut dyn FnMut(LaplaceStage, usize, usize);

/// Why a Laplace approximation failed.
#[derive(Debug, thiserror::Error)]
pub enum LaplaceError {
    #[error(transparent)]
    Predict(#[from] PredictError),
    #[error(
        "the adapter has no ranks left, so there is nothing for {0} to be over; take last-layer-full"
    )]
    NothingAdapted(&'static str),
    #[error(
        "choosing the prior precision by validation needs validation images; take marginal likelihood or a number"
    )]
    NoValidation,
    #[error(
        "gates can be drawn with a posterior of the head alone, and {0} is another; take last-layer-full or last-layer-kron"
    )]
    GatesOfHead(&'static str),
    #[error("the prior precision is {0}; it must be above 0 and finite")]
    Precision(f64),
    #[error("a Laplace approximation needs {0}, at least one")]
    Nothing(&'static str),
    #[error(
        "the curvature has no eigenvalues: its entries are not all finite, so the training has diverged"
    )]
    Decomposition,
}

impl From<GpuError> for LaplaceError {
    fn from(error: GpuError) -> Self {
        Self::Predict(error.into())
    }
}

impl From<DataError> for LaplaceError {
    fn from(error: DataError) -> Self {
        Self::Predict(error.into())
    }
}

impl From<PredictionsError> for LaplaceError {
    fn from(error: PredictionsError) -> Self {
        Self::Predict(error.into())
    }
}
