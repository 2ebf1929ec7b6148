//! Bayesian low-rank adapters (BayesLoRA) on any GPU, through WebGPU.

pub mod data;
pub mod formats;
pub mod metrics;
pub mod train;
