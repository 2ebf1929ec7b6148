//! The gates `z = 1 + e^{t/2} eps`, or dropout's of the same mean and variance, and the addressing of
//! their noise.
//!
//! `eps` (a uniform for dropout) is a function of (seed, purpose, step or sample, example, layer, ORIGINAL rank) alone: key
//! `(seed low, seed high)`, counter `[example, step or sample, layer * 65536 + rank / 4, purpose]`,
//! normal (word) `rank % 4` of the block. Neither batching nor pruning changes a survivor's noise.

use super::philox::{normals, philox4x32_10, uniform};
use super::tensor::Tensor;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Purpose {
    Train = 0,
    Predict = 1,
}

/// The example of a gate that all examples share.
pub const SHARED_EXAMPLE: u32 = u32::MAX;

/// Which noise: all but the example and the rank.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub seed: u64,
    pub purpose: Purpose,
    /// The optimiser step in training, the Monte Carlo sample in prediction.
    pub step_or_sample: u32,
    pub layer: u32,
}

impl Stream {
    pub fn eps(self, example: u32, rank: u32) -> f64 {
        normals(self.words(example, rank))[rank as usize % 4]
    }

    fn words(self, example: u32, rank: u32) -> [u32; 4] {
        assert!(self.layer < 65_536 && rank / 4 < 65_536);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let block = self.layer * 65_536 + rank / 4;
        let counter = [example, self.step_or_sample, block, self.purpose as u32];
        philox4x32_10(counter, key)
    }

    /// The gate of a rank that is kept with probability 1/(1 + e^t), and then weighs 1 + e^t.
    pub fn dropout(self, example: u32, rank: u32, log_alpha: f64) -> f64 {
        let u = uniform(self.words(example, rank)[rank as usize % 4]);
        let weight = 1.0 + log_alpha.exp();
        if u < 1.0 / weight { weight } else { 0.0 }
    }

    /// `[examples, ranks]`; `ranks` are original ids, `log_alpha` goes along with them.
    pub fn gates(self, examples: &[u32], ranks: &[u32], log_alpha: &[f64]) -> Tensor {
        assert_eq!(ranks.len(), log_alpha.len());
        Tensor::from_fn(&[examples.len(), ranks.len()], |i| {
            let (n, r) = (i / ranks.len(), i % ranks.len());
            1.0 + (log_alpha[r] / 2.0).exp() * self.eps(examples[n], ranks[r])
        })
    }
}
