//! Bayesian low-rank adapters (BayesLoRA) on any GPU, through WebGPU.

pub mod data;
pub mod gpu;
pub mod formats;
pub mod metrics;
pub mod model;
pub mod train;
