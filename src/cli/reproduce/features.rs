//! Scores of a run's features, by which unfamiliar images are told.

use anyhow::Result;
use bayeslora::low_level::predict::Predictor;
use bayeslora::low_level::predict::ood::{FittedScore, OodScore, energies};
use bayeslora::low_level::study::{Images, Place, RunSpec};
use bayeslora::low_level::train::Trainer;

use super::workshop::Workshop;
use crate::cli::context::Bar;
use crate::cli::{ood, output};

/// A set to look at.
pub struct Look {
    set: String,
    /// The images, by the name that the workshop keeps them under.
    source: String,
    /// So many from the first, at most.
    images: usize,
}

impl Workshop<'_> {
    /// Sets whose scores are not there yet: the test images and everything that a run is to tell from them.
    pub fn looks_left(&self, spec: &RunSpec, seed: u64, place: &Place) -> Vec<Look> {
        let Some(images) = spec.looks_at(seed) else {
            return Vec::new();
        };
        let mut left: Vec<Look> = Vec::new();
        let asks = spec.asks.iter().filter(|ask| match ask.of {
            Images::Test | Images::HeldOutClasses | Images::Unfamiliar => seed <= ask.seeds,
            Images::Validation | Images::Corrupted => false,
        });
        for (set, source) in asks.flat_map(|ask| self.sets_of(spec, ask.of)) {
            let is_known = left.iter().any(|look| look.set == set);
            if !is_known && !place.has_feature_scores(&set) {
                left.push(Look {
                    set,
                    source,
                    images,
                });
            }
        }
        left
    }

    /// Fits the scores to the run's training images and keeps those of each set.
    pub fn look(
        &mut self,
        trainer: &Trainer,
        predictor: &Predictor,
        looks: &[Look],
        place: &Place,
    ) -> Result<()> {
        let bar = Bar::default();
        let train = trainer.training_set();
        let (features, labels) = ood::training_features(predictor, train, &bar)?;
        let fitted = [OodScore::Mahalanobis, OodScore::Neighbours].map(|score| {
            let fitted = FittedScore::fit(score, &features, &labels);
            if fitted.is_none() {
                output::note(&format!(
                    "warning: {}: its training images look all alike to it, so the study is without this score of it",
                    score.name()
                ));
            }
            fitted
        });
        let head = trainer.adapter()?.head;
        for look in looks {
            let source = self.source(predictor, &look.source)?.first(look.images);
            let features = ood::features_of(predictor, &source, &bar)?;
            let energy = energies(&features, &head).into_iter();
            let [mahalanobis, neighbours] = fitted
                .each_ref()
                .map(|fitted| Some(fitted.as_ref()?.scores(&features)));
            let scores = [
                Some(energy.map(|energy| energy as f32).collect()),
                mahalanobis,
                neighbours,
            ];
            place.write_feature_scores(&look.set, source.dataset.len(), &scores)?;
        }
        Ok(())
    }
}
