//! What `bayeslora bench` and `cargo bench` measure: whole steps, single convolutions, memory, a cold
//! start, what pruning and merging save, and what the host costs.

mod compare;
mod host;
mod kernels;
mod measure;
mod memory;
mod merged;
mod paired;
mod peak;
mod pruned;
mod report;
mod session;
mod start;
mod steps;
mod subject;
mod suite;
mod targets;

pub use compare::{Comparison, Incomparable, Ratio};
pub use kernels::{LayerShape, conv_shapes};
pub use measure::{Better, Effort, Kind, Row, Spread};
pub use paired::{ERROR, Paired, Rounds, least_rounds, paired};
pub use report::{Report, SCHEMA};
pub use steps::{Step, Work};
pub use subject::{Settings, Subject};
pub use suite::{Scenario, Suite};
pub use targets::{Target, Verdict, targets};

use crate::data::DataError;
use crate::gpu::GpuError;
use crate::model::BackboneError;
use crate::predict::PredictError;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    #[error(transparent)]
    Predict(#[from] PredictError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the cold start cannot be measured: {0}")]
    Start(String),
}
