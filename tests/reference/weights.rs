//! Weights drawn about their means, `theta_ij = mu_ij + sigma_i eps_ij`, and the addressing of their noise.
//!
//! `eps` is a function of (seed, purpose, step or sample, layer, ORIGINAL rank, weight) alone: key
//! `(seed low, seed high)`, counter `[w / 4, step or sample, layer * 65536 + rank, purpose + 2]`, normal `w % 4` of
//! the block, where w counts the rank's weights: A's by [tap][channel], then B's by [channel], the channels of
//! both filled up to a multiple of four.

use super::gates::Stream;
use super::philox::{normals, philox4x32_10};
use super::tensor::Tensor;

/// The noise of weight `w` of a rank.
pub fn eps(stream: Stream, rank: u32, w: usize) -> f64 {
    assert!(stream.layer < 65_536 && rank < 65_536);
    let key = [stream.seed as u32, (stream.seed >> 32) as u32];
    let counter = [
        (w / 4) as u32,
        stream.step_or_sample,
        stream.layer * 65_536 + rank,
        stream.purpose as u32 + 2,
    ];
    normals(philox4x32_10(counter, key))[w % 4]
}

/// The weights of one layer: A `[rank, in, k, k]` and B `[out, rank]` about these means; `ranks` are original ids.
pub fn draw(stream: Stream, ranks: &[u32], rho: &[f64], a: &Tensor, b: &Tensor) -> [Tensor; 2] {
    let [rank, inputs, kernel, _] = a.dims4();
    let (taps, wide) = (kernel * kernel, inputs.next_multiple_of(4));
    let sigma = |i: usize| (rho[i] / 2.0).exp();
    let drawn_a = Tensor::from_fn(&a.shape, |at| {
        let (tap, c, i) = (at % taps, at / taps % inputs, at / (taps * inputs));
        a.data[at] + sigma(i) * eps(stream, ranks[i], tap * wide + c)
    });
    let drawn_b = Tensor::from_fn(&b.shape, |at| {
        let (i, o) = (at % rank, at / rank);
        b.data[at] + sigma(i) * eps(stream, ranks[i], taps * wide + o)
    });
    [drawn_a, drawn_b]
}
