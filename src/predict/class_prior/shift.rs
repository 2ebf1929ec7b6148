//! A change of the classes' prior probabilities, in answers.

use rayon::prelude::*;

use crate::predict::{PredictError, Prediction, Predictive, Samples, Source};

/// A change of the classes' prior probabilities, as logit adjustment makes it for answers that are there (Saerens et al. 2002;
/// Menon et al. 2021, arXiv:2007.07314, section 4.1):
///
/// ```text
/// p'(c | x)  ~  p(c | x) target_c / trained_c
/// ```
///
/// It holds where the classes look as they did in training and only their frequencies differ. The frequencies of training are those
/// that the loss has seen, [`ClassBalance::prior`](crate::formats::ClassBalance::prior).
#[derive(Clone, Debug, PartialEq)]
pub struct PriorShift {
    /// ln target - ln trained, `[classes]`.
    logits: Vec<f64>,
}

impl PriorShift {
    /// From one prior to the other, `[classes]` each, above 0 in any unit: both are divided by their sums.
    ///
    /// # Panics
    /// If the lengths differ or a number is not finite or not above 0.
    pub fn new(trained: &[f64], target: &[f64]) -> Self {
        assert_eq!(trained.len(), target.len(), "a number for each class");
        let logs = |prior: &[f64]| -> Vec<f64> {
            let sum: f64 = prior.iter().sum();
            let log = |weight: &f64| {
                assert!(*weight > 0.0 && sum.is_finite(), "a prior above 0");
                (weight / sum).ln()
            };
            prior.iter().map(log).collect()
        };
        let pairs = logs(target).into_iter().zip(logs(trained));
        Self {
            logits: pairs.map(|(to, from)| to - from).collect(),
        }
    }

    /// Whether both priors are the same.
    pub fn is_none(&self) -> bool {
        const ROUNDING: f64 = 1e-9;
        self.logits.iter().all(|change| change.abs() < ROUNDING)
    }

    /// Changes log probabilities `[.., classes]`, every row a distribution before and after; no bit where both priors are the
    /// same.
    ///
    /// # Panics
    /// If the rows have another number of classes.
    pub fn adjust(&self, log_probs: &mut [f32]) {
        let classes = self.logits.len();
        assert!(log_probs.len().is_multiple_of(classes), "rows of classes");
        if self.is_none() {
            return;
        }
        log_probs.par_chunks_exact_mut(classes).for_each(|row| {
            let moved = row.iter().zip(&self.logits);
            let moved: Vec<f64> = moved
                .map(|(log, change)| f64::from(*log) + change)
                .collect();
            let largest = moved.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mass: f64 = moved.iter().map(|log| (log - largest).exp()).sum();
            let norm = largest + mass.ln();
            for (log, moved) in row.iter_mut().zip(moved) {
                *log = (moved - norm) as f32;
            }
        });
    }
}

/// A predictive under another prior: every sample is adjusted before they are averaged, as each is a posterior of its own.
pub struct Adjusted<'a, P> {
    /// What answers under the prior of training.
    pub predictive: &'a P,
    /// From there to the other prior.
    pub shift: &'a PriorShift,
}

impl<P: Predictive> Adjusted<'_, P> {
    /// What it says of a set; with the trace of equation (16), which no prior changes, where it is asked for.
    ///
    /// # Errors
    /// As [`log_probs`](Predictive::log_probs).
    pub fn predict(
        &self,
        source: &Source,
        samples: Samples,
        trace: bool,
    ) -> Result<Prediction, PredictError> {
        Prediction::by(self, source, samples, trace)
    }
}

impl<P: Predictive> Predictive for Adjusted<'_, P> {
    fn log_probs(
        &self,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        let mut all = self.predictive.log_probs(source, samples, progress)?;
        self.shift.adjust(&mut all);
        Ok(all)
    }

    fn covariance_trace(&self, source: &Source) -> Result<Vec<f32>, PredictError> {
        self.predictive.covariance_trace(source)
    }

    fn draws(&self, samples: Samples) -> usize {
        self.predictive.draws(samples)
    }

    fn classes(&self) -> usize {
        self.predictive.classes()
    }

    fn rank_count(&self) -> usize {
        self.predictive.rank_count()
    }

    fn adapter_parameters(&self) -> usize {
        self.predictive.adapter_parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::PriorShift;
    use crate::metrics::log_mean_exp;

    fn logs(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.exp() - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn rows_by_hand() {
        // From .75 and .25 to even: odds are divided by 3.
        let shift = PriorShift::new(&[3.0, 1.0], &[10.0, 10.0]);
        let mut rows = logs(&[0.75, 0.25, 0.5, 0.5, 0.9, 0.1]);
        shift.adjust(&mut rows);
        // 3:1, 1:1 and 9:1 become 1:1, 1:3 and 3:1.
        assert_near(&rows, &[0.5, 0.5, 0.25, 0.75, 0.75, 0.25]);
        // There and back.
        PriorShift::new(&[1.0, 1.0], &[0.75, 0.25]).adjust(&mut rows);
        assert_near(&rows, &[0.75, 0.25, 0.5, 0.5, 0.9, 0.1]);
        assert!(!shift.is_none());
        assert!(PriorShift::new(&[0.3, 0.7], &[3.0, 7.0]).is_none());
    }

    #[test]
    fn an_impossible_class_stays_impossible() {
        let mut row = [0.0, f32::NEG_INFINITY];
        PriorShift::new(&[0.9, 0.1], &[0.1, 0.9]).adjust(&mut row);
        assert_eq!(row, [0.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn samples_are_adjusted_before_they_are_averaged() {
        // Two samples of one image, .9 and .3 for the first class; from .75, .25 to even they are 3/4 and 1/8.
        let shift = PriorShift::new(&[3.0, 1.0], &[1.0, 1.0]);
        let mut samples = logs(&[0.9, 0.1, 0.3, 0.7]);
        shift.adjust(&mut samples);
        assert_near(&log_mean_exp(&samples, 2), &[0.4375, 0.5625]);
        // Averaged first it would be .6 and then 1/3.
        let mut mean = log_mean_exp(&logs(&[0.9, 0.1, 0.3, 0.7]), 2);
        shift.adjust(&mut mean);
        assert_near(&mean, &[1.0 / 3.0, 2.0 / 3.0]);
    }
}
