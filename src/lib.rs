//! Bayesian low-rank adapters (BayesLoRA) on any GPU, through WebGPU.

pub mod data;
pub mod formats;
pub mod gpu;
pub mod metrics;
pub mod model;
pub mod predict;
pub mod train;

pub use wgpu;
