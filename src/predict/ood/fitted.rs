//! The scores that are fitted to the features of training images.

use rand::SeedableRng as _;
use rand::seq::index;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::{Mahalanobis, Neighbours};

/// Which score tells the unfamiliar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OodScore {
    /// See [`Mahalanobis`].
    #[default]
    Mahalanobis,
    /// See [`Neighbours`].
    Neighbours,
}

impl OodScore {
    /// As the option takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mahalanobis => "mahalanobis",
            Self::Neighbours => "neighbours",
        }
    }
}

/// Neighbours that are looked at: the distance is that to the last of them.
const NEIGHBOURS: usize = 5;

/// Training images that a score is fitted to, at most; more would make its file large and hardly better.
const TRAINING_IMAGES: usize = 5_000;

/// Which of `n` training images a score is fitted to, ascending: some drawn at random where there are many, the same ones
/// every time.
pub fn training_images(n: usize) -> Vec<usize> {
    if n <= TRAINING_IMAGES {
        return (0..n).collect();
    }
    let mut random = Pcg64::seed_from_u64(1);
    let mut drawn = index::sample(&mut random, n, TRAINING_IMAGES).into_vec();
    drawn.sort_unstable();
    drawn
}

/// A score as the features of training images have it.
#[derive(Clone, Debug, PartialEq)]
pub enum FittedScore {
    /// See [`OodScore::Mahalanobis`].
    Mahalanobis(Mahalanobis),
    /// See [`OodScore::Neighbours`].
    Neighbours(Neighbours),
}

impl FittedScore {
    /// To features `[n, width]` of training images and their labels `[n]`; `None` where these do not tell enough: too few, or all
    /// alike.
    pub fn fit(score: OodScore, features: &[f32], labels: &[u32]) -> Option<Self> {
        let width = features.len() / labels.len().max(1);
        match score {
            OodScore::Mahalanobis => Mahalanobis::fit(features, labels).map(Self::Mahalanobis),
            OodScore::Neighbours => {
                let k = NEIGHBOURS.min(labels.len());
                Neighbours::fit(features, width, k).map(Self::Neighbours)
            }
        }
    }

    /// Which score it is.
    pub fn score(&self) -> OodScore {
        match self {
            Self::Mahalanobis(_) => OodScore::Mahalanobis,
            Self::Neighbours(_) => OodScore::Neighbours,
        }
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        match self {
            Self::Mahalanobis(fitted) => fitted.width,
            Self::Neighbours(fitted) => fitted.width,
        }
    }

    /// The score of each row of features `[n, width]`; the higher, the less familiar.
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        let scores = match self {
            Self::Mahalanobis(fitted) => fitted.scores(features),
            Self::Neighbours(fitted) => fitted.scores(features),
        };
        scores.into_iter().map(|score| score as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_many_images_are_drawn_and_all_of_few() {
        assert_eq!(training_images(3), [0, 1, 2]);
        let drawn = training_images(20_000);
        assert_eq!(drawn.len(), TRAINING_IMAGES);
        assert!(drawn.is_sorted_by(|a, b| a < b) && drawn[TRAINING_IMAGES - 1] < 20_000);
        // Sets in folders are sorted by class: no quarter of them is left out.
        assert!((0..4).all(|quarter| drawn.iter().any(|image| image / 5_000 == quarter)));
        assert_eq!(drawn, training_images(20_000));
    }
}
