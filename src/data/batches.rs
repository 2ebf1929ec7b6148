//! The order in which an epoch visits its images.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

/// A permutation of `0..len` that depends on `(seed, epoch)` alone, so that a resumed run visits the
/// images as an uninterrupted one would.
#[derive(Clone, Debug)]
pub struct EpochOrder {
    indices: Vec<usize>,
}

impl EpochOrder {
    /// Of a set of `len` images; the same for the same seed and epoch (from 0).
    pub fn new(len: usize, seed: u64, epoch: u64) -> Self {
        let mut indices: Vec<usize> = (0..len).collect();
        indices.shuffle(&mut keyed_rng("epoch order", seed, epoch));
        EpochOrder { indices }
    }

    /// All indices, each once.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// Batches of `size` indices; the last holds what is left and may be smaller.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn batches(&self, size: usize) -> std::slice::Chunks<'_, usize> {
        self.indices.chunks(size)
    }
}

/// A generator for one draw. The key is hashed because PCG's streams of one state, and states that
/// differ by little, are correlated.
pub(crate) fn keyed_rng(purpose: &str, seed: u64, index: u64) -> Pcg64 {
    let key = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(index.to_le_bytes())
        .chain_update(purpose)
        .finalize();
    Pcg64::from_seed(key.into())
}
