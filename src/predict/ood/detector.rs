//! A score with the alarm that goes with it, in a file beside the adapter's weights.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FittedScore, Mahalanobis, Neighbours, OodScore};
use crate::formats::{Digest, FormatError, TensorFile, fitted};
use crate::metrics::PredictionSets;

/// Tells images that look like nothing the adapter was trained on, at a known rate of false alarms.
///
/// It is fitted to the head's inputs under the mean weights, which no sampling touches. Whoever asks about an image gets a p-value
/// of conformal prediction: the share of the held-out images, the image itself among them, that look at least as unfamiliar. Of
/// familiar images at most a share `false_alarms` has one that low (if they and the held-out ones come from the same source).
#[derive(Clone, Debug, PartialEq)]
pub struct OodDetector {
    fitted: FittedScore,
    /// Scores of the held-out images, ascending.
    held_out: Vec<f32>,
    false_alarms: f64,
}

/// How familiar an image is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Familiarity {
    /// The p-value, above 0 and up to 1.
    pub familiarity: f64,
    /// Whether it is no higher than the rate of false alarms.
    pub unfamiliar: bool,
}

/// What a file says beside its tensors.
#[derive(Serialize, Deserialize)]
struct Head {
    score: OodScore,
    false_alarms: f64,
    /// k of [`Neighbours`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    neighbours: Option<usize>,
}

impl OodDetector {
    /// Fitted to features `[n, width]` of training images and their labels `[n]`, with the alarm set by the features of held-out
    /// images. `None` where the training images do not tell enough: too few, or all alike.
    pub fn fit(
        score: OodScore,
        (features, labels): (&[f32], &[u32]),
        held_out: &[f32],
        false_alarms: f64,
    ) -> Option<Self> {
        let fitted = FittedScore::fit(score, features, labels)?;
        let mut held_out = fitted.scores(held_out);
        held_out.sort_by(f32::total_cmp);
        Some(Self {
            fitted,
            held_out,
            false_alarms,
        })
    }

    /// Held-out images that a rate of false alarms takes at least.
    pub fn least_images(false_alarms: f64) -> usize {
        PredictionSets::least_images(1.0 - false_alarms)
    }

    /// Which score it has.
    pub fn score(&self) -> OodScore {
        self.fitted.score()
    }

    /// Of familiar images, the share that it calls unfamiliar, at most.
    pub fn false_alarms(&self) -> f64 {
        self.false_alarms
    }

    /// Held-out images that the alarm was set by.
    pub fn images(&self) -> usize {
        self.held_out.len()
    }

    /// Tells it from one that was fitted to other images.
    pub fn digest(&self) -> Digest {
        Digest::of(bytemuck::cast_slice(&self.held_out))
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        self.fitted.width()
    }

