//! The adapters' thin products.

use bayeslora::low_level::model::{ConvSpec, Outer, Up};

use crate::bench::{ROUNDING, SUM, a_lanes, b_lanes, every_low_rank, everywhere, vector_lanes};
use crate::reference::conv::{Geometry, conv2d, conv2d_weight_gradient};
use crate::reference::tensor::Tensor;

const SCALE: f32 = 1.75;

fn spec(kernel: usize, stride: usize, channels: usize) -> ConvSpec {
    ConvSpec {
        name: "layer".into(),
        norm: "norm".into(),
        in_channels: channels,
        out_channels: 1,
        kernel,
        stride,
        pad: kernel / 2,
    }
}

/// Channels, kernel, stride, input height and width, rows, rank.
type Shape = (usize, usize, usize, [usize; 2], usize, usize);

const SHAPES: &[Shape] = &[
    (3, 7, 2, [9, 9], 1, 8),
    (5, 3, 1, [5, 7], 3, 3),
    (6, 3, 2, [5, 7], 9, 5),
    (10, 1, 2, [7, 5], 17, 1),
    (13, 3, 1, [1, 1], 33, 9),
    (13, 1, 1, [1, 1], 40, 10),
    (3, 3, 2, [3, 3], 40, 12),
    // Enough positions for parts of several, and more column quads than lanes.
    (13, 3, 1, [13, 13], 3, 12),
    (70, 3, 2, [4, 6], 17, 8),
    // Quads for more than 32 invocations that share them.
    (140, 1, 1, [1, 2], 5, 9),
];

#[test]
fn down() {
    for &(channels, kernel, stride, [height, width], rows, rank) in SHAPES {
        let x = Tensor::random(&[rows, channels, height, width], 1);
        let a = Tensor::random(&[rank, channels, kernel, kernel], 2);
        let expected = conv2d(&x, &a, Geometry::new(stride, kernel / 2));
        let spec = spec(kernel, stride, channels);
        let name =
            format!("down {channels}>{rank} k{kernel} s{stride} {height}x{width} {rows} rows");
        every_low_rank(&name, 20, |bench| {
            let (x, a) = (bench.input(&x), bench.lanes(&a_lanes(&a)));
            let low = bench
                .graph
                .down("down".into(), Some(&spec), x, a, rank, None);
            bench.expect("low", low, &expected, SUM);
        });
    }
}

#[test]
fn down_with_bias() {
    for (features, rows, classes) in [(3, 1, 1), (13, 9, 5), (10, 40, 10), (6, 33, 13)] {
        let x = Tensor::random(&[rows, features, 1, 1], 1);
        let w = Tensor::random(&[classes, features, 1, 1], 2);
        let bias = Tensor::random(&[classes], 3);
        let product = conv2d(&x, &w, Geometry::new(1, 0));
        let expected = Tensor::from_fn(&[rows, classes], |i| {
            product.data[i] + bias.data[i % classes]
        });
        let name = format!("down with bias {features}>{classes} {rows} rows");
        every_low_rank(&name, 5, |bench| {
            let (x, a) = (bench.buffer_input(&x), bench.lanes(&a_lanes(&w)));
            // The bias' own padding must not reach the logits' padding.
            let mut padded = bias.to_f32();
            padded.resize(classes.next_multiple_of(4), f32::NAN);
            let bias = Some(bench.data(&padded));
            let low = bench.graph.down("down".into(), None, x, a, classes, bias);
            bench.expect("low", low, &expected, SUM);
        });
    }
}

