//! What Monte Carlo samples of a predictive say beyond their mean.
//!
//! The predictive is the mean of the samples' *probabilities*; a softmax of mean logits is
//! another, wrong, distribution.

use rayon::prelude::*;

use super::PredictionsError;
use super::predictions::{argmax, check_length, check_rows};
use super::scores::entropy;

/// Class probabilities under `samples` draws of the model, `[samples, n, classes]`.
#[derive(Debug, Clone, Copy)]
pub struct SampledProbabilities<'a> {
    probs: &'a [f32],
    examples: usize,
    classes: usize,
}

impl<'a> SampledProbabilities<'a> {
    /// Takes probabilities, `[samples, n, classes]`, row-major.
    ///
    /// # Errors
    /// If an axis is empty, the length does not fit, or a row (counted through all samples) is no
    /// distribution.
    pub fn new(
        probs: &'a [f32],
        samples: usize,
        examples: usize,
        classes: usize,
    ) -> Result<Self, PredictionsError> {
        if samples == 0 {
            return Err(PredictionsError::EmptyAxis { axis: "samples" });
        }
        if classes == 0 {
            return Err(PredictionsError::EmptyAxis { axis: "classes" });
        }
        if examples == 0 {
            return Err(PredictionsError::Empty);
        }
        check_length(
            probs.len(),
            samples.saturating_mul(examples),
            classes,
            || format!("{samples} samples x {examples} examples x {classes} classes"),
        )?;
        check_rows(probs, classes)?;
        Ok(Self {
            probs,
            examples,
            classes,
        })
    }

    /// The predictive m = 1/S sum_s p_s, `[n, classes]`.
    pub fn mean(&self) -> Vec<f32> {
        self.each(|rows| narrow(mean_row(rows))).concat()
    }

    /// Standard deviation of each class probability over the samples (divided by S, so 0 for a single
    /// one), `[n, classes]`.
    pub fn std(&self) -> Vec<f32> {
        self.each(|rows| {
            let mean = mean_row(rows);
            let std = (0..mean.len()).map(|class| {
                super::mean(
                    rows.iter()
                        .map(|row| (f64::from(row[class]) - mean[class]).powi(2)),
                )
                .sqrt()
            });
            narrow(std)
        })
        .concat()
    }

    /// Total uncertainty H\[m\], in nats, `[n]`.
    pub fn predictive_entropy(&self) -> Vec<f32> {
        self.each(|rows| entropy(&mean_row(rows)) as f32)
    }

    /// Its aleatoric part 1/S sum_s H\[p_s\], in nats, `[n]`.
    pub fn expected_entropy(&self) -> Vec<f32> {
        self.each(|rows| super::mean(rows.iter().map(|row| entropy(row))) as f32)
    }

    /// Its epistemic part, the difference of the two, in nats, `[n]`: never negative, and exactly 0 where
    /// all samples agree.
    ///
    /// Computed as 1/S sum_s KL(p_s || m), which does not cancel. Each term is p ln(p/m) - p + m: the
    /// extra m - p vanishes in the sum over samples and makes every term non-negative by itself.
    pub fn mutual_information(&self) -> Vec<f32> {
        self.each(|rows| {
            let mean = mean_row(rows);
            let divergence = |row: &&[f32]| -> f64 {
                row.iter()
                    .zip(&mean)
                    .map(|(&p, &m)| divergence_term(f64::from(p), m))
                    .sum()
            };
            super::mean(rows.iter().map(divergence)).max(0.0) as f32
        })
    }

    /// Share of the samples that do not vote for the class with most votes, 0..1, `[n]`.
    pub fn variation_ratio(&self) -> Vec<f32> {
        self.each(|rows| {
            let mut votes = vec![0_usize; self.classes];
            rows.iter().for_each(|row| votes[argmax(row)] += 1);
            let most = votes.into_iter().max().unwrap_or(0);
            (rows.len() - most) as f32 / rows.len() as f32
        })
    }

    /// Maps `measure` over examples; it gets the example's `samples` rows.
    fn each<T: Send>(&self, measure: impl Fn(&[&[f32]]) -> T + Sync) -> Vec<T> {
        (0..self.examples)
            .into_par_iter()
            .map(|example| {
                let rows: Vec<&[f32]> = self
                    .probs
                    .chunks_exact(self.classes)
                    .skip(example)
                    .step_by(self.examples)
                    .collect();
                measure(&rows)
            })
            .collect()
    }
}

/// Mean of the rows in f64: exact for identical rows, whose mutual information is then exactly 0.
fn mean_row(rows: &[&[f32]]) -> Vec<f64> {
    (0..rows[0].len())
        .map(|class| super::mean(rows.iter().map(|row| f64::from(row[class]))))
        .collect()
}

/// p ln(p/m) - p + m, at p = 0 its limit m.
fn divergence_term(p: f64, m: f64) -> f64 {
    if p > 0.0 { p * (p / m).ln() - p + m } else { m }
}

fn narrow(values: impl IntoIterator<Item = f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

/// The predictive in log space: ln m = logsumexp_s(ln p_s) - ln S over the leading axis, `[samples, ..]` to
/// `[..]`. A probability that underflows f32 keeps its logarithm.
///
/// # Panics
/// If `samples` is 0 or does not divide the length.
pub fn log_mean_exp(log_probs: &[f32], samples: usize) -> Vec<f32> {
    assert!(samples > 0, "at least one sample");
    assert!(
        log_probs.len().is_multiple_of(samples),
        "samples of one size"
    );
    let size = log_probs.len() / samples;
    (0..size)
        .into_par_iter()
        .map(|i| {
            let sampled = || {
                log_probs[i..]
                    .iter()
                    .step_by(size)
                    .map(|&value| f64::from(value))
            };
            let largest = sampled().fold(f64::NEG_INFINITY, f64::max);
            if largest == f64::NEG_INFINITY {
                return f32::NEG_INFINITY; // impossible in every sample; inf - inf would be NaN
            }
            let sum: f64 = sampled().map(|value| (value - largest).exp()).sum();
            (largest + (sum / samples as f64).ln()) as f32
        })
        .collect()
}
