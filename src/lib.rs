//! Bayesian low-rank adapters on GPUs and CPUs, through WebGPU.
//!
//! A frozen ResNet-18 or ResNet-34 gets low-rank adapters, y = W x + s B (z . A x). Every rank carries a Gaussian
//! gate z ~ N(1, alpha) with a learnt log alpha; a KL prunes the ranks that contribute too little, and Monte
//! Carlo over the gates alone gives predictions with uncertainty ("Low-Rank Variational Dropout:
//! Uncertainty and Rank Selection in Adapters", arXiv 2506.22809). All of it runs in WGSL on Vulkan,
//! Metal and DX12, and on software adapters; Metal and DX12 have not been tried.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use bayeslora::{Backbone, Gpu, GpuOptions, Predictor, Samples, TrainConfig, TrainError, Trainer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(GpuOptions::default())?;
//! let backbone = Backbone::load("embedded")?; // or the file of a ResNet-18 or 34
//! let images = bayeslora::open_images("photos/", &Default::default())?;
//! let (train, validation) = images.train.split_validation(0.1, 1)?;
//!
//! let mut observe = |_progress| ControlFlow::Continue(());
//! let config = TrainConfig::default();
//! let mut trainer =
//!     Trainer::new(&gpu, &backbone, config, train, Some(validation), &mut observe)?;
//! trainer.train(&mut observe, |_, epoch| -> Result<(), TrainError> {
//!     println!("{} ranks, NLL {:?}", epoch.rank, epoch.nll);
//!     Ok(())
//! })?;
//! let adapter = trainer.adapter()?;
//! adapter.save_peft("adapter/")?;
//!
//! let predictor = Predictor::new(&gpu, &backbone, &adapter)?;
//! let answer = predictor.predict(images.test, Samples::new(8, 1), false)?;
//! println!("{:?} {:?}", answer.mean, answer.mutual_information);
//! # Ok(())
//! # }
//! ```
//!
//! What stands here is what an application needs. Structs of options get new fields: write them with
//! `..Default::default()`. Everything else is in [`low_level`], which may change with any version.
//!
//! Without default features the library brings no command line, terminal, chart or font with it; the
//! repository's `docs/usage.md` lists the features.

#![warn(missing_docs)]

pub mod low_level;

use low_level::{data, errors, formats, gpu, metrics, model, predict, ranges, train};
#[cfg(feature = "study")]
use low_level::{report, study};

// The device.
pub use gpu::{
    AdapterChoice, Adapters, Gpu, GpuError, GpuOptions, Precision, Shortfall, StopHandle, Task,
};
pub use wgpu;

// What an error comes to.
pub use errors::{ErrorKind, in_full};

// The frozen network and the adapter on it, in files.
pub use formats::{Adapter, Asset, Checkpoint, ClassBalance, FormatError, GateDistribution};
pub use model::{Backbone, BackboneBits};

// Images.
pub use data::{DataError, Dataset, OpenOptions, Picture, Splits, decode_image};
pub use data::{open as open_images, open_test as open_test_images};

// Training.
pub use train::kl::{KlMultiplicity, KlPrior};
pub use train::{
    Augment, ClassWeights, ConfigError, EpochOutcome, EpochReport, Gates, LrPoint, LrRangeTest,
    LrSchedule, Method, Observer, Progress, PruneEvent, PruneGauge, ResolvedConfig, Sampler,
    SetError, Span, TrainConfig, TrainError, Trainer,
};

// Cutting ranks of what was trained.
pub use train::gauge::{Order as PruneOrder, Posterior};
pub use train::{PruneError, PruneImages, PruneOptions, PruneReport, Pruning};

// Prediction.
pub use predict::ood::Familiarity;
pub use predict::{
    Answer, ClassAnswer, ClassMap, ClassPrior, Ensemble, PredictError, Prediction, Predictor, Run,
    RunError, Samples, Session, SessionOptions,
};