#[test]
fn outer() {
    let (mut whole, mut split) = (0, 0);
    for &(channels, kernel, stride, [height, width], rows, rank) in SHAPES {
        let geometry = Geometry::new(stride, kernel / 2);
        let [out_height, out_width] =
            [height, width].map(|side| geometry.output_size(side, kernel));
        let x = Tensor::random(&[rows, channels, height, width], 1);
        let low = Tensor::random(&[rows, rank, out_height, out_width], 2);
        let z = Tensor::random(&[rows, rank], 3);
        for gated in [true, false] {
            let positions = out_height * out_width;
            let left = Tensor::from_fn(&low.shape, |i| {
                let gate = if gated { z.data[i / positions] } else { 1.0 };
                f64::from(SCALE) * gate * low.data[i]
            });
            let expected = conv2d_weight_gradient(&x, &left, [kernel; 2], geometry);
            let spec = spec(kernel, stride, channels);
            let name = format!(
                "outer {channels}x{rank} k{kernel} s{stride} {height}x{width} {rows} rows gated {gated}"
            );
            let plans = every_low_rank(&name, 17, |bench| {
                let x = match gated {
                    true => bench.input(&x),
                    // The head's own gradient reads the pooled features.
                    false => bench.buffer_input(&x),
                };
                let low = bench.buffer_input(&low);
                let gates = gated.then(|| bench.buffer_input(&z).slot);
                let lanes = a_lanes(&expected);
                let grad = bench.target(lanes.len());
                bench.graph.outer(Outer {
                    label: "outer".into(),
                    // Without a geometry it is 1x1, as for B and the head.
                    geometry: (kernel > 1 || stride > 1).then_some(&spec),
                    x,
                    low,
                    gates,
                    scale: SCALE,
                    grad: grad.slot,
                });
                bench.expect_target("grad", &grad, lanes, SUM);
            });
            for (_, dispatches) in plans {
                match dispatches.len() {
                    1 => whole += 1,
                    _ => split += 1,
                }
            }
        }
    }
    assert!(whole > 0 && split > 0, "{whole} whole, {split} split");
}

#[test]
fn sum_rows() {
    for (channels, rows) in [(1, 1), (5, 9), (10, 40), (13, 33)] {
        let x = Tensor::random(&[rows, channels], 1);
        let expected: Vec<f64> = (0..channels)
            .map(|c| (0..rows).map(|row| x.at(&[row, c])).sum())
            .collect();
        everywhere(&format!("sum of {rows} rows of {channels}"), 3, |bench| {
            let x = bench.buffer_input(&x);
            let lanes = vector_lanes(&expected);
            let out = bench.target(lanes.len());
            bench.graph.sum_rows("sum".into(), x, out.slot);
            bench.expect_target("sum", &out, lanes, ROUNDING);
        });
    }
}

#[test]
fn up() {
    // Rank, channels, rows, rows that share a row of `low` and `base`.
    let shapes = [
        (1, 3, 1, 1),
        (3, 5, 9, 3),
        (8, 13, 17, 1),
        (9, 10, 40, 8),
        (12, 6, 33, 11),
        (5, 70, 40, 1),
    ];
    for (rank, channels, rows, share) in shapes {
        let low = Tensor::random(&[rows / share, rank], 1);
        let b = Tensor::random(&[channels, rank], 2);
        let z = Tensor::random(&[rows, rank], 3);
        let base = Tensor::random(&[rows / share, channels], 4);
        for (gated, based) in [(true, true), (true, false), (false, true), (false, false)] {
            let expected = Tensor::from_fn(&[rows, channels], |at| {
                let (row, o) = (at / channels, at % channels);
                let term = |i: usize| {
                    let gate = match gated {
                        true => f64::from(SCALE) * z.at(&[row, i]),
                        false => 1.0,
                    };
                    gate * low.at(&[row / share, i]) * b.at(&[o, i])
                };
                let base = if based {
                    base.at(&[row / share, o])
                } else {
                    0.0
                };
                base + (0..rank).map(term).sum::<f64>()
            });
            let name = format!(
                "up {rank}>{channels} {rows} rows share {share} gated {gated} base {based}"
            );
            everywhere(&name, 5, |bench| {
                let (low, up) = (bench.buffer_input(&low), bench.lanes(&b_lanes(&b)));
                let gates = gated.then(|| (bench.buffer_input(&z).slot, SCALE));
                let base = based.then(|| bench.buffer_input(&base));
                let out = bench.graph.up(Up {
                    label: "up".into(),
                    low,
                    up,
                    channels,
                    rows,
                    gates,
                    base,
                });
                bench.expect("out", out, &expected, SUM);
            });
        }
    }
}
