//! The rooms of the house, for the command line, for tests and for experiments. **Unstable**: anything here may
//! change or go with any version; what an application needs is at the root of the crate.
//!
//! Each module imports only those before it: [`errors`], [`gpu`] (device, kernels, plans), [`formats`], [`metrics`],
//! [`model`] (ResNets, adapters, the operations), [`data`], [`predict`], [`train`], `report`, `study`, `bench`.
//! [`ranges`] has the ranges of all options.

#[cfg(feature = "cli")]
#[allow(missing_docs)]
#[path = "bench/mod.rs"]
pub mod bench;
#[path = "data/mod.rs"]
pub mod data;
#[path = "errors/mod.rs"]
pub mod errors;
#[path = "formats/mod.rs"]
pub mod formats;
#[path = "gpu/mod.rs"]
pub mod gpu;
#[path = "metrics/mod.rs"]
pub mod metrics;
#[allow(missing_docs)]
#[path = "model/mod.rs"]
pub mod model;
#[path = "predict/mod.rs"]
pub mod predict;
#[allow(missing_docs)]
#[path = "ranges.rs"]
pub mod ranges;
#[cfg(feature = "study")]
#[allow(missing_docs)]
#[path = "report/mod.rs"]
pub mod report;
#[cfg(feature = "study")]
#[allow(missing_docs)]
#[path = "study/mod.rs"]
pub mod study;
#[path = "train/mod.rs"]
pub mod train;
