//! Two-dimensional convolution (cross-correlation, as in PyTorch) and its two gradients:
//! `y[n,o,p,q] = sum_{c,u,v} W[o,c,u,v] x[n,c, p*stride + u - pad, q*stride + v - pad]`.

use super::tensor::Tensor;
use rayon::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    pub stride: usize,
    pub pad: usize,
}

impl Geometry {
    pub fn new(stride: usize, pad: usize) -> Self {
        Self { stride, pad }
    }

    pub fn output_size(self, input: usize, kernel: usize) -> usize {
        (input + 2 * self.pad - kernel) / self.stride + 1
    }

    /// The input coordinate that `tap` of the kernel reads at an output coordinate, unless padding.
    pub fn source(self, output: usize, tap: usize, input_size: usize) -> Option<usize> {
        (output * self.stride + tap)
            .checked_sub(self.pad)
            .filter(|&input| input < input_size)
    }
}

/// Calls `visit(output offset, input offset)` within a plane for every pair that `tap` connects.
fn for_each_pair(
    geometry: Geometry,
    (tap_y, tap_x): (usize, usize),
    [in_h, in_w]: [usize; 2],
    [out_h, out_w]: [usize; 2],
    mut visit: impl FnMut(usize, usize),
) {
    for oy in 0..out_h {
        let Some(iy) = geometry.source(oy, tap_y, in_h) else {
            continue;
        };
        for ox in 0..out_w {
            if let Some(ix) = geometry.source(ox, tap_x, in_w) {
                visit(oy * out_w + ox, iy * in_w + ix);
            }
        }
    }
}

/// `x [N,Cin,H,W]`, `w [Cout,Cin,k,k]` to `[N,Cout,H',W']`.
pub fn conv2d(x: &Tensor, w: &Tensor, geometry: Geometry) -> Tensor {
    let [n, c_in, in_h, in_w] = x.dims4();
    let [c_out, w_in, k_h, k_w] = w.dims4();
    assert_eq!(c_in, w_in);
    let out_h = geometry.output_size(in_h, k_h);
    let out_w = geometry.output_size(in_w, k_w);
    let mut y = Tensor::zeros(&[n, c_out, out_h, out_w]);
    let planes = y.data.par_chunks_mut(out_h * out_w).enumerate();
    planes.for_each(|(plane, out)| {
        let (image, o) = (plane / c_out, plane % c_out);
        for c in 0..c_in {
            let input = &x.data[(image * c_in + c) * in_h * in_w..][..in_h * in_w];
            for u in 0..k_h {
                for v in 0..k_w {
                    let weight = w.data[((o * c_in + c) * k_h + u) * k_w + v];
                    let sizes = ([in_h, in_w], [out_h, out_w]);
                    for_each_pair(geometry, (u, v), sizes.0, sizes.1, |to, from| {
                        out[to] += weight * input[from];
                    });
                }
            }
        }
    });
    y
}

/// `dx` for an input of `[height, width]`, which the strided output does not determine.
pub fn conv2d_input_gradient(
    dy: &Tensor,
    w: &Tensor,
    [in_h, in_w]: [usize; 2],
    geometry: Geometry,
) -> Tensor {
    let [n, c_out, out_h, out_w] = dy.dims4();
    let [w_out, c_in, k_h, k_w] = w.dims4();
    assert_eq!(c_out, w_out);
    let mut dx = Tensor::zeros(&[n, c_in, in_h, in_w]);
    let planes = dx.data.par_chunks_mut(in_h * in_w).enumerate();
    planes.for_each(|(plane, input)| {
        let (image, c) = (plane / c_in, plane % c_in);
        for o in 0..c_out {
            let out = &dy.data[(image * c_out + o) * out_h * out_w..][..out_h * out_w];
            for u in 0..k_h {
                for v in 0..k_w {
                    let weight = w.data[((o * c_in + c) * k_h + u) * k_w + v];
                    let sizes = ([in_h, in_w], [out_h, out_w]);
                    for_each_pair(geometry, (u, v), sizes.0, sizes.1, |from, to| {
                        input[to] += weight * out[from];
                    });
                }
            }
        }
    });
    dx
}

/// `dW [Cout,Cin,k,k]`, summed over the batch.
pub fn conv2d_weight_gradient(
    x: &Tensor,
    dy: &Tensor,
    [k_h, k_w]: [usize; 2],
    geometry: Geometry,
) -> Tensor {
    let [n, c_in, in_h, in_w] = x.dims4();
    let [dy_n, c_out, out_h, out_w] = dy.dims4();
    assert_eq!(n, dy_n);
    let mut dw = Tensor::zeros(&[c_out, c_in, k_h, k_w]);
    let kernels = dw.data.par_chunks_mut(k_h * k_w).enumerate();
    kernels.for_each(|(kernel, taps)| {
        let (o, c) = (kernel / c_in, kernel % c_in);
        for image in 0..n {
            let input = &x.data[(image * c_in + c) * in_h * in_w..][..in_h * in_w];
            let out = &dy.data[(image * c_out + o) * out_h * out_w..][..out_h * out_w];
            for u in 0..k_h {
                for v in 0..k_w {
                    let sizes = ([in_h, in_w], [out_h, out_w]);
                    for_each_pair(geometry, (u, v), sizes.0, sizes.1, |to, from| {
                        taps[u * k_w + v] += out[to] * input[from];
                    });
                }
            }
        }
    });
    dw
}
