//! Differences between rows on the same images and seeds.

use super::Entry;
use super::scores::{EachImage, Resampled, correct_each, holds_zero, mean_of, mean_over_seeds};
use crate::metrics::{
    Bootstrap, DEFAULT_BINS, Interval, Predictions, PredictionsError, aurc, brier_each,
    expected_calibration_error, nll_each,
};
use crate::report::{Comparison, Verdict};

/// `row` against `baseline` in five measures. A baseline of one model, such as an ensemble, stands
/// against every seed of the row.
///
/// # Errors
/// An answer is not a distribution.
pub fn compare(
    row: &Entry,
    baseline: &Entry,
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>, PredictionsError> {
    let single = baseline.answers.len() == 1;
    let pairs: Vec<_> = row
        .seeds
        .iter()
        .zip(&row.answers)
        .filter_map(|(seed, answers)| {
            let place = baseline.seeds.iter().position(|other| other == seed);
            let other = place.or(single.then_some(0))?;
            Some((answers, &baseline.answers[other]))
        })
        .collect();
    let lengths = pairs.iter().map(|(a, b)| a.images().min(b.images()));
    let Some(n) = lengths.min() else {
        return Ok(Vec::new());
    };
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(a, b)| (a.first(n), b.first(n)))
        .collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(a, b)| Ok((Resampled::new(a)?, Resampled::new(b)?)))
        .collect::<Result<_, PredictionsError>>()?;
    let everything: Vec<usize> = (0..n).collect();
    let comparison = |measure: &str, difference: Interval, by_seed: Vec<f64>| Comparison {
        row: row.name.clone(),
        baseline: baseline.name.clone(),
        measure: measure.into(),
        difference: Some(difference),
        by_seed,
        verdict: verdict(&difference, measure == "accuracy"),
    };
    let each: [(&str, EachImage); 3] = [
        ("nll", nll_each),
        ("accuracy", correct_each),
        ("brier", brier_each),
    ];
    let mut found = Vec::new();
    for (measure, values) in each {
        let differences: Vec<Vec<f64>> = pairs
            .iter()
            .map(|(a, b)| {
                let (a, b) = (a.of(&everything, values), b.of(&everything, values));
                a.iter().zip(&b).map(|(a, b)| a - b).collect()
            })
            .collect();
        let by_seed = differences
            .iter()
            .map(|values| values.iter().sum::<f64>() / n as f64);
        let interval = bootstrap.mean(&mean_over_seeds(&differences));
        found.push(comparison(measure, interval, by_seed.collect()));
    }
    let difference = |(a, b): &(Resampled, Resampled), drawn: &[usize]| -> [f64; 2] {
        let (a, b) = (a.of(drawn, binned), b.of(drawn, binned));
        [a[0] - b[0], a[1] - b[1]]
    };
    let by_seed: Vec<_> = pairs
        .iter()
        .map(|pair| difference(pair, &everything))
        .collect();
    let intervals = bootstrap.intervals(n, |drawn| {
        mean_of(
            pairs.iter().map(|pair| difference(pair, drawn)),
            pairs.len(),
        )
    });
    for (place, measure) in ["ece", "aurc"].into_iter().enumerate() {
        let values = by_seed.iter().map(|values| values[place]).collect();
        found.push(comparison(measure, intervals[place], values));
    }
    Ok(found)
}

fn binned(predictions: &Predictions) -> [f64; 2] {
    let (confidence, correct) = (predictions.confidence(), predictions.correct());
    [
        expected_calibration_error(&confidence, &correct, DEFAULT_BINS),
        aurc(&confidence, &correct),
    ]
}

fn verdict(difference: &Interval, higher_is_better: bool) -> Verdict {
    if holds_zero(difference) {
        return Verdict::Undecided;
    }
    match (difference.estimate > 0.0) == higher_is_better {
        true => Verdict::Better,
        false => Verdict::Worse,
    }
}
