//! Weights of 8 bits: whole numbers of a step for each output channel.

use super::tensor::Tensor;

/// Weights `[out, ...]`, each the nearest of -127 to 127 steps of its channel's largest / 127; steps and products are f32s.
pub fn rounded(weight: &Tensor) -> Tensor {
    let row = weight.data.len() / weight.shape[0];
    Tensor::from_fn(&weight.shape, |i| {
        let channel = &weight.data[i / row * row..][..row];
        let largest = channel.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        let step = largest as f32 / 127.0;
        let count = (weight.data[i] as f32 / step).round();
        f64::from(step * count)
    })
}
