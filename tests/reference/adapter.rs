//! The rank-gated adapter of a convolution, `y = W * x + s B (z . (A * x))`.
//!
//! `A [r,Cin,k,k]` takes the stride and padding of the base, `B [Cout,r]` is a 1x1 convolution and the
//! gates `z [N,r]` are shared by all positions. Rank 0 is the base layer.

use super::conv::{Geometry, conv2d, conv2d_input_gradient, conv2d_weight_gradient};
use super::tensor::Tensor;

#[derive(Clone, Debug)]
pub struct Adapter {
    pub a: Tensor,
    pub b: Tensor,
    /// `lora_alpha / r_initial`, which a prune leaves alone.
    pub scale: f64,
}

#[derive(Clone, Debug)]
pub struct AdapterGradients {
    pub dx: Tensor,
    /// `[N,r,H,W]`
    pub q: Tensor,
    pub da: Tensor,
    pub db: Tensor,
    pub dz: Tensor,
    /// The likelihood's part of the gradient to `log alpha`, `sum_n dz_ni (z_ni - 1)/2`, from
    /// `z - 1 = e^{t/2} eps`.
    pub dt: Vec<f64>,
}

impl Adapter {
    pub fn rank(&self) -> usize {
        self.a.shape[0]
    }

    /// `n_i = Cin k^2 + Cout`.
    pub fn params_per_rank(&self) -> usize {
        self.a.shape[1..].iter().product::<usize>() + self.b.shape[0]
    }

    fn b_as_conv(&self) -> Tensor {
        let [c_out, r] = self.b.dims2();
        self.b.reshaped(&[c_out, r, 1, 1])
    }

    /// The adapter's own part of the output, and `h = A * x`.
    pub fn delta(&self, x: &Tensor, z: &Tensor, geometry: Geometry) -> (Tensor, Tensor) {
        let h = conv2d(x, &self.a, geometry);
        let gated = gate(&h, z);
        let y = conv2d(&gated, &self.b_as_conv(), Geometry::new(1, 0));
        (y.map(|v| self.scale * v), h)
    }

    /// `(y, h)`.
    pub fn forward(
        &self,
        x: &Tensor,
        w: &Tensor,
        z: &Tensor,
        geometry: Geometry,
    ) -> (Tensor, Tensor) {
        let (delta, h) = self.delta(x, z, geometry);
        (conv2d(x, w, geometry).plus(&delta), h)
    }

    /// With `G = dL/dy`: `q = s B^T G`, `dB = s sum G (zh)^T`, `dz = sum_positions q h`, `dh = z q`,
    /// `dA = wgrad(x, dh)` and, of `dx`, the part that comes through the adapter.
    pub fn delta_backward(
        &self,
        x: &Tensor,
        h: &Tensor,
        z: &Tensor,
        g: &Tensor,
        geometry: Geometry,
    ) -> AdapterGradients {
        let [_, _, in_h, in_w] = x.dims4();
        let [n, r, out_h, out_w] = h.dims4();
        let [_, _, k_h, k_w] = self.a.dims4();
        let pointwise = Geometry::new(1, 0);

        let q = conv2d_input_gradient(g, &self.b_as_conv(), [out_h, out_w], pointwise)
            .map(|v| self.scale * v);
        let db = conv2d_weight_gradient(&gate(h, z), g, [1, 1], pointwise)
            .map(|v| self.scale * v)
            .reshaped(&self.b.shape);
        let positions = out_h * out_w;
        let dz = Tensor::from_fn(&[n, r], |i| {
            (i * positions..(i + 1) * positions)
                .map(|p| q.data[p] * h.data[p])
                .sum()
        });
        let dt = (0..r)
            .map(|i| {
                (0..n)
                    .map(|image| dz.at(&[image, i]) * (z.at(&[image, i]) - 1.0) / 2.0)
                    .sum()
            })
            .collect();
        let dh = gate(&q, z);
        AdapterGradients {
            dx: conv2d_input_gradient(&dh, &self.a, [in_h, in_w], geometry),
            q,
            da: conv2d_weight_gradient(x, &dh, [k_h, k_w], geometry),
            db,
            dz,
            dt,
        }
    }

    /// All gradients; `dx = W^T G + A^T dh`.
    pub fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        h: &Tensor,
        z: &Tensor,
        g: &Tensor,
        geometry: Geometry,
    ) -> AdapterGradients {
        let [_, _, in_h, in_w] = x.dims4();
        let mut gradients = self.delta_backward(x, h, z, g, geometry);
        let through_base = conv2d_input_gradient(g, w, [in_h, in_w], geometry);
        gradients.dx = through_base.plus(&gradients.dx);
        gradients
    }
}

/// `z . h`: every plane of `h [N,r,H,W]` times its gate.
fn gate(h: &Tensor, z: &Tensor) -> Tensor {
    let [n, r, height, width] = h.dims4();
    assert_eq!(z.shape, [n, r]);
    Tensor::from_fn(&h.shape, |i| h.data[i] * z.data[i / (height * width)])
}
