//! Measured times of single dispatches.

use std::time::Instant;

use super::{Gpu, GpuError};

/// The time of one dispatch.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Timing {
    pub seconds: f64,
    /// By the GPU's own clock (at pass boundaries), not the host's around a submission.
    pub gpu_clock: bool,
}

/// Times `count` dispatches, each recorded by `record` into a pass of its own.
pub(super) fn time(
    gpu: &Gpu,
    count: usize,
    record: impl Fn(usize, &mut wgpu::ComputePass),
) -> Result<Vec<Timing>, GpuError> {
    // Software adapters stamp the moment a pass is queued; the host's clock is right there.
    let gpu_clock = gpu.has(wgpu::Features::TIMESTAMP_QUERY) && !gpu.is_software();
    (0..count)
        .map(|index| match gpu_clock {
            true => by_gpu_clock(gpu, |pass| record(index, pass)),
            false => by_host_clock(gpu, |pass| record(index, pass)),
        })
        .collect()
}

fn by_host_clock(gpu: &Gpu, record: impl Fn(&mut wgpu::ComputePass)) -> Result<Timing, GpuError> {
    gpu.wait()?;
    let start = Instant::now();
    gpu.submit(measured, |encoder| {
        record(&mut encoder.begin_compute_pass(&Default::default()));
    });
    gpu.wait()?;
    Ok(Timing {
        seconds: start.elapsed().as_secs_f64(),
        gpu_clock: false,
    })
}

fn by_gpu_clock(gpu: &Gpu, record: impl Fn(&mut wgpu::ComputePass)) -> Result<Timing, GpuError> {
    let queries = gpu.during(measured, 0, || {
        gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("dispatch time"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        })
    });
    let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
    let resolved = gpu.create_buffer("dispatch time", 16, usage);
    gpu.submit(measured, |encoder| {
        record(
            &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            }),
        );
        encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
    });
    let stamps: Vec<u64> = gpu.read(&resolved, 0, 16)?;
    let ticks = stamps[1].saturating_sub(stamps[0]) as f64;
    let seconds = ticks * f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
    Ok(Timing {
        seconds,
        gpu_clock: true,
    })
}

fn measured() -> String {
    "a dispatch that is measured".into()
}
