//! The order in which an epoch visits its images.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use sha2::{Digest, Sha256};

/// A permutation of `0..len`, or a sequence of `len` draws of these, that depends on `(seed, epoch)` alone, so that a resumed
/// run visits the images as an uninterrupted one would.
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

    /// The same with as many draws of each class as of any other, whatever its number of images: class-balanced sampling
    /// (Kang et al. 2020, arXiv:1910.09217). An epoch has as many draws as there are `labels` `[len]`; classes without images
    /// have none.
    ///
    /// The draws of all epochs are dealt to the classes in turn, and a class deals its own to its images in turn, in an order
    /// that is shuffled anew each time all had one. So at any epoch's end no two classes, and no two images of a class, are more
    /// than one draw apart.
    pub fn balanced(labels: &[u32], seed: u64, epoch: u64) -> Self {
        let classes = by_class(labels);
        let (len, ways) = (labels.len() as u64, classes.len() as u64);
        let mut indices = Vec::with_capacity(labels.len());
        for (class, images) in classes.iter().enumerate() {
            // Of the first so many draws of the run, those that are this class's.
            let dealt = |draws: u64| (draws + ways - 1 - class as u64) / ways;
            let own = dealt(epoch * len)..dealt((epoch + 1) * len);
            deal(images, (seed, class as u64), own, &mut indices);
        }
        indices.shuffle(&mut keyed_rng("epoch order", seed, epoch));
        EpochOrder { indices }
    }

    /// The images in the order of the epoch.
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

/// The images of each class that has any.
fn by_class(labels: &[u32]) -> Vec<Vec<usize>> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (image, label) in labels.iter().enumerate() {
        classes.entry(*label).or_default().push(image);
    }
    classes.into_values().collect()
}

/// Some of a class's draws, in their order.
fn deal(images: &[usize], (seed, class): (u64, u64), draws: Range<u64>, dealt: &mut Vec<usize>) {
    let count = images.len() as u64;
    let mut round = None;
    let mut order = images.to_vec();
    for draw in draws {
        if round != Some(draw / count) {
            order.copy_from_slice(images);
            let purpose = format!("round {} of a class", draw / count);
            order.shuffle(&mut keyed_rng(&purpose, seed, class));
            round = Some(draw / count);
        }
        dealt.push(order[(draw % count) as usize]);
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

#[cfg(test)]
mod tests {
    use super::EpochOrder;

    /// Twelve images of class 0, two of class 3, one of class 1: five draws of each in an epoch of fifteen.
    const LABELS: [u32; 15] = [0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0];

    fn draws(epochs: std::ops::Range<u64>, seed: u64) -> [usize; 15] {
        let mut times = [0; 15];
        for epoch in epochs {
            for image in EpochOrder::balanced(&LABELS, seed, epoch).indices() {
                times[*image] += 1;
            }
        }
        times
    }

    #[test]
    fn classes_and_their_images_take_turns() {
        for epochs in 1..30 {
            let times = draws(0..epochs, 7);
            let of = |class: u32| -> Vec<usize> {
                let pairs = LABELS.iter().zip(times);
                pairs
                    .filter(|(l, _)| **l == class)
                    .map(|(_, t)| t)
                    .collect()
            };
            for class in [0, 1, 3] {
                let of = of(class);
                assert_eq!(of.iter().sum::<usize>(), 5 * epochs as usize);
                let (least, most) = (of.iter().min(), of.iter().max());
                assert!(most.unwrap() - least.unwrap() <= 1, "{class}: {of:?}");
            }
        }
    }

    #[test]
    fn classes_share_what_is_left_over() {
        // Seven draws an epoch for two classes.
        let labels = [0, 0, 0, 0, 0, 0, 1];
        let mut of_first = 0;
        for epoch in 0..5 {
            let order = EpochOrder::balanced(&labels, 1, epoch);
            assert_eq!(order.indices().len(), 7);
            of_first += order.indices().iter().filter(|i| labels[**i] == 0).count();
            let all = 7 * (epoch as usize + 1);
            assert!(of_first == all / 2 || of_first == all.div_ceil(2));
        }
    }

    #[test]
    fn an_epoch_depends_on_seed_and_number_alone() {
        let order = |seed, epoch| EpochOrder::balanced(&LABELS, seed, epoch).indices;
        assert_eq!(order(1, 4), order(1, 4));
        assert_ne!(order(1, 4), order(2, 4));
        assert_ne!(order(1, 4), order(1, 5));
    }
}
