//! The Python package: see `python/bayeslora/__init__.pyi`.
//!
//! Work runs on a thread of its own, without the interpreter; the caller's thread waits for it, and hears signals.

mod adapter;
mod attended;
mod checkpoint;
mod devices;
mod errors;
mod images;
mod options;
mod prediction;
mod predictor;
mod prior;
mod progress;
mod train;

use pyo3::prelude::*;

/// What `bayeslora` is made of.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::adapter::Adapter;
    #[pymodule_export]
    use super::devices::{Device, devices};
    #[pymodule_export]
    use super::errors::GpuLost;
    #[pymodule_export]
    use super::prediction::Prediction;
    #[pymodule_export]
    use super::predictor::Predictor;
    #[pymodule_export]
    use super::progress::Progress;
    #[pymodule_export]
    use super::train::{Training, train};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
