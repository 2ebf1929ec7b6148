//! The stem's max-pool (3x3, stride 2, padding 1) and the global average pool.

use super::conv::Geometry;
use super::tensor::Tensor;

const WINDOW: usize = 3;

fn geometry() -> Geometry {
    Geometry::new(2, 1)
}

fn pooled_shape(x: &Tensor) -> [usize; 4] {
    let [n, c, h, w] = x.dims4();
    let size = |s| geometry().output_size(s, WINDOW);
    [n, c, size(h), size(w)]
}

/// The flat index in `x` of the window's maximum; of equals the first in row-major order, as PyTorch.
fn argmax(x: &Tensor, [image, c, oy, ox]: [usize; 4]) -> usize {
    let [_, _, h, w] = x.dims4();
    let mut best: Option<usize> = None;
    for u in 0..WINDOW {
        for v in 0..WINDOW {
            let sources = (geometry().source(oy, u, h), geometry().source(ox, v, w));
            if let (Some(iy), Some(ix)) = sources {
                let candidate = x.index(&[image, c, iy, ix]);
                if best.is_none_or(|best| x.data[candidate] > x.data[best]) {
                    best = Some(candidate);
                }
            }
        }
    }
    best.expect("a window overlaps the image")
}

fn unflatten(flat: usize, [_, c, h, w]: [usize; 4]) -> [usize; 4] {
    [
        flat / (c * h * w),
        flat / (h * w) % c,
        flat / w % h,
        flat % w,
    ]
}

pub fn max_pool(x: &Tensor) -> Tensor {
    let shape = pooled_shape(x);
    Tensor::from_fn(&shape, |i| x.data[argmax(x, unflatten(i, shape))])
}

pub fn max_pool_backward(x: &Tensor, dy: &Tensor) -> Tensor {
    let shape = pooled_shape(x);
    assert_eq!(dy.shape, shape);
    let mut dx = Tensor::zeros(&x.shape);
    for (i, gradient) in dy.data.iter().enumerate() {
        dx.data[argmax(x, unflatten(i, shape))] += gradient;
    }
    dx
}

/// `[N,C,H,W]` to `[N,C]`.
pub fn average_pool(x: &Tensor) -> Tensor {
    let [n, c, h, w] = x.dims4();
    Tensor::from_fn(&[n, c], |i| {
        x.data[i * h * w..(i + 1) * h * w].iter().sum::<f64>() / (h * w) as f64
    })
}

pub fn average_pool_backward(dy: &Tensor, [h, w]: [usize; 2]) -> Tensor {
    let [n, c] = dy.dims2();
    Tensor::from_fn(&[n, c, h, w], |i| dy.data[i / (h * w)] / (h * w) as f64)
}
