//! From Gaussian logits to probabilities.

use std::f64::consts::PI;

use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::LaplaceError;
use super::linalg::{columns, eigen};
use crate::data::keyed_rng;

/// How probabilities are made of f ~ N(f_map, J Sigma J').
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// softmax(kappa(v_c) f_c), kappa(v) = 1/sqrt(1 + pi v / 8) (MacKay 1992; Lu et al. 2020). The
    /// softmax ignores what is common to all logits but this formula does not, so f and its covariance
    /// are taken relative to the mean logit.
    Probit,
    /// The mean of the softmax over draws of the logits.
    MonteCarlo { samples: usize, seed: u64 },
}

impl Link {
    /// Sets of log probabilities that an image gets.
    pub fn samples(self) -> usize {
        match self {
            Self::Probit => 1,
            Self::MonteCarlo { samples, .. } => samples,
        }
    }

    /// Log probabilities `[samples, classes]` of an image, given its logits (up to a constant) and
    /// their covariance `[classes, classes]`. `image` keys the draws.
    ///
    /// # Errors
    /// The covariance is not finite.
    pub fn log_probs(
        self,
        logits: &[f64],
        covariance: &[f64],
        image: usize,
    ) -> Result<Vec<f32>, LaplaceError> {
        let classes = logits.len();
        let (logits, covariance) = centred(logits, covariance);
        match self {
            Self::Probit => {
                let scaled: Vec<f64> = (0..classes)
                    .map(|c| {
                        let variance = covariance[c * classes + c].max(0.0);
                        logits[c] / (1.0 + PI * variance / 8.0).sqrt()
                    })
                    .collect();
                Ok(log_softmax(&scaled))
            }
            Self::MonteCarlo { samples, seed } => {
                let (values, vectors) = eigen(columns(&covariance, classes))?;
                let mut rng = keyed_rng("laplace", seed, image as u64);
                let mut all = Vec::with_capacity(samples * classes);
                for _ in 0..samples {
                    let mut drawn = logits.clone();
                    for (k, value) in values.iter().enumerate() {
                        let normal: f64 = StandardNormal.sample(&mut rng);
                        let step = value.sqrt() * normal;
                        let terms = drawn.iter_mut().enumerate();
                        terms.for_each(|(c, logit)| *logit += step * vectors[(c, k)]);
                    }
                    all.extend(log_softmax(&drawn));
                }
                Ok(all)
            }
        }
    }
}

/// Logits minus their mean, and the covariance of these.
fn centred(logits: &[f64], covariance: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let classes = logits.len();
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / classes as f64;
    let middle = mean(&mut logits.iter().copied());
    let rows = covariance.chunks_exact(classes);
    let row_means: Vec<f64> = rows.map(|row| mean(&mut row.iter().copied())).collect();
    let grand = mean(&mut row_means.iter().copied());
    let entries = covariance
        .iter()
        .enumerate()
        .map(|(i, value)| value - row_means[i / classes] - row_means[i % classes] + grand);
    let covariance = entries.collect();
    (
        logits.iter().map(|logit| logit - middle).collect(),
        covariance,
    )
}

fn log_softmax(logits: &[f64]) -> Vec<f32> {
    let peak = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|logit| (logit - peak).exp()).sum();
    let shift = peak + total.ln();
    logits.iter().map(|logit| (logit - shift) as f32).collect()
}
