//! Softmax and what a step reports.

use bayeslora::low_level::model::{GateMode, StepValues};

use crate::bench::{Bench, Lane, SUM, assert_folded, everywhere, values};
use crate::reference::head;
use crate::reference::tensor::Tensor;

/// A softmax rests on the device's `exp` and `log`, which WGSL allows some units of 2^-23 each.
const SOFTMAX: f64 = 2e-6;

fn step(bench: &mut Bench, values: &StepValues) -> bayeslora::low_level::gpu::Slot {
    let step = StepValues::buffer(bench.gpu());
    values.write(bench.gpu(), &step);
    bench.graph.builder.buffer("step", &step)
}

/// Logits of ordinary size, or so large that a softmax without the maximum taken out overflows.
fn logits(rows: usize, classes: usize, size: f64) -> Tensor {
    Tensor::random(&[rows, classes], 1).map(|value| f64::from((size * value) as f32))
}

/// Rows, of these real, classes, size of the logits.
const SHAPES: [(usize, usize, usize, f64); 6] = [
    (1, 1, 1, 1.0),
    (3, 3, 5, 4.0),
    (9, 7, 10, 100.0),
    (40, 33, 13, 8.0),
    (40, 1, 3, 4.0),
    (200, 199, 6, 2.0),
];

#[test]
fn cross_entropy() {
    for (rows, count, classes, size) in SHAPES {
        let logits = logits(rows, classes, size);
        let labels: Vec<usize> = (0..rows).map(|row| row * 7 % classes).collect();
        let real = Tensor::new(&[count, classes], logits.data[..count * classes].to_vec());
        let (mean, real_gradient) = head::cross_entropy(&real, &labels[..count]);
        // Powers of two, which round nothing.
        let class_weights: Vec<f32> = (0..classes).map(|c| [1.0, 0.25, 2.0][c % 3]).collect();
        let weight = |row: usize| f64::from(class_weights[labels[row]]);
        let gradient = Tensor::from_fn(&[rows, classes], |i| {
            let real = real_gradient.data.get(i);
            real.map_or(0.0, |value| weight(i / classes) * value)
        });
        let log_p = head::log_softmax(&real);
        let losses: Vec<f64> = (0..rows)
            .flat_map(|row| match row < count {
                false => [0.0, 0.0],
                true => {
                    let own = log_p.at(&[row, labels[row]]);
                    let best = (0..classes).all(|c| log_p.at(&[row, c]) <= own);
                    [-own * weight(row), f64::from(u8::from(best))]
                }
            })
            .collect();
        let total: f64 = (0..count).map(|row| losses[2 * row] / weight(row)).sum();
        assert!((total / count as f64 - mean).abs() < 1e-12, "the twin");

        let name = format!("cross entropy {classes} classes {count} of {rows} rows");
        let plans = everywhere(&name, 3, |bench| {
            let values = StepValues {
                count,
                ..StepValues::prediction(0, 0, GateMode::Mean)
            };
            let step = step(bench, &values);
            let logits = bench.buffer_input(&logits);
            let labels: Vec<u32> = labels.iter().map(|label| *label as u32).collect();
            let labels = bench.words(&labels);
            let out = bench.target(losses.len());
            let bits: Vec<u32> = class_weights
                .iter()
                .map(|weight| weight.to_bits())
                .collect();
            let weights = bench.words(&bits);
            let grad = bench
                .graph
                .cross_entropy(step, logits, labels, weights, out.slot);
            bench.expect("gradient", grad, &gradient, SOFTMAX);
            let mut lanes = self::values(&losses);
            lanes.resize(losses.len().next_multiple_of(4), Lane::Untouched);
            bench.expect_target("losses", &out, lanes, SOFTMAX);
        });
        if rows == 200 {
            assert_folded(&plans);
        }
    }
}

#[test]
fn log_softmax() {
    for (rows, _, classes, size) in SHAPES {
        let logits = logits(rows, classes, size);
        let expected = head::log_softmax(&logits);
        let name = format!("log softmax {classes} classes {rows} rows");
        everywhere(&name, 3, |bench| {
            let logits = bench.buffer_input(&logits);
            let mut lanes = values(&expected.data);
            lanes.resize(lanes.len().next_multiple_of(4), Lane::Untouched);
            let out = bench.target(lanes.len());
            bench.graph.log_softmax(logits, out.slot);
            bench.expect_target("log p", &out, lanes, SOFTMAX);
        });
    }
}

#[test]
fn statistics() {
    for (rows, ranks, slot) in [(1, 0, 0), (9, 5, 1), (40, 13, 2)] {
        let losses = Tensor::random(&[rows, 2], 1);
        let kl = Tensor::random(&[ranks], 2);
        let column = |c: usize| losses.data.iter().skip(c).step_by(2).sum::<f64>();
        let count = rows.div_ceil(2);
        let mut lanes = vec![Lane::Untouched; 12];
        let sums = [column(0), column(1), kl.data.iter().sum(), count as f64];
        lanes[4 * slot..4 * slot + 4].copy_from_slice(&values(&sums));
        everywhere(
            &format!("statistics {rows} rows {ranks} ranks"),
            3,
            |bench| {
                let given = StepValues {
                    count,
                    slot,
                    ..StepValues::prediction(0, 0, GateMode::Mean)
                };
                let step = step(bench, &given);
                let losses = bench.data(&losses.to_f32());
                // A binding cannot be empty; what is there must not be read.
                let mut kl = kl.to_f32();
                kl.resize(ranks.max(1).next_multiple_of(4), f32::NAN);
                let kl = bench.data(&kl);
                let out = bench.target(12);
                let graph = &mut bench.graph;
                graph.statistics(step, losses, kl, out.slot, rows, ranks);
                bench.expect_target("statistics", &out, lanes.clone(), SUM);
            },
        );
    }
}
