//! Telling unfamiliar inputs from familiar ones by a score.
//!
//! Everywhere here a **higher score means less familiar** (an entropy, a mutual information, minus the
//! largest probability).

use super::{Predictions, entropy_each};

/// Minus the largest probability, entropy and mutual information of each example, `[3][n]`.
pub fn uncertainty_scores(predictions: &Predictions, mutual_information: &[f32]) -> [Vec<f64>; 3] {
    let confidence = predictions.confidence().into_iter();
    let information = mutual_information.iter();
    [
        confidence.map(|value| -f64::from(value)).collect(),
        entropy_each(predictions),
        information.map(|value| f64::from(*value)).collect(),
    ]
}

/// The scores of a resample of both sides together, in which `drawn` counts the familiar examples and goes on with the unfamiliar
/// ones; `None` if it has none of a side.
pub fn drawn_scores(
    drawn: &[usize],
    familiar: &[f64],
    unfamiliar: &[f64],
) -> Option<[Vec<f64>; 2]> {
    let mut sides = [Vec::new(), Vec::new()];
    for example in drawn {
        match example.checked_sub(familiar.len()) {
            None => sides[0].push(familiar[*example]),
            Some(example) => sides[1].push(unfamiliar[example]),
        }
    }
    sides.iter().all(|side| !side.is_empty()).then_some(sides)
}

/// Area under the ROC curve, 0..1: P(unfamiliar > familiar) + 1/2 P(equal) over all pairs
/// (Mann-Whitney). One half is chance.
///
/// # Panics
/// If a slice is empty.
pub fn auroc(familiar: &[f64], unfamiliar: &[f64]) -> f64 {
    assert!(
        !familiar.is_empty() && !unfamiliar.is_empty(),
        "at least one example on each side"
    );
    let mut scores: Vec<(f64, bool)> = familiar
        .iter()
        .map(|&score| (score, false))
        .chain(unfamiliar.iter().map(|&score| (score, true)))
        .collect();
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0;
    let mut wins = 0.0;
    for tie in scores.chunk_by(|a, b| a.0 == b.0) {
        let unfamiliar = tie.iter().filter(|entry| entry.1).count();
        let familiar = tie.len() - unfamiliar;
        wins += unfamiliar as f64 * (below as f64 + 0.5 * familiar as f64);
        below += familiar;
    }
    wins / familiar.len() as f64 / unfamiliar.len() as f64
}

/// Share of the unfamiliar that is let through when at least 95 % of the familiar is, 0..1.
///
/// The false positive rate at a true positive rate of 95 % with the familiar as positives (Liang et al.
/// 2018). Some papers swap the roles: call it with both slices negated and exchanged. An unfamiliar score
/// equal to the threshold is let through.
///
/// # Panics
/// If a slice is empty.
pub fn fpr95(familiar: &[f64], unfamiliar: &[f64]) -> f64 {
    assert!(
        !familiar.is_empty() && !unfamiliar.is_empty(),
        "at least one example on each side"
    );
    let accepted = (familiar.len() * 95).div_ceil(100);
    let mut sorted = familiar.to_vec();
    let (_, &mut threshold, _) = sorted.select_nth_unstable_by(accepted - 1, f64::total_cmp);
    unfamiliar
        .iter()
        .filter(|&&score| score <= threshold)
        .count() as f64
        / unfamiliar.len() as f64
}
