//! Does a confidence of 0.8 come true eight times in ten? Calibration errors over bins of confidence.
//!
//! Guo et al. 2017 (equal-width bins), Nguyen and O'Connor 2015 (equal mass), Nixon et
//! al. 2019 (classwise). All are biased upwards on a finite set: at n = 10,000 a perfectly calibrated
//! classifier has an expected calibration error of about .005. Report `Bootstrap::calibration`, which
//! takes the bias away.

use serde::{Deserialize, Serialize};

use super::ranking::ranking;
use super::{Predictions, mean};

/// Number of bins that the literature, and [`evaluate`](super::evaluate), use.
pub const DEFAULT_BINS: usize = 15;

/// One bar of a reliability diagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Examples in the bin.
    pub count: usize,
    /// Their mean confidence; 0 in an empty bin.
    pub confidence: f64,
    /// Their share of correct predictions; 0 in an empty bin.
    pub accuracy: f64,
}

/// Bins of equal width: bin b of B holds the confidences in `(b/B, (b+1)/B]`; the first also holds 0.
///
/// `outcome` says whether what the confidence was in came true. Edges are rounded to f32 as the
/// confidences are: f32(1/3) lies *on* the edge 5/15, though it exceeds the real number 1/3.
///
/// # Panics
/// If the slices differ in length or are empty, or `bins` is 0.
pub fn reliability_bins(confidence: &[f32], outcome: &[bool], bins: usize) -> Vec<ReliabilityBin> {
    assert_eq!(confidence.len(), outcome.len(), "one outcome a confidence");
    let bin_of = equal_width(bins);
    tally(
        bins,
        confidence
            .iter()
            .zip(outcome)
            .map(|(&confidence, &outcome)| {
                let outcome = f64::from(u8::from(outcome));
                (bin_of(confidence), confidence, outcome)
            }),
    )
}

/// The bin of a confidence among bins of equal width.
pub(super) fn equal_width(bins: usize) -> impl Fn(f32) -> usize {
    let upper: Vec<f32> = (1..=bins)
        .map(|b| (b as f64 / bins as f64) as f32)
        .collect();
    // A confidence may exceed 1 by a rounding error.
    move |confidence| {
        let bin = upper.partition_point(|&edge| edge < confidence);
        bin.min(bins - 1)
    }
}

/// Bins of equal mass, most confident first: the example of rank k of n is in bin floor(k B / n).
///
/// Where a boundary cuts a tie, both bins get the tie's mean outcome. With fewer examples than bins
/// some bins are empty.
///
/// # Panics
/// If the slices differ in length or are empty, or `bins` is 0.
pub fn adaptive_bins(confidence: &[f32], outcome: &[bool], bins: usize) -> Vec<ReliabilityBin> {
    let ranked = ranking(confidence, outcome);
    let n = ranked.len();
    let entries = ranked.into_iter().enumerate();
    tally(
        bins,
        entries.map(|(rank, (confidence, outcome))| (rank * bins / n, confidence, outcome)),
    )
}

/// Gathers `(bin, confidence, outcome)` into means a bin.
fn tally(bins: usize, entries: impl Iterator<Item = (usize, f32, f64)>) -> Vec<ReliabilityBin> {
    assert!(bins > 0, "at least one bin");
    let mut result = vec![ReliabilityBin::default(); bins];
    for (bin, confidence, outcome) in entries {
        let bin = &mut result[bin];
        bin.count += 1;
        bin.confidence += f64::from(confidence);
        bin.accuracy += outcome;
    }
    for bin in result.iter_mut().filter(|bin| bin.count > 0) {
        bin.confidence /= bin.count as f64;
        bin.accuracy /= bin.count as f64;
    }
    result
}

/// sum_b n_b/n |accuracy_b - confidence_b|.
fn mean_gap(bins: &[ReliabilityBin]) -> f64 {
    let n: usize = bins.iter().map(|bin| bin.count).sum();
    assert!(n > 0, "at least one example");
    bins.iter()
        .map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs())
        .sum::<f64>()
        / n as f64
}

/// Expected calibration error, 0..1: sum_b n_b/n |accuracy_b - confidence_b| over [`reliability_bins`].
///
/// # Panics
/// As [`reliability_bins`].
pub fn expected_calibration_error(confidence: &[f32], correct: &[bool], bins: usize) -> f64 {
    mean_gap(&reliability_bins(confidence, correct, bins))
}

/// The same over [`adaptive_bins`]: no bin is nearly empty, however the confidences crowd near 1.
///
/// # Panics
/// As [`adaptive_bins`].
pub fn adaptive_calibration_error(confidence: &[f32], correct: &[bool], bins: usize) -> f64 {
    mean_gap(&adaptive_bins(confidence, correct, bins))
}

/// Mean over classes c of the [`expected_calibration_error`] of p_c against "the label is c".
///
/// Judges all probabilities, not the largest alone. It shrinks as classes are added, since most
/// probabilities are then near 0 and right: compare only at one number of classes.
///
/// # Panics
/// If `bins` is 0.
pub fn classwise_calibration_error(predictions: &Predictions, bins: usize) -> f64 {
    mean((0..predictions.classes()).map(|class| {
        let confidence: Vec<f32> = predictions.rows().map(|row| row[class]).collect();
        let outcome: Vec<bool> = predictions
            .labels()
            .iter()
            .map(|&label| label as usize == class)
            .collect();
        expected_calibration_error(&confidence, &outcome, bins)
    }))
}

/// Mean confidence minus accuracy, -1..1: **positive means over-confident**.
///
/// # Panics
/// If the slices differ in length or are empty.
pub fn signed_gap(confidence: &[f32], correct: &[bool]) -> f64 {
    assert_eq!(confidence.len(), correct.len(), "one outcome a confidence");
    assert!(!confidence.is_empty(), "at least one example");
    mean(
        confidence
            .iter()
            .zip(correct)
            .map(|(&confidence, &correct)| f64::from(confidence) - f64::from(u8::from(correct))),
    )
}
