//! What encoding costs the host, and whether the GPU ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::measure::{Better, Effort, Row};
use super::{BenchError, Step, Subject, Work};
use crate::gpu::GpuError;
use crate::metrics::Bootstrap;

/// Training steps in a row, as the trainer runs them.
const STEPS: usize = 24;

pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let mut step = Step::new(subject, Work::TrainCached)?;
    step.run()?;
    Ok(vec![encode(subject, &step)?, waits(subject, &mut step)?])
}

/// Microseconds a dispatch from the first call until a plan is submitted, on an idle device.
fn encode(subject: &Subject, step: &Step) -> Result<Row, BenchError> {
    let dispatches = step.plan().dispatches().len() as f64;
    let mut cost = Vec::new();
    Effort::default().sample(|| -> Result<(), GpuError> {
        subject.gpu.wait()?;
        let start = Instant::now();
        step.plan().run();
        cost.push(1e6 * start.elapsed().as_secs_f64() / dispatches);
        subject.gpu.wait()
    })?;
    // The run that only warms up.
    cost.remove(0);
    Ok(Row::speed(
        "host/encode, a dispatch",
        "us",
        Better::Lower,
        &cost,
    ))
}

/// The share of steps that were over before the next one was submitted: then the device has waited.
/// One step is in flight while the host prepares the next, as in training.
fn waits(subject: &Subject, step: &mut Step) -> Result<Row, BenchError> {
    let mut in_flight: Option<(wgpu::SubmissionIndex, Arc<AtomicBool>)> = None;
    let mut waited = Vec::new();
    for _ in 0..=STEPS {
        let submission = step.start();
        let done = Arc::new(AtomicBool::new(false));
        let signal = done.clone();
        subject
            .gpu
            .queue()
            .on_submitted_work_done(move || signal.store(true, Ordering::Relaxed));
        if let Some((previous, done)) = in_flight.replace((submission, done)) {
            // Callbacks of what is over run here.
            let _ = subject.gpu.device().poll(wgpu::PollType::Poll);
            waited.push(f64::from(u8::from(done.load(Ordering::Relaxed))));
            subject.gpu.wait_for(previous)?;
        }
    }
    subject.gpu.wait()?;
    let share: Vec<f64> = waited.iter().map(|waited| 100.0 * waited).collect();
    Ok(Row::share(
        "host/steps that the GPU waited for",
        "%",
        Better::Lower,
        Bootstrap::default().mean(&share),
        share.len(),
    ))
}
