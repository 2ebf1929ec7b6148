//! The gates `z = 1 + e^{t/2} eps` and the addressing of their noise.
//!
//! `eps` is a function of (seed, purpose, step or sample, example, layer, ORIGINAL rank) alone: key
//! `(seed low, seed high)`, counter `[example, step or sample, layer * 65536 + rank / 4, purpose]`,
//! normal `rank % 4` of the block. Neither batching nor pruning changes a survivor's noise.

use super::philox::{normals, philox4x32_10};
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
        assert!(self.layer < 65_536 && rank / 4 < 65_536);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let block = self.layer * 65_536 + rank / 4;
        let counter = [example, self.step_or_sample, block, self.purpose as u32];
        normals(philox4x32_10(counter, key))[rank as usize % 4]
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
