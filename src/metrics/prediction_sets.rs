//! Sets of classes that hold the right one as often as they say.

use serde::{Deserialize, Serialize};

use super::{Predictions, PredictionsError};

/// Classes beyond this place in the order of their probabilities...
const FREE: usize = 5;
/// ... cost this each, so that sets stay small where there are many classes (Angelopoulos et al. 2021 name both values).
const PENALTY: f64 = 0.01;

/// Sets of classes by split conformal prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionSets {
    /// Sets hold the right class of at least this share of images, 0 to 1.
    pub coverage: f64,
    /// Held-out images.
    pub images: usize,
    /// Scores up to which classes are taken in: one for all classes, or one for each. `None` takes a class in always: too
    /// few held-out images show it.
    pub limits: Vec<Option<f64>>,
}

/// How [`PredictionSets`] are to be fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetOptions {
    /// 0 to 1
    pub coverage: f64,
    /// The coverage holds for the images of each class, not only for all together.
    pub by_class: bool,
}

impl PredictionSets {
    /// From probabilities `[n, classes]`, labels `[n]` and `ties` `[n]` of held-out images; the last are numbers from 0 to 1
    /// that depend on an image alone.
    ///
    /// The score of a class is the probability of all classes that are more probable, that of its own times the image's number
    /// (Romano et al. 2020, APS), and a penalty from the sixth place on (Angelopoulos et al. 2021, RAPS). The limit is the
    /// ceil((n + 1) coverage)-th smallest score of the right classes, so that the right class of one more image of the same
    /// kind lies within it with at least that probability, whatever the model is.
    ///
    /// # Errors
    /// The labels do not fit.
    ///
    /// # Panics
    /// If there is not one tie for each label.
    pub fn fit(
        probabilities: &[f32],
        labels: &[u32],
        ties: &[f64],
        classes: usize,
        options: SetOptions,
    ) -> Result<Self, PredictionsError> {
        assert_eq!(ties.len(), labels.len(), "one tie for each label");
        Predictions::new(probabilities, labels, classes)?;
        let rows = probabilities.chunks_exact(classes).zip(ties).zip(labels);
        let found: Vec<(usize, f64)> = rows
            .map(|((row, tie), label)| (*label as usize, scores(row, *tie)[*label as usize]))
            .collect();
        let limit = |of: Option<usize>| {
            let found = found.iter();
            let of_class = found.filter(|(label, _)| of.is_none_or(|class| class == *label));
            let mut scores: Vec<f64> = of_class.map(|(_, score)| *score).collect();
            scores.sort_by(f64::total_cmp);
            // Rounded first: .9 of 20 is not 18 in binary.
            let place = (scores.len() + 1) as f64 * options.coverage;
            let place = (place - 1e-9).ceil() as usize;
            scores.get(place.saturating_sub(1)).copied()
        };
        Ok(Self {
            coverage: options.coverage,
            images: labels.len(),
            limits: match options.by_class {
                true => (0..classes).map(|class| limit(Some(class))).collect(),
                false => vec![limit(None)],
            },
        })
    }

    /// Held-out images that a limit needs: of each class, where the coverage is by class.
    pub fn least_images(coverage: f64) -> usize {
        (coverage / (1.0 - coverage) - 1e-9).ceil() as usize
    }

    /// The classes for one image, from its probabilities `[classes]`, the most probable first; that is always one of them.
    pub fn of(&self, probabilities: &[f32], tie: f64) -> Vec<usize> {
        let scores = scores(probabilities, tie);
        let limit = |class: usize| match self.limits.as_slice() {
            [one] => *one,
            each => each[class],
        };
        let mut classes = order(probabilities);
        let first = classes.first().copied();
        classes.retain(|class| {
            Some(*class) == first || limit(*class).is_none_or(|limit| scores[*class] <= limit)
        });
        classes
    }
}

/// The most probable class first, equal ones by their numbers.
fn order(probabilities: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    order
}

fn scores(probabilities: &[f32], tie: f64) -> Vec<f64> {
    let mut scores = vec![0.0; probabilities.len()];
    let mut before = 0.0;
    for (place, class) in order(probabilities).into_iter().enumerate() {
        let own = f64::from(probabilities[class]);
        let penalty = PENALTY * (place + 1).saturating_sub(FREE) as f64;
        scores[class] = before + tie * own + penalty;
        before += own;
    }
    scores
}
