//! Pooling, forward and back.

use crate::bench::{EXACT, ROUNDING, everywhere};
use crate::reference::pool;
use crate::reference::tensor::Tensor;

const SHAPES: [(usize, [usize; 2], usize); 6] = [
    (3, [1, 1], 1),
    (5, [3, 3], 9),
    (6, [5, 7], 3),
    (10, [2, 2], 17),
    (13, [7, 4], 9),
    (3, [8, 6], 40),
];

/// Few levels, some of them negative: most windows have ties.
fn coarse(shape: &[usize], seed: u64) -> Tensor {
    Tensor::random(shape, seed).map(|value| (value * 2.0).round() / 2.0)
}

/// The gradient passes where the ReLU that made `x` did.
fn masked(gradient: &Tensor, x: &Tensor) -> Tensor {
    gradient.zip(x, |gradient, x| if x > 0.0 { gradient } else { 0.0 })
}

#[test]
fn max_pool() {
    for (channels, [height, width], rows) in SHAPES {
        for ties in [false, true] {
            let shape = [rows, channels, height, width];
            let x = match ties {
                true => coarse(&shape, 1),
                false => Tensor::random(&shape, 1),
            };
            let expected = pool::max_pool(&x);
            let grad = Tensor::random(&expected.shape, 2);
            let gradient = masked(&pool::max_pool_backward(&x, &grad), &x);
            let name =
                format!("max pool {channels} channels {height}x{width} {rows} rows ties {ties}");
            everywhere(&name, 6, |bench| {
                let x = bench.input(&x);
                let out = bench.graph.max_pool(x);
                bench.expect("out", out, &expected, EXACT);
                let grad = bench.input(&grad);
                let out = bench.graph.max_pool_backward(x, grad);
                // Up to four windows share a maximum.
                bench.expect("gradient", out, &gradient, ROUNDING);
            });
        }
    }
}

#[test]
fn average_pool() {
    for (channels, [height, width], rows) in SHAPES {
        let x = Tensor::random(&[rows, channels, height, width], 1);
        let grad = Tensor::random(&[rows, channels], 2);
        let gradient = masked(&pool::average_pool_backward(&grad, [height, width]), &x);
        let expected = pool::average_pool(&x);
        let name = format!("average pool {channels} channels {height}x{width} {rows} rows");
        everywhere(&name, 6, |bench| {
            let x = bench.input(&x);
            let out = bench.graph.average_pool(x);
            bench.expect("out", out, &expected, ROUNDING);
            let grad = bench.buffer_input(&grad);
            let out = bench.graph.average_pool_backward(x, grad);
            bench.expect("gradient", out, &gradient, ROUNDING);
        });
    }
}
