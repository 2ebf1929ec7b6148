//! Calibration errors as sums of absolute means over examples, which resample without binning anew.

use super::Predictions;
use super::calibration::equal_width;

/// sum_b s_b |D_b|, D_b = 1/n sum_i c_ib: the errors of one or several models on the same n examples, or their difference.
///
/// c_ib is confidence minus outcome where example i lies in bin b (of one model), else 0. The sign s_b is 1, and -1 for
/// bins of what is subtracted. Bins of equal mass stay where the examples put them.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    /// (b, c_ib) by example.
    parts: Vec<Vec<(u32, f64)>>,
    /// s_b
    signs: Vec<f64>,
}

impl Gaps {
    /// Of the [expected calibration error](super::expected_calibration_error).
    ///
    /// # Panics
    /// If the slices differ in length or are empty, or `bins` is 0.
    pub fn expected(confidence: &[f32], correct: &[bool], bins: usize) -> Self {
        let bin_of = equal_width(bins);
        let part =
            |confidence, correct| vec![(bin_of(confidence) as u32, gap(confidence, correct))];
        Self::new(pairs(confidence, correct).map(|(c, o)| part(c, o)), bins)
    }

    /// Of the [adaptive calibration error](super::adaptive_calibration_error). Where a boundary cuts a tie, each of its
    /// examples lies in both bins, in proportion.
    ///
    /// # Panics
    /// As [`Gaps::expected`].
    pub fn adaptive(confidence: &[f32], correct: &[bool], bins: usize) -> Self {
        let n = confidence.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| confidence[*b].total_cmp(&confidence[*a]));
        let mut parts = vec![Vec::new(); n];
        let mut first = 0;
        for tie in order.chunk_by(|a, b| confidence[*a] == confidence[*b]) {
            let mut shares: Vec<(u32, f64)> = Vec::new();
            for rank in first..first + tie.len() {
                let bin = (rank * bins / n) as u32;
                match shares.last_mut().filter(|share| share.0 == bin) {
                    Some(share) => share.1 += 1.0,
                    None => shares.push((bin, 1.0)),
                }
            }
            for &example in tie {
                let gap = gap(confidence[example], correct[example]) / tie.len() as f64;
                parts[example] = shares
                    .iter()
                    .map(|(bin, share)| (*bin, share * gap))
                    .collect();
            }
            first += tie.len();
        }
        assert_eq!(confidence.len(), correct.len(), "one outcome a confidence");
        Self::new(parts.into_iter(), bins)
    }

    /// Of the [classwise calibration error](super::classwise_calibration_error).
    ///
    /// # Panics
    /// If `bins` is 0.
    pub fn classwise(predictions: &Predictions, bins: usize) -> Self {
        let (bin_of, classes) = (equal_width(bins), predictions.classes());
        let parts = predictions
            .rows()
            .zip(predictions.labels())
            .map(|(row, &label)| {
                let parts = row.iter().enumerate().map(|(class, &p)| {
                    let gap = gap(p, class == label as usize) / classes as f64;
                    ((class * bins + bin_of(p)) as u32, gap)
                });
                parts.collect()
            });
        Self::new(parts, classes * bins)
    }

    /// The mean of several models' errors.
    ///
    /// # Panics
    /// If there is no model, or they differ in examples.
    pub fn mean(models: &[Self]) -> Self {
        let weight = 1.0 / models.len() as f64;
        let mut all = models[0].scaled(weight);
        for model in &models[1..] {
            all.append(model.scaled(weight));
        }
        all
    }

    /// This error minus another of the same examples.
    ///
    /// # Panics
    /// If they differ in examples.
    pub fn minus(mut self, other: Self) -> Self {
        let signs = other.signs.iter().map(|sign| -sign).collect();
        self.append(Self { signs, ..other });
        self
    }

    /// sum_b s_b |D_b| of the D_b given.
    pub fn error(&self, means: &[f64]) -> f64 {
        let [added, subtracted] = self.errors(means);
        added - subtracted
    }

    /// sum_b |D_b| over the bins of what is added, and over those of what is subtracted.
    pub fn errors(&self, means: &[f64]) -> [f64; 2] {
        let mut errors = [0.0; 2];
        for (mean, sign) in means.iter().zip(&self.signs) {
            errors[usize::from(*sign < 0.0)] += mean.abs();
        }
        errors
    }

    /// D_b of all examples.
    pub fn means(&self) -> Vec<f64> {
        self.summed(self.parts.iter(), self.parts.len())
    }

    /// D_b of the examples drawn.
    pub fn means_of(&self, drawn: &[usize]) -> Vec<f64> {
        self.summed(
            drawn.iter().map(|example| &self.parts[*example]),
            drawn.len(),
        )
    }

    /// How many examples.
    pub fn examples(&self) -> usize {
        self.parts.len()
    }

    /// Whether it compares two predictions.
    pub fn is_difference(&self) -> bool {
        self.signs.iter().any(|sign| *sign < 0.0)
    }

    fn new(parts: impl Iterator<Item = Vec<(u32, f64)>>, bins: usize) -> Self {
        assert!(bins > 0, "at least one bin");
        let parts: Vec<_> = parts.collect();
        assert!(!parts.is_empty(), "at least one example");
        let signs = vec![1.0; bins];
        Self { parts, signs }
    }

    fn summed<'a>(&self, parts: impl Iterator<Item = &'a Vec<(u32, f64)>>, n: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.signs.len()];
        for (bin, part) in parts.flatten() {
            sums[*bin as usize] += part;
        }
        sums.iter_mut().for_each(|sum| *sum /= n as f64);
        sums
    }

    fn scaled(&self, by: f64) -> Self {
        let mut scaled = self.clone();
        let parts = scaled.parts.iter_mut().flatten();
        parts.for_each(|part| part.1 *= by);
        scaled
    }

    /// Another model's bins after these.
    fn append(&mut self, other: Self) {
        assert_eq!(self.examples(), other.examples(), "the same examples");
        let first = self.signs.len() as u32;
        for (parts, more) in self.parts.iter_mut().zip(other.parts) {
            parts.extend(more.into_iter().map(|(bin, part)| (first + bin, part)));
        }
        self.signs.extend(other.signs);
    }
}

fn gap(confidence: f32, outcome: bool) -> f64 {
    f64::from(confidence) - f64::from(u8::from(outcome))
}

fn pairs<'a>(confidence: &'a [f32], correct: &'a [bool]) -> impl Iterator<Item = (f32, bool)> + 'a {
    assert_eq!(confidence.len(), correct.len(), "one outcome a confidence");
    confidence.iter().copied().zip(correct.iter().copied())
}
