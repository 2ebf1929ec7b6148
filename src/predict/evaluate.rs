//! Scores of a predictor on a labelled set.

use std::time::Instant;

use serde::Serialize;

use super::{PredictError, Predictive, PriorShift, Samples, Source};
use crate::formats::Temperature;
use crate::metrics::{
    self, Evaluation, Predictions, SampledProbabilities, fit_temperature, log_mean_exp,
    tempered_log_probs,
};

/// Scores and what they cost.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluated {
    #[serde(flatten)]
    pub scores: Evaluation,
    /// sum_i 1/(1 + alpha_i) over all ranks left; the number of ranks for an adapter without gates.
    pub effective_rank: f64,
    /// Ranks left.
    pub rank_count: usize,
    /// Scalars of A, B and log alpha.
    pub adapter_parameters: usize,
    pub seconds: f64,
    /// The predictive, log probabilities `[n, classes]`.
    #[serde(skip)]
    pub log_probs: Vec<f32>,
    /// Mutual information of each example, in nats.
    #[serde(skip)]
    pub mutual_information: Vec<f32>,
}

impl Evaluated {
    /// The temperature that suits these images best, which must be held out from training and test.
    /// The samples are averaged first and tempered then (Rahaman and Thiery 2021): averaging alone
    /// takes confidence away.
    ///
    /// # Errors
    /// The labels do not fit.
    pub fn fit_temperature(
        &self,
        labels: &[u32],
        samples: Samples,
    ) -> Result<Temperature, PredictError> {
        let classes = self.log_probs.len() / labels.len().max(1);
        let temperature = fit_temperature(&self.log_probs, labels, classes)?;
        Ok(Temperature {
            temperature,
            samples: samples.count,
            seed: samples.seed,
            images: labels.len(),
            nll_before: self.scores.nll,
            nll_after: self.at_temperature(labels, temperature)?.scores.nll,
        })
    }

    /// -ln p(label) of each image, in nats, `[n]`.
    pub fn nll_each(&self, labels: &[u32]) -> Vec<f64> {
        let classes = self.log_probs.len() / labels.len().max(1);
        let rows = self.log_probs.chunks_exact(classes.max(1)).zip(labels);
        rows.map(|(row, label)| -f64::from(row[*label as usize]))
            .collect()
    }

    /// The same with the predictive at a temperature. The mutual information stays that of the
    /// samples.
    ///
    /// # Errors
    /// The labels do not fit.
    pub fn at_temperature(&self, labels: &[u32], temperature: f64) -> Result<Self, PredictError> {
        let classes = self.log_probs.len() / labels.len().max(1);
        let log_probs = tempered_log_probs(&self.log_probs, classes, temperature);
        let predictions = Predictions::from_log_probs(&log_probs, labels, classes)?;
        let scores = metrics::evaluate(&predictions, Some(&self.mutual_information));
        Ok(Self {
            scores,
            log_probs,
            ..self.clone()
        })
    }
}

/// Scores a predictor on a set with labels. `effective_rank` is the caller's, who knows log alpha.
///
/// # Errors
/// The GPU fails, or the model gives no finite probabilities.
pub fn evaluate(
    predictor: &impl Predictive,
    source: &Source,
    samples: Samples,
    effective_rank: f64,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, PredictError> {
    let start = Instant::now();
    let all = predictor.log_probs(source, samples, progress)?;
    scored(predictor, &all, source, samples, effective_rank, start)
}

/// The same, and beside it the scores of the same samples under another prior of the classes.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_under(
    predictor: &impl Predictive,
    source: &Source,
    samples: Samples,
    effective_rank: f64,
    shift: &PriorShift,
    progress: &mut dyn FnMut(usize),
) -> Result<[Evaluated; 2], PredictError> {
    let start = Instant::now();
    let mut all = predictor.log_probs(source, samples, progress)?;
    let evaluated = scored(predictor, &all, source, samples, effective_rank, start)?;
    shift.adjust(&mut all);
    let adjusted = scored(predictor, &all, source, samples, effective_rank, start)?;
    Ok([evaluated, adjusted])
}

/// Scores log probabilities `[draws, n, classes]` that were begun at `start`.
fn scored(
    predictor: &impl Predictive,
    all: &[f32],
    source: &Source,
    samples: Samples,
    effective_rank: f64,
    start: Instant,
) -> Result<Evaluated, PredictError> {
    let (n, classes, count) = (
        source.dataset.len(),
        predictor.classes(),
        predictor.draws(samples),
    );
    let log_probs = log_mean_exp(all, count);
    let probs: Vec<f32> = all.iter().map(|value| value.exp()).collect();
    let mutual_information =
        SampledProbabilities::new(&probs, count, n, classes)?.mutual_information();
    let predictions = Predictions::from_log_probs(&log_probs, &source.dataset.labels, classes)?;
    let scores = metrics::evaluate(&predictions, Some(&mutual_information));
    Ok(Evaluated {
        scores,
        effective_rank,
        rank_count: predictor.rank_count(),
        adapter_parameters: predictor.adapter_parameters(),
        seconds: start.elapsed().as_secs_f64(),
        log_probs,
        mutual_information,
    })
}
