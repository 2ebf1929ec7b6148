//! How long the GPU has nothing to do.

use std::time::{Duration, Instant};

use super::Gpu;

/// Adds up the time in which all submitted work is done and nothing new has come, as the host sees
/// it: from the last moment at which the queue was seen to hold work to the next submission. So idle
/// time is over-estimated, by no more than the time between two looks.
pub struct IdleMeter {
    gpu: Gpu,
    /// The last moment at which there was work.
    busy: Instant,
    empty: bool,
    idle: Duration,
}

impl IdleMeter {
    /// Starts with a GPU that has nothing to do.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            busy: Instant::now(),
            empty: true,
            idle: Duration::ZERO,
        }
    }

    /// Looks whether the queue has run empty; whether it has.
    pub fn look(&mut self) -> bool {
        if !self.empty {
            self.empty = self.gpu.is_idle();
            if !self.empty {
                self.busy = Instant::now();
            }
        }
        self.empty
    }

    /// To be called before each submission.
    pub fn submitting(&mut self) {
        if self.look() {
            self.idle += self.busy.elapsed();
        }
        self.busy = Instant::now();
        self.empty = false;
    }

    pub fn idle(&self) -> Duration {
        self.idle
    }
}
