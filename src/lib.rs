//! Bayesian low-rank adapters on GPUs and CPUs, through WebGPU.
//!
//! A frozen ResNet-18 gets low-rank adapters, y = W x + s B (z . A x). Every rank carries a Gaussian
//! gate z ~ N(1, alpha) with a learnt log alpha; a KL prunes the ranks that contribute too little, and Monte
//! Carlo over the gates alone gives predictions with uncertainty ("Low-Rank Variational Dropout:
//! Uncertainty and Rank Selection in Adapters", arXiv 2506.22809). All of it runs in WGSL on Vulkan,
//! Metal and DX12, and on software adapters; Metal and DX12 have not been tried.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use bayeslora::{Backbone, EpochOutcome, Gpu, GpuOptions, Predictor, Samples, TrainConfig, Trainer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Gpu::open(GpuOptions::default())?;
//! let backbone = Backbone::load("embedded")?; // or a safetensors file with torchvision's names
//! let images = bayeslora::data::open("photos/", &Default::default())?;
//! let (train, validation) = images.train.split_validation(0.1, 1)?;
//!
//! let mut observe = |_progress| ControlFlow::Continue(());
//! let config = TrainConfig::default();
//! let mut trainer =
//!     Trainer::new(&gpu, &backbone, config, train, Some(validation), &mut observe)?;
//! while let EpochOutcome::Done(epoch) = trainer.next_epoch(&mut observe)? {
//!     println!("{} ranks, NLL {:?}", epoch.rank, epoch.nll);
//! }
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
//! The modules, each of which imports only those before it: [`gpu`] (device, kernels, plans),
//! [`formats`], [`metrics`], [`model`] (ResNet-18, adapters, the operations), [`data`],
//! [`predict`], [`train`], [`report`], [`study`], [`mod@bench`]. [`ranges`] has the ranges of all options.

#[cfg(feature = "cli")]
pub mod bench;
pub mod data;
pub mod formats;
pub mod gpu;
pub mod metrics;
pub mod model;
pub mod predict;
pub mod ranges;
#[cfg(feature = "study")]
pub mod report;
#[cfg(feature = "study")]
pub mod study;
pub mod train;

pub use formats::Adapter;
pub use gpu::{Gpu, GpuOptions, StopHandle};
pub use model::Backbone;
pub use predict::{Predictor, Run, Samples, Session, SessionOptions};
pub use train::{EpochOutcome, TrainConfig, Trainer};
pub use wgpu;
