//! Which images an epoch has.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::data::EpochOrder;

/// How an epoch draws its images. It has as many draws as there are training images, whichever way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Every image once, in a new order.
    #[default]
    Shuffled,
    /// As many of each class as of any other: images of a class with few come several times, and not all of a class with many
    /// come. See [`EpochOrder::balanced`].
    Balanced,
}

impl Sampler {
    /// The images of an epoch, from 0.
    pub(super) fn order(self, labels: &[u32], seed: u64, epoch: u64) -> EpochOrder {
        match self {
            Self::Shuffled => EpochOrder::new(labels.len(), seed, epoch),
            Self::Balanced => EpochOrder::balanced(labels, seed, epoch),
        }
    }
}

/// How many images that all count alike say as much of a mean over the classes as the images of classes of these sizes do:
/// K / mean(1/n_c) over the K classes that have any (Kish 1965: (sum w)^2 / sum w^2, with w = 1/n_c for each image). All of them
/// where classes are even.
pub fn effective_images(counts: &[usize]) -> f64 {
    let inverses = counts.iter().filter(|n| **n > 0).map(|n| 1.0 / *n as f64);
    let (classes, sum) = inverses.fold((0.0, 0.0), |(k, sum), inverse| (k + 1.0, sum + inverse));
    if classes == 0.0 {
        0.0
    } else {
        classes * classes / sum
    }
}

/// The numbers that key the gates of a batch's rows: an image that is there twice has gates of its own each time.
pub(super) fn gate_keys(indices: &[usize], images: usize) -> Vec<u32> {
    let mut before: HashMap<usize, usize> = HashMap::new();
    let key = |index: &usize| {
        let times = before.entry(*index).or_default();
        let key = index + images * *times;
        *times += 1;
        // They only have to differ: 2^32 of them are more than a batch has.
        key as u32
    };
    indices.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::{Sampler, effective_images, gate_keys};

    #[test]
    fn a_balanced_epoch_has_as_many_of_each_class() {
        let labels = [[0; 12].as_slice(), &[1; 4]].concat();
        let rare = |sampler: Sampler| {
            let order = sampler.order(&labels, 1, 0);
            assert_eq!(order.indices().len(), 16);
            let all = order.indices().iter();
            all.filter(|image| labels[**image] == 1).count()
        };
        assert_eq!(rare(Sampler::Balanced), 8);
        assert_eq!(rare(Sampler::Shuffled), 4);
    }

    #[test]
    fn repeated_images_have_keys_of_their_own() {
        assert_eq!(gate_keys(&[3, 0, 9], 10), [3, 0, 9]);
        assert_eq!(gate_keys(&[3, 0, 3, 3, 0], 10), [3, 0, 13, 23, 10]);
    }

    #[test]
    fn effective_images_by_hand() {
        assert!((effective_images(&[20, 0, 20]) - 40.0).abs() < 1e-12);
        // 4 / (1/10 + 1/90)
        assert!((effective_images(&[10, 90]) - 36.0).abs() < 1e-12);
        assert_eq!(effective_images(&[0]), 0.0);
    }
}