    /// The score of each row of features `[n, width]`; the higher, the less familiar.
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        self.fitted.scores(features)
    }

    /// Looks at images by their features `[n, width]`.
    pub fn familiarities(&self, features: &[f32]) -> Vec<Familiarity> {
        let scores = self.scores(features).into_iter();
        scores.map(|score| self.familiarity(score)).collect()
    }

    fn familiarity(&self, score: f32) -> Familiarity {
        let n = self.held_out.len();
        // A score that is no number is as unfamiliar as can be.
        let below = self.held_out.partition_point(|other| *other < score);
        let below = if score.is_nan() { n } else { below };
        let familiarity = (1 + n - below) as f64 / (1 + n) as f64;
        Familiarity {
            familiarity,
            unfamiliar: familiarity <= self.false_alarms,
        }
    }

    /// That in `dir`, if one was fitted. `adapter` is the [`Adapter::sha256`](crate::formats::Adapter::sha256) of what it is to be
    /// used with, `width` the number of its features.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was fitted to another adapter.
    pub fn load(
        dir: impl AsRef<Path>,
        adapter: &str,
        width: usize,
    ) -> Result<Option<Self>, FormatError> {
        let path = dir.as_ref().join(fitted::OOD);
        if !path.exists() {
            return Ok(None);
        }
        let (head, mut file): (Head, TensorFile) = fitted::load_tensors(&path, adapter)?;
        let misfit = || FormatError::Changed {
            file: path.display().to_string(),
            found: "it does not fit the adapter",
            way_out: fitted::WAY_OUT,
        };
        let mut take = |name: &str| file.tensors.remove(name).map(|found| found.data);
        let fitted = match head.score {
            OodScore::Mahalanobis => {
                let (whitening, class_means) = (take("whitening"), take("class_means"));
                let fitted = Mahalanobis {
                    whitening: whitening.ok_or_else(misfit)?,
                    class_means: class_means.ok_or_else(misfit)?,
                    width,
                };
                fitted
                    .is_sound()
                    .then_some(FittedScore::Mahalanobis(fitted))
            }
            OodScore::Neighbours => {
                let features = take("features").ok_or_else(misfit)?;
                let fitted = Neighbours {
                    features,
                    width,
                    k: head.neighbours.ok_or_else(misfit)?,
                };
                fitted.is_sound().then_some(FittedScore::Neighbours(fitted))
            }
        };
        let detector = Self {
            fitted: fitted.ok_or_else(misfit)?,
            held_out: take("held_out_scores").ok_or_else(misfit)?,
            false_alarms: head.false_alarms,
        };
        match detector.width() == width && detector.held_out.is_sorted() {
            true => Ok(Some(detector)),
            false => Err(misfit()),
        }
    }

    /// Keeps it in `dir`, in the place of an earlier one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>, adapter: &str) -> Result<(), FormatError> {
        let mut file = TensorFile::default();
        let d = self.width();
        let mut put = |name: &str, rows: usize, values: &[f32]| match rows {
            0 => file.insert(name, &[values.len()], values.to_vec()),
            _ => file.insert(name, &[values.len() / rows, rows], values.to_vec()),
        };
        match &self.fitted {
            FittedScore::Mahalanobis(fitted) => {
                put("whitening", d, &fitted.whitening);
                put("class_means", d, &fitted.class_means);
            }
            FittedScore::Neighbours(fitted) => put("features", d, &fitted.features),
        }
        put("held_out_scores", 0, &self.held_out);
        let head = Head {
            score: self.score(),
            false_alarms: self.false_alarms,
            neighbours: match &self.fitted {
                FittedScore::Mahalanobis(_) => None,
                FittedScore::Neighbours(fitted) => Some(fitted.k),
            },
        };
        fitted::save_tensors(&dir.as_ref().join(fitted::OOD), adapter, &head, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    const D: usize = 12;

    fn images(random: &mut Pcg64, n: usize, shift: f32) -> Vec<f32> {
        (0..n * D).map(|_| shift + random.random::<f32>()).collect()
    }

    fn fitted(random: &mut Pcg64, score: OodScore, held_out: usize) -> OodDetector {
        let (train, held_out) = (images(random, 40, 0.0), images(random, held_out, 0.0));
        let labels: Vec<u32> = (0..40).map(|image| image % 3).collect();
        OodDetector::fit(score, (&train, &labels), &held_out, 0.1).unwrap()
    }

    /// Over many detectors, each asked about one familiar image, the share of alarms is what theory says:
    /// floor(alpha (n + 1)) / (n + 1).
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        const ROUNDS: usize = 4_000;
        for score in [OodScore::Mahalanobis, OodScore::Neighbours] {
            let mut random = Pcg64::seed_from_u64(11);
            let alarms = (0..ROUNDS)
                .filter(|_| {
                    let detector = fitted(&mut random, score, 24);
                    detector.familiarities(&images(&mut random, 1, 0.0))[0].unfamiliar
                })
                .count();
            let (share, expected) = (alarms as f64 / ROUNDS as f64, 2.0 / 25.0);
            // Four standard deviations of a share.
            let band = 4.0 * (expected * (1.0 - expected) / ROUNDS as f64).sqrt();
            assert!((share - expected).abs() < band, "{score:?}: {share}");
        }
    }

    #[test]
    fn a_saved_detector_says_the_same_of_its_adapter_alone() {
        let mut random = Pcg64::seed_from_u64(12);
        let strange = images(&mut random, 3, -4.0);
        for score in [OodScore::Mahalanobis, OodScore::Neighbours] {
            let dir = tempfile::tempdir().unwrap();
            let detector = fitted(&mut random, score, 20);
            assert!(OodDetector::load(dir.path(), "one", D).unwrap().is_none());
            detector.save(dir.path(), "one").unwrap();
            let loaded = OodDetector::load(dir.path(), "one", D).unwrap().unwrap();
            assert_eq!(loaded, detector);
            let familiarities = loaded.familiarities(&strange);
            assert!(familiarities.iter().all(|one| one.unfamiliar), "{score:?}");
            let other = OodDetector::load(dir.path(), "two", D).unwrap_err();
            assert!(other.to_string().contains("another adapter"), "{other}");
            let width = OodDetector::load(dir.path(), "one", D + 1).unwrap_err();
            assert!(width.to_string().contains("does not fit"), "{width}");
        }
    }

    /// Features that are no numbers are no reason to call an image familiar.
    #[test]
    fn what_is_not_finite_is_unfamiliar() {
        let mut random = Pcg64::seed_from_u64(13);
        for score in [OodScore::Mahalanobis, OodScore::Neighbours] {
            let detector = fitted(&mut random, score, 20);
            for value in [f32::NAN, f32::INFINITY] {
                let mut features = images(&mut random, 1, 0.0);
                features[3] = value;
                assert!(
                    detector.familiarities(&features)[0].unfamiliar,
                    "{score:?} {value}"
                );
            }
        }
    }
}
