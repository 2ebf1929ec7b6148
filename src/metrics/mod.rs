//! Scores of probabilistic predictions: pure functions on slices.
//!
//! Start at [`evaluate`] for everything at once, at [`Predictions`] for the checked input, and at the
//! single functions for one number. Arithmetic is f64 throughout; no result depends on the order of the
//! examples (ties are averaged over, never broken by position).
//!
//! Two kinds of input, two contracts. [`Predictions`] and [`SampledProbabilities`] come from files and
//! models, so their constructors check them and return a [`PredictionsError`]. The functions on plain
//! slices panic where slices that describe the same examples differ in length, or are empty.

mod bootstrap;
mod calibration;
mod confusion;
mod evaluation;
mod gaps;
mod interval;
mod multiplicity;
mod ood;
mod prediction_sets;
mod predictions;
mod proportion;
mod ranking;
mod risk_control;
mod scores;
mod selective;
mod seriation;
mod temperature;
mod uncertainty;

pub use bootstrap::{Bootstrap, quantile};
pub use calibration::{
    DEFAULT_BINS, ReliabilityBin, adaptive_bins, adaptive_calibration_error,
    classwise_calibration_error, expected_calibration_error, reliability_bins, signed_gap,
};
pub use confusion::{ConfusedPair, Confusion};
pub use evaluation::{Evaluation, evaluate};
pub use gaps::Gaps;
pub use interval::Interval;
pub use multiplicity::holm;
pub use ood::{auroc, drawn_scores, fpr95, uncertainty_scores};
pub use prediction_sets::{PredictionSets, SetOptions};
pub use predictions::{Predictions, PredictionsError};
pub use proportion::{Proportion, mean_proportion};
pub use risk_control::RiskControl;
#[cfg(feature = "cli")]
pub(crate) use risk_control::binomial_cdf;
pub use scores::{
    PROBABILITY_FLOOR, accuracy, balanced_accuracy, brier, brier_each, entropy, entropy_each,
    mean_kl, nll, nll_each,
};
pub use selective::{RiskCoverage, aurc, e_aurc, risk_at_coverage, risk_coverage};
pub use seriation::confusion_order;
pub use temperature::{TEMPERATURE_RANGE, fit_temperature, tempered_log_probs};
pub use uncertainty::{SampledProbabilities, log_mean_exp};

/// The mean of values `[n]` and its standard error, with n - 1 degrees of freedom; zero for one value.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = mean(values.iter().copied());
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (
        mean,
        (squares.sum::<f64>() / ((n - 1.0).max(1.0) * n)).sqrt(),
    )
}

/// Arithmetic mean. Folding from +0 keeps a mean of negative zeros (-ln 1) from printing as "-0".
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len();
    values.fold(0.0, |sum, value| sum + value) / n as f64
}
