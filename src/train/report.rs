//! What training tells: progress, an epoch's figures, why it stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::gauge::GaugeError;
use super::prune::PruneEvent;
use super::{ConfigError, SetError};
use crate::errors::ErrorKind;
use crate::formats::FormatError;
use crate::gpu::GpuError;
use crate::predict::PredictError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum TrainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Predict(#[from] PredictError),
    #[error(transparent)]
    Gauge(#[from] GaugeError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(
        "epoch {epoch} could not be kept in `{}`; once there is a place for it, going on with the run trains it again",
        .run.display()
    )]
    Unkept {
        epoch: usize,
        run: PathBuf,
        source: Box<FormatError>,
    },
    #[error("`targets`: {0}")]
    Targets(String),
    #[error(
        "`batch-size {batch}` does not fit: {reason}; `batch-size {fits}` would{}",
        if *.resident { ", and `resident-images 0` keeps the images off the GPU" } else { "" }
    )]
    BatchTooLarge {
        batch: usize,
        fits: usize,
        /// Whether the images or their features take memory of the GPU too.
        resident: bool,
        reason: GpuError,
    },
    #[error("`resolution {resolution}` does not fit: {reason}; `resolution {fits}` would")]
    ResolutionTooLarge {
        resolution: usize,
        fits: usize,
        reason: GpuError,
    },
    #[error(
        "the loss is {loss} at step {step}: training diverged; lower `lr` (now {lr}) or \
         `lr-log-alpha`"
    )]
    Diverged { step: u64, loss: f32, lr: f64 },
    #[error(
        "{what} is no finite number at step {step}: training diverged; lower `lr` (now {lr}) or \
         `lr-log-alpha`"
    )]
    NotFinite { step: u64, what: String, lr: f64 },
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "training was stopped in the middle of an epoch; restore the checkpoint of the last one"
    )]
    BetweenEpochs,
    #[error("the checkpoint is damaged: {0}; train again without `resume`")]
    Damaged(String),
    #[error("an ensemble is trained member by member: see `TrainConfig::members`")]
    Members,
    #[error("training cannot start from the adapter: {0}")]
    Start(String),
    #[error("the checkpoint does not belong to this run: {0}")]
    Checkpoint(String),
    #[error("the frozen backbone changed: a bug, please report it")]
    BackboneChanged,
}

impl TrainError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gpu(error) => error.kind(),
            Self::Predict(error) => error.kind(),
            Self::Gauge(error) => error.kind(),
            Self::Format(error) => error.kind(),
            Self::Unkept { source, .. } => source.kind(),
            _ => ErrorKind::Input,
        }
    }

    /// Whether it is no fault, but a [stop](crate::gpu::StopHandle) that was asked for.
    pub fn is_stop(&self) -> bool {
        self.kind() == ErrorKind::Stopped
    }
}

/// What a long operation tells while it runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Features of the frozen layers are computed, or images uploaded to stay: images done, of how
    /// many.
    #[expect(missing_docs)]
    Caching { done: usize, total: usize },
    /// Steps of an epoch are done: of how many, and the last loss known.
    #[expect(missing_docs)]
    Training {
        epoch: usize,
        step: usize,
        steps: usize,
        images: usize,
        loss: f32,
    },
    /// Steps of a [learning rate range test](super::Trainer::find_lr) are done, of how many at most, and the last loss.
    #[expect(missing_docs)]
    FindingLr {
        done: usize,
        total: usize,
        loss: f32,
    },
    /// Held-out images are done, of how many.
    #[expect(missing_docs)]
    Evaluating { done: usize, total: usize },
    /// Images have said what ranks are worth, of how many; for each set anew.
    #[expect(missing_docs)]
    Weighing { done: usize, total: usize },
}

/// Called with progress; `Break` stops training before the next step.
pub type Observer<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// An epoch, as a line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Optimiser steps since the start of the run.
    pub step: u64,
    /// Mean cross-entropy + beta kl_scale KL / N over the epoch.
    pub loss: f64,
    /// Mean over the epoch, nats.
    pub cross_entropy: f64,
    /// KL at the end of the epoch, in nats, multiplicities included.
    pub kl: f64,
    /// Weight of the KL at the end of the epoch, 0 to 1.
    pub beta: f64,
    /// At the end of the epoch, of A, B and the head.
    pub learning_rate: f64,
    /// Over the images that the epoch drew, with drawn gates, 0 to 1.
    pub train_accuracy: f64,
    /// On the validation split, with the mean weights, after any prune.
    pub accuracy: Option<f64>,
    /// Nats.
    pub nll: Option<f64>,
    /// With 15 bins.
    pub ece: Option<f64>,
    /// The NLL at the temperature that suits the validation images best; only with
    /// [`TrainConfig::patience`](super::TrainConfig::patience).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tempered_nll: Option<f64>,
    /// The epoch with the lowest so far, whose adapter is the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_epoch: Option<usize>,
    /// sum_i 1/(1 + alpha_i)
    pub soft_rank: f64,
    /// Ranks left.
    pub rank: usize,
    /// Ranks left of each layer.
    pub ranks: BTreeMap<String, usize>,
    /// Training images per second, the host's part included.
    pub images_per_second: f64,
    /// Share of the training part of the epoch in which the GPU had work, as
    /// [`IdleMeter`](crate::gpu::IdleMeter) sees it.
    pub utilisation: f64,
    /// Seconds in which it had none because the next batch was not ready.
    pub input_wait_seconds: f64,
    /// Of the whole epoch.
    pub seconds: f64,
    /// What was cut at its end.
    pub prune: Option<PruneEvent>,
}

/// What became of an epoch.
pub enum EpochOutcome {
    /// It is done.
    Done(Box<EpochReport>),
    /// The observer asked to stop; the state is that of the middle of an epoch.
    Interrupted,
    /// There was no epoch left.
    Finished,
}
