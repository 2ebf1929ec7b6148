//! Waiting for submitted work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::faults::without_panic;
use super::{Gpu, GpuError};

/// Work that was submitted, to be waited for.
#[derive(Clone)]
pub struct Submission {
    index: wgpu::SubmissionIndex,
    done: Arc<AtomicBool>,
}

impl Submission {
    /// What `queue` was given last.
    pub(super) fn new(index: wgpu::SubmissionIndex, queue: &wgpu::Queue) -> Self {
        let done = Arc::<AtomicBool>::default();
        let tell = done.clone();
        queue.on_submitted_work_done(move || tell.store(true, Ordering::Release));
        Self { index, done }
    }
}

/// Bounds of a pause between two looks: a share of the time already waited, so that short waits end soon and long ones cost
/// nothing.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_micros(500);

impl Gpu {
    /// Waits for all work that this library has submitted; an application's own on the same device is not waited for.
    ///
    /// # Errors
    /// The device is lost, or something since the last look has failed.
    pub fn wait(&self) -> Result<(), GpuError> {
        match self.last_submission() {
            Some(submission) => self.wait_for(submission),
            None => self.check(),
        }
    }

    /// Waits until a submission is done, so that the host does not run far ahead.
    ///
    /// It looks again and again instead of letting wgpu wait: that would hold locks which an application's other threads
    /// need, for as long as the work takes.
    ///
    /// # Errors
    /// The device is lost, something since the last look has failed, or the work was [stopped](super::StopHandle).
    pub fn wait_for(&self, submission: Submission) -> Result<(), GpuError> {
        let start = Instant::now();
        loop {
            self.stop_handle().check()?;
            self.check()?;
            if self.poll(wgpu::PollType::Poll).is_none() {
                return self.check();
            }
            if submission.done.load(Ordering::Acquire) {
                break;
            }
            thread::sleep((start.elapsed() / 16).clamp(SHORTEST, LONGEST));
        }
        // It returns at once, and knows whether the work has ever come to the device.
        let wait = wgpu::PollType::Wait {
            submission_index: Some(submission.index),
            timeout: None,
        };
        if !matches!(self.poll(wait), Some(Ok(_))) {
            self.faults().lose("work that was submitted did not run");
        }
        self.check()
    }

    /// Whether all submitted work is done, or never will be.
    pub fn is_idle(&self) -> bool {
        self.faults().is_lost()
            || self
                .poll(wgpu::PollType::Poll)
                .is_none_or(|status| status.is_ok_and(|status| status.is_queue_empty()))
    }

    /// `None` where wgpu gave up: a device that is lost while it is waited for makes it panic.
    fn poll(&self, how: wgpu::PollType) -> Option<Result<wgpu::PollStatus, wgpu::PollError>> {
        without_panic(|| self.device().poll(how))
            .inspect_err(|reason| self.faults().lose(reason))
            .ok()
    }
}
