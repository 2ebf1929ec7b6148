//! A ranking by confidence in which ties are averaged over.

/// Pairs each confidence with its outcome, most confident first, and gives all members of a tie the mean
/// outcome of the tie.
///
/// A tie has no order, and the one that a sort leaves is that of the file. The mean is what a uniformly
/// random order of the tie gives in expectation at each of its places, so whatever is linear in the
/// outcomes (a cumulated risk, the accuracy of a bin that cuts a tie) becomes its exact expectation.
///
/// # Panics
/// If the slices differ in length or are empty.
pub(super) fn ranking(confidence: &[f32], outcome: &[bool]) -> Vec<(f32, f64)> {
    assert_eq!(confidence.len(), outcome.len(), "one outcome a confidence");
    assert!(!confidence.is_empty(), "at least one example");
    let mut ranked: Vec<(f32, f64)> = confidence
        .iter()
        .zip(outcome)
        .map(|(&confidence, &outcome)| (confidence, f64::from(u8::from(outcome))))
        .collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    for tie in ranked.chunk_by_mut(|a, b| a.0 == b.0) {
        // Outcomes are 0 or 1: their sum is exact in any order.
        let share = tie.iter().map(|entry| entry.1).sum::<f64>() / tie.len() as f64;
        tie.iter_mut().for_each(|entry| entry.1 = share);
    }
    ranked
}
