//! Temperature scaling (Guo et al. 2017): one number, fitted on held-out data, that makes a classifier as
//! confident as it is right.

use rayon::prelude::*;

use super::PredictionsError;
use super::predictions::check_labels;

/// Temperatures that [`fit_temperature`] considers.
pub const TEMPERATURE_RANGE: (f64, f64) = (1e-2, 1e2);

/// Relative accuracy of the fitted temperature.
const TOLERANCE: f64 = 1e-10;

/// The T that minimises the mean negative log-likelihood of softmax(logits / T).
///
/// `logits` are `[n, classes]`; log-probabilities serve as well, since they differ from logits by a
/// constant a row. The likelihood is convex in b = 1/T, so its slope, mean(E_p\[z\] - z_label), rises
/// through one root: bisection in ln b finds it in 37 passes for any logits. Constant logits say
/// nothing about T, and give 1; where every label has the largest logit the minimum is at T = 0, and the
/// search ends at the lower end of [`TEMPERATURE_RANGE`] or where the slope underflows.
///
/// # Errors
/// If lengths or labels do not fit, or a logit is not finite.
pub fn fit_temperature(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
) -> Result<f64, PredictionsError> {
    check_labels(logits.len(), labels, classes)?;
    if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
        let (row, class, found) = (at / classes, at % classes, logits[at]);
        return Err(PredictionsError::Log {
            row,
            class,
            found,
            expected: "a finite logit",
        });
    }
    let (mut low, mut high) = (-TEMPERATURE_RANGE.1.ln(), -TEMPERATURE_RANGE.0.ln());
    while high - low > TOLERANCE {
        let middle = 0.5 * (low + high);
        let slope = slope(logits, labels, classes, middle.exp());
        if slope >= 0.0 {
            high = middle;
        }
        if slope <= 0.0 {
            low = middle;
        }
    }
    Ok((-0.5 * (low + high)).exp())
}

/// Derivative by b of the mean negative log-likelihood of softmax(b z).
fn slope(logits: &[f32], labels: &[u32], classes: usize, b: f64) -> f64 {
    let rows: Vec<f64> = logits
        .par_chunks_exact(classes)
        .zip(labels)
        .map(|(row, &label)| {
            let largest = largest(row);
            let (mut mass, mut moment) = (0.0, 0.0);
            for &logit in row {
                let weight = (b * (f64::from(logit) - largest)).exp();
                mass += weight;
                moment += weight * (f64::from(logit) - f64::from(row[label as usize]));
            }
            moment / mass
        })
        .collect();
    // Summed in the order of the rows, regardless of the threads.
    super::mean(rows.into_iter())
}

/// ln softmax(logits / T) of each row, `[n, classes]`.
///
/// # Panics
/// If `classes` is 0 or does not divide the length.
pub fn tempered_log_probs(logits: &[f32], classes: usize, temperature: f64) -> Vec<f32> {
    assert!(
        classes > 0 && logits.len().is_multiple_of(classes),
        "rows of {classes} logits"
    );
    logits
        .par_chunks_exact(classes)
        .flat_map_iter(|row| {
            let largest = largest(row);
            let scaled = move |logit: f32| (f64::from(logit) - largest) / temperature;
            let log_mass = row
                .iter()
                .map(|&logit| scaled(logit).exp())
                .sum::<f64>()
                .ln();
            row.iter()
                .map(move |&logit| (scaled(logit) - log_mass) as f32)
        })
        .collect()
}

fn largest(row: &[f32]) -> f64 {
    row.iter().fold(f64::NEG_INFINITY, |largest, &value| {
        largest.max(f64::from(value))
    })
}
