//! Stopping work from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::GpuError;

/// Stops what was made with [`Gpu::stopped_by`](super::Gpu::stopped_by): training, prediction, evaluation, the caching of
/// features. Clones are the same handle; any thread may use them.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// That has stopped nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop. Work that has been submitted already is not taken back.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets work go on again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`GpuError::Stopped`] once it was asked for.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.is_stopped() {
            true => Err(GpuError::Stopped),
            false => Ok(()),
        }
    }
}
