//! Every score of a set of predictions.

use serde::{Deserialize, Serialize};

use super::{
    DEFAULT_BINS, Predictions, accuracy, adaptive_calibration_error, aurc, balanced_accuracy,
    brier, classwise_calibration_error, entropy_each, expected_calibration_error, mean, nll,
    signed_gap,
};

/// The scores that `score --json` and `eval` print, under these names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of examples.
    pub n: usize,
    /// Share whose most probable class is the label.
    pub accuracy: f64,
    /// The same for each class, averaged over those that have examples: macro-averaged recall.
    pub balanced_accuracy: f64,
    /// Negative log-likelihood, nats.
    pub nll: f64,
    /// Brier score, summed over classes, 0..2.
    pub brier: f64,
    /// Expected calibration error, 15 bins of equal width.
    pub ece: f64,
    /// Expected calibration error, 15 bins of equal mass.
    pub adaptive_ece: f64,
    /// Expected calibration error of each class probability, mean over classes.
    pub classwise_ece: f64,
    /// Mean confidence minus accuracy: positive means over-confident.
    pub signed_gap: f64,
    /// Area under the risk-coverage curve of the largest probability.
    pub aurc: f64,
    /// Mean predictive entropy, nats.
    pub mean_entropy: f64,
    /// Mean mutual information between label and model, nats; 0 for a single sample.
    pub mean_mutual_information: f64,
}

/// Scores predictions in every way. `mutual_information` has one value per example, `[n]`; without it the
/// predictions are those of a single sample, which has none.
///
/// # Panics
/// If `mutual_information` has another length than the predictions.
pub fn evaluate(predictions: &Predictions, mutual_information: Option<&[f32]>) -> Evaluation {
    let confidence = predictions.confidence();
    let correct = predictions.correct();
    let mean_mutual_information = mutual_information.map_or(0.0, |values| {
        assert_eq!(
            values.len(),
            predictions.len(),
            "one mutual information an example"
        );
        mean(values.iter().map(|&value| f64::from(value)))
    });
    Evaluation {
        n: predictions.len(),
        accuracy: accuracy(predictions),
        balanced_accuracy: balanced_accuracy(predictions),
        nll: nll(predictions),
        brier: brier(predictions),
        ece: expected_calibration_error(&confidence, &correct, DEFAULT_BINS),
        adaptive_ece: adaptive_calibration_error(&confidence, &correct, DEFAULT_BINS),
        classwise_ece: classwise_calibration_error(predictions, DEFAULT_BINS),
        signed_gap: signed_gap(&confidence, &correct),
        aurc: aurc(&confidence, &correct),
        mean_entropy: mean(entropy_each(predictions).into_iter()),
        mean_mutual_information,
    }
}
