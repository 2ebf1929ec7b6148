//! What a step costs the host, and whether the GPU would wait for it.

use std::time::Instant;

use super::measure::{Better, Effort, Row, median_of};
use super::{BenchError, Step, Subject, Work};
use crate::gpu::GpuError;
use crate::metrics::Bootstrap;

/// Of the step from cached features, the shortest one, which leaves the host the least time.
pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let step = Step::new(subject, Work::TrainCached)?;
    Ok(vec![encode(subject, &step)?, share(subject, &step)?])
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
    let name = "host/encode, a dispatch";
    Ok(Row::speed(name, "us", Better::Lower, &cost))
}

/// The host's time for a step (upload, encode, submit) as a share of the device's. In training the
/// host prepares a step while the device does the one before: the device waits where this passes
/// 100 %. (Whether it is idle cannot be asked: some drivers hold a submission back until the one
/// before is over.)
fn share(subject: &Subject, step: &Step) -> Result<Row, BenchError> {
    let (mut host, mut device) = (Vec::new(), Vec::new());
    Effort::default().sample(|| -> Result<(), BenchError> {
        let start = Instant::now();
        step.start()?;
        host.push(start.elapsed().as_secs_f64());
        subject.gpu.wait()?;
        device.push(start.elapsed().as_secs_f64() - host[host.len() - 1]);
        Ok(())
    })?;
    // The run that only warms up.
    host.remove(0);
    device.remove(0);
    let share = Bootstrap::default().interval(host.len(), |drawn| {
        100.0 * median_of(&host, drawn) / median_of(&device, drawn)
    });
    let name = "host/time of a step, of the GPU's";
    Ok(Row::share(name, "%", Better::Lower, share, host.len()))
}
