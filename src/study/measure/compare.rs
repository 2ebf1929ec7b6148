//! Differences between rows on the same images and seeds.

use super::Entry;
use super::scores::{EachImage, Resampled, correct_each, ece_gaps, mean_of, mean_over_seeds};
use crate::metrics::{
    Bootstrap, Gaps, Interval, Predictions, PredictionsError, aurc, brier_each, nll_each,
};
use crate::report::{Comparison, Verdict};

/// `row` against `baseline` in five measures, each verdict as if it were the only one. A baseline of one model, such as an ensemble, stands
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
    let comparison = |measure: &str, difference: Interval, by_seed: Vec<f64>| {
        let mut comparison = Comparison {
            row: row.name.clone(),
            baseline: baseline.name.clone(),
            measure: measure.into(),
            difference: Some(difference),
            by_seed,
            verdict: Verdict::Undecided,
        };
        comparison.verdict = comparison.uncorrected();
        comparison
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
    let gaps = |row: &Resampled| row.of(&everything, ece_gaps);
    let (ours, theirs): (Vec<Gaps>, Vec<Gaps>) =
        pairs.iter().map(|(a, b)| (gaps(a), gaps(b))).unzip();
    let error = |gaps: &Gaps| gaps.error(&gaps.means());
    let each = ours.iter().zip(&theirs);
    let by_seed = each.map(|(a, b)| error(a) - error(b)).collect();
    let interval = bootstrap.calibration(&Gaps::mean(&ours).minus(Gaps::mean(&theirs)));
    found.push(comparison("ece", interval, by_seed));
    let difference =
        |(a, b): &(Resampled, Resampled), drawn: &[usize]| [a.of(drawn, area) - b.of(drawn, area)];
    let each = pairs.iter().map(|pair| difference(pair, &everything)[0]);
    let by_seed = each.collect();
    let [interval] = bootstrap.intervals(n, |drawn| {
        let each = pairs.iter().map(|pair| difference(pair, drawn));
        mean_of(each, pairs.len())
    });
    found.push(comparison("aurc", interval, by_seed));
    Ok(found)
}

fn area(predictions: &Predictions) -> f64 {
    aurc(&predictions.confidence(), &predictions.correct())
}
