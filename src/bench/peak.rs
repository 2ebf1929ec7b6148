//! What the device can do at best, to compare kernels with: a copy and a large matrix product.

use std::sync::Arc;

use super::measure::{Better, Effort, Row};
use super::{BenchError, Subject};
use crate::gpu::GpuError;
use crate::model::{ConvForward, ConvSpec, ConvWeights, FrozenConv, Graph, Map};

/// Bytes copied, and rows of the product; fewer where a CPU does the work.
const COPIED: [u64; 2] = [64 << 20, 512 << 20];
const ROWS: [usize; 2] = [32, 256];

/// The product is of 64 positions of each row, `CHANNELS` by `CHANNELS`.
const SIDE: usize = 8;
const CHANNELS: usize = 1024;

pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    Ok(vec![copy(subject)?, product(subject)?])
}

/// Bytes read and written a second by a copy from buffer to buffer.
fn copy(subject: &Subject) -> Result<Row, BenchError> {
    let gpu = &subject.gpu;
    let bytes = COPIED[usize::from(!gpu.is_software())].min(gpu.limits().max_buffer_size / 4);
    let [from, to] = ["from", "to"].map(|label| gpu.storage(label, bytes));
    let seconds = Effort::default().sample(|| -> Result<(), GpuError> {
        gpu.submit(
            || "a copy".into(),
            |encoder| {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
            },
        );
        gpu.wait()
    })?;
    let rates: Vec<f64> = seconds.iter().map(|s| 2e-9 * bytes as f64 / s).collect();
    Ok(Row::speed("peak/copy", "GB/s", Better::Higher, &rates))
}

/// Operations a second of a 1x1 convolution that no memory limits, by the kernel it gets here.
fn product(subject: &Subject) -> Result<Row, BenchError> {
    let gpu = &subject.gpu;
    let rows = ROWS[usize::from(!gpu.is_software())];
    let map = Map::square(SIDE, CHANNELS);
    let value = |i: usize| (i * 7919 % 1013) as f32 / 1013.0 - 0.5;
    let spec = ConvSpec {
        name: "product".into(),
        norm: String::new(),
        in_channels: CHANNELS,
        out_channels: CHANNELS,
        kernel: 1,
        stride: 1,
        pad: 0,
    };
    let weights = ConvWeights {
        weight: (0..CHANNELS * CHANNELS).map(value).collect(),
        gain: vec![1.0; CHANNELS],
        bias: vec![0.0; CHANNELS],
        scales: None,
    };
    let frozen = FrozenConv::new(gpu, &spec, Arc::new(weights));
    let values: Vec<f32> = (0..map.floats() * rows).map(value).collect();
    let mut graph = Graph::new(gpu, subject.network.kernels);
    let input = graph.constant("rows", map, rows, &values);
    let out = graph.conv_forward(ConvForward {
        frozen: &frozen,
        input,
        rows,
        adapter: None,
        residual: None,
        relu: false,
    });
    graph.builder.keep(out.slot);
    let plan = graph.builder.build()?;
    plan.run();
    let conv = plan.dispatches().len() - 1;
    let mut rates = Vec::new();
    Effort::default().sample(|| -> Result<(), GpuError> {
        let seconds = plan.time_one(conv)?.seconds;
        rates.push(plan.dispatches()[conv].flops as f64 / seconds * 1e-9);
        Ok(())
    })?;
    // The run that only warms up.
    rates.remove(0);
    Ok(Row::speed(
        "peak/product",
        "GFLOP/s",
        Better::Higher,
        &rates,
    ))
}
