//! Selective prediction: answer the examples one is surest of, abstain on the rest.
//!
//! Geifman and El-Yaniv 2017, Geifman et al. 2019. `confidence` may be any score that
//! ranks: the largest probability, minus an entropy, minus a mutual information.
//!
//! Tie rule: risks are expectations over a uniformly random order within each tie, so the order of the
//! examples does not matter and a constant score has the risk of random abstention.

use serde::{Deserialize, Serialize};

use super::mean;
use super::ranking::ranking;

/// One point of a risk-coverage curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskCoverage {
    /// Share of examples answered, k/n.
    pub coverage: f64,
    /// Share of the answered that are wrong.
    pub risk: f64,
}

/// Selective risk at coverages 1/n, 2/n .. 1, most confident first.
///
/// # Panics
/// If the slices differ in length or are empty.
pub fn risk_coverage(confidence: &[f32], correct: &[bool]) -> Vec<RiskCoverage> {
    let ranked = ranking(confidence, correct);
    let n = ranked.len() as f64;
    let mut right = 0.0;
    ranked
        .into_iter()
        .zip(1..)
        .map(|((_, share), answered)| {
            right += share;
            let answered = f64::from(answered);
            RiskCoverage {
                coverage: answered / n,
                risk: (answered - right) / answered,
            }
        })
        .collect()
}

/// Area under the risk-coverage curve, 0..1: the mean selective risk over coverages 1/n .. 1.
///
/// # Panics
/// If the slices differ in length or are empty.
pub fn aurc(confidence: &[f32], correct: &[bool]) -> f64 {
    mean(
        risk_coverage(confidence, correct)
            .into_iter()
            .map(|point| point.risk),
    )
}

/// Excess AURC: [`aurc`] minus that of an oracle with the same errors ranked last, so that accuracy no
/// longer counts and only the ranking does.
///
/// The oracle's curve is the exact discrete one; Geifman et al. approximate it by r + (1 - r) ln(1 - r).
///
/// # Panics
/// If the slices differ in length or are empty.
pub fn e_aurc(confidence: &[f32], correct: &[bool]) -> f64 {
    let oracle: Vec<f32> = correct
        .iter()
        .map(|&correct| f32::from(u8::from(correct)))
        .collect();
    aurc(confidence, correct) - aurc(&oracle, correct)
}

/// Selective risk when at least the share `coverage` (0..1) of the examples, and at least one, is
/// answered.
///
/// # Panics
/// If the slices differ in length or are empty.
pub fn risk_at_coverage(confidence: &[f32], correct: &[bool], coverage: f64) -> f64 {
    let curve = risk_coverage(confidence, correct);
    // 0.07 * 100 exceeds 7 by a rounding error that must not answer an eighth example.
    let answered = (coverage * curve.len() as f64 - 1e-9).ceil() as usize;
    curve[answered.clamp(1, curve.len()) - 1].risk
}
