//! What follows a convolution: frozen BatchNorm, residual and ReLU,
//! `y = relu?(g v + b + residual?)` with `g`, `b` per channel.

use super::tensor::Tensor;

#[derive(Clone, Debug)]
pub struct Affine {
    pub g: Vec<f64>,
    pub b: Vec<f64>,
}

impl Affine {
    /// BatchNorm in evaluation mode: `g = weight / sqrt(var + eps)`, `b = bias - g mean`.
    pub fn from_batchnorm(
        weight: &[f64],
        bias: &[f64],
        mean: &[f64],
        var: &[f64],
        eps: f64,
    ) -> Self {
        let g: Vec<f64> = (0..weight.len())
            .map(|c| weight[c] / (var[c] + eps).sqrt())
            .collect();
        let b = (0..weight.len())
            .map(|c| bias[c] - g[c] * mean[c])
            .collect();
        Self { g, b }
    }

    pub fn forward(&self, v: &Tensor, residual: Option<&Tensor>, relu: bool) -> Tensor {
        let [_, channels, height, width] = v.dims4();
        assert_eq!(channels, self.g.len());
        Tensor::from_fn(&v.shape, |i| {
            let c = i / (height * width) % channels;
            let y = self.g[c] * v.data[i] + self.b[c] + residual.map_or(0.0, |r| r.data[i]);
            if relu { y.max(0.0) } else { y }
        })
    }

    /// `(dv, dresidual)` from the output `y`; where ReLU gives zero its gradient is zero.
    pub fn backward(&self, y: &Tensor, relu: bool, dy: &Tensor) -> (Tensor, Tensor) {
        let [_, channels, height, width] = y.dims4();
        let dresidual = y.zip(dy, |y, dy| if relu && y <= 0.0 { 0.0 } else { dy });
        let dv = Tensor::from_fn(&y.shape, |i| {
            self.g[i / (height * width) % channels] * dresidual.data[i]
        });
        (dv, dresidual)
    }
}
