//! A run directory, as prediction needs it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Calibration;
use super::ood::OodDetector;
use crate::errors::ErrorKind;
use crate::formats::{Adapter, FormatError, RunDir, Temperature};
use crate::gpu::Precision;
use crate::model::{Backbone, BackboneBits, BackboneError};

/// Why a run cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum RunError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{config}: its `backbone` cannot be used; name another place for it")]
    Backbone {
        config: String,
        source: Box<BackboneError>,
    },
    #[error("{config}: {reason}")]
    Config { config: String, reason: String },
    #[error(
        "{}: an ensemble; open its members, such as {}, or take `Ensemble`",
        .path.display(), .member.display()
    )]
    Ensemble { path: PathBuf, member: PathBuf },
}

impl RunError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Format(error) => error.kind(),
            Self::Backbone { source, .. } => source.kind(),
            _ => ErrorKind::Input,
        }
    }
}

/// What `train` has left in a directory: an adapter, the backbone that it was trained on, and what was fitted to it since.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was trained.
    pub adapter: Adapter,
    /// The network that it was trained on, in the bits that it was trained with.
    pub backbone: Backbone,
    /// What it was trained with, and its predictions should be made with: see [`GpuOptions`](crate::gpu::GpuOptions).
    pub precision: Precision,
    pub(super) temperatures: Vec<Temperature>,
    pub(super) calibrations: Vec<Calibration>,
    pub(super) ood: Option<OodDetector>,
}

/// What is read of `config.toml`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    backbone: PathBuf,
    resolution: usize,
    #[serde(default)]
    precision: Precision,
    #[serde(default)]
    backbone_bits: BackboneBits,
    #[serde(default)]
    method: String,
}

impl Run {
    /// Opens a run with the backbone that it names.
    ///
    /// # Errors
    /// There is no run or no adapter in it yet, a file is damaged, or the backbone is elsewhere.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RunError> {
        Self::open_with(path, None)
    }

    /// The same with the backbone in another place.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, backbone: Option<Backbone>) -> Result<Self, RunError> {
        let dir = RunDir::open(path.as_ref())?;
        let name = dir.path().join("config.toml").display().to_string();
        let config: Config = toml::from_str(&dir.read_config()?).map_err(|error| {
            let (config, reason) = (name.clone(), error.message().to_owned());
            RunError::Config { config, reason }
        })?;
        if config.method == "ensemble" {
            return Err(RunError::Ensemble {
                path: dir.path().to_owned(),
                member: dir.member_dir(0),
            });
        }
        let adapter = dir.read_adapter(config.resolution)?;
        let load = || {
            Backbone::load(&config.backbone).map_err(|source| {
                let config = name.clone();
                RunError::Backbone {
                    config,
                    source: source.into(),
                }
            })
        };
        let backbone = backbone.map_or_else(load, Ok)?;
        let backbone = backbone.in_bits(config.backbone_bits);
        let (fitted, sha256) = (dir.adapter_dir(), adapter.sha256()?);
        let temperatures = Temperature::load_all(&fitted, &sha256)?;
        let calibrations = Calibration::load_all(&fitted, &sha256, adapter.classes.len())?;
        let ood = OodDetector::load(&fitted, &sha256, backbone.resnet.features())?;
        Ok(Self {
            adapter,
            backbone,
            precision: config.precision,
            temperatures,
            calibrations,
            ood,
        })
    }

    /// The temperature that was fitted to the predictive with this many samples, if one was; with the mean weights where
    /// nothing is drawn.
    pub fn temperature(&self, samples: usize) -> Option<f64> {
        let samples = if self.adapter.draws() { samples } else { 0 };
        fitted_to(samples, &self.temperatures)
    }
}

pub(super) fn fitted_to(samples: usize, temperatures: &[Temperature]) -> Option<f64> {
    let mut all = temperatures.iter();
    let fitted = all.find(|fitted| fitted.samples == samples);
    fitted.map(|fitted| fitted.temperature)
}
