//! Accuracy, and the proper scores: a forecaster minimises them by saying what it believes.
//!
//! Each `_each` function gives one value per example, for paired comparisons; its namesake is the mean.

use super::{Confusion, Predictions, mean};

/// Least probability that [`nll`] charges for, the smallest normal f32 (87.3 nats).
///
/// An f32 probability of zero is an underflow (GPUs flush what is smaller), not a claim of
/// impossibility; unfloored, one such example would make the mean infinite. Where it matters, use
/// [`Predictions::from_log_probs`], which needs no floor.
pub const PROBABILITY_FLOOR: f64 = f32::MIN_POSITIVE as f64;

/// Share of examples whose most probable class is the label, 0..1.
pub fn accuracy(predictions: &Predictions) -> f64 {
    mean(
        predictions
            .correct()
            .into_iter()
            .map(|correct| f64::from(u8::from(correct))),
    )
}

/// Mean over the classes that have examples of the share of these whose most probable class is theirs (macro-averaged
/// recall), 0..1. [`accuracy`] counts examples alike, this classes.
pub fn balanced_accuracy(predictions: &Predictions) -> f64 {
    let confusion = Confusion::of(predictions);
    let recalls = (0..confusion.classes()).filter_map(|class| confusion.recall(class).share());
    mean(recalls.collect::<Vec<_>>().into_iter())
}

/// -ln p(label) of each example, in nats, `[n]`; from log-probabilities where there are any, else with
/// [`PROBABILITY_FLOOR`].
pub fn nll_each(predictions: &Predictions) -> Vec<f64> {
    let labels = predictions.labels().iter().map(|&label| label as usize);
    match predictions.log_probs() {
        Some(log_probs) => log_probs
            .chunks_exact(predictions.classes())
            .zip(labels)
            .map(|(row, label)| -f64::from(row[label]))
            .collect(),
        None => predictions
            .rows()
            .zip(labels)
            .map(|(row, label)| -f64::from(row[label]).max(PROBABILITY_FLOOR).ln())
            .collect(),
    }
}

/// Negative log-likelihood, mean of [`nll_each`], in nats.
pub fn nll(predictions: &Predictions) -> f64 {
    mean(nll_each(predictions).into_iter())
}

/// sum_c (p_c - \[c = label\])^2 of each example, 0..2, `[n]`.
pub fn brier_each(predictions: &Predictions) -> Vec<f64> {
    predictions
        .rows()
        .zip(predictions.labels())
        .map(|(row, &label)| {
            row.iter()
                .enumerate()
                .map(|(class, &p)| {
                    let target = f64::from(u8::from(class == label as usize));
                    (f64::from(p) - target).powi(2)
                })
                .sum()
        })
        .collect()
}

/// Brier score (1950), summed over classes: mean of [`brier_each`], 0..2.
pub fn brier(predictions: &Predictions) -> f64 {
    mean(brier_each(predictions).into_iter())
}

/// H\[p\] = -sum_c p_c ln p_c of one row, in nats, 0..ln(classes); 0 ln 0 = 0.
pub fn entropy<P: Copy + Into<f64>>(row: &[P]) -> f64 {
    let probs = row.iter().map(|&p| p.into());
    probs
        .filter(|&p| p > 0.0)
        .fold(0.0, |sum, p| sum - p * p.ln())
}

/// Entropy of each example, in nats, `[n]`.
pub fn entropy_each(predictions: &Predictions) -> Vec<f64> {
    predictions.rows().map(entropy).collect()
}

/// KL(p || q) = sum_c p_c (ln p_c - ln q_c), in nats, mean over examples; from log probabilities `[n, classes]` of each.
///
/// Summed as p_c (q_c / p_c - 1 - ln (q_c / p_c)), no term of which is negative: what is added up to by p - q is zero, and
/// the rounding of f32 log probabilities no longer counts.
pub fn mean_kl(p: &[f32], q: &[f32], classes: usize) -> f64 {
    let rows = p.chunks_exact(classes).zip(q.chunks_exact(classes));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p), f64::from(*q));
        match p.exp() > 0.0 {
            true => p.exp() * ((q - p).exp_m1() - (q - p)),
            false => q.exp(),
        }
    };
    mean(rows.map(|(p, q)| p.iter().zip(q).map(term).sum()))
}
