//! Which rows are compared with which, and which is the best.

use super::Entry;
use super::compare::compare;
use crate::metrics::{Bootstrap, PredictionsError, holm};
use crate::report::measure::{COMPARED, LEVEL, MEASURES, verdicts};
use crate::report::{Comparison, Row, Verdict};
use crate::study::runs::SAMPLES;
use crate::train::Method;

/// BayesLoRA's samples against every row that starts from no more ranks; from other ranks, and with other
/// kappas, against LoRA of the same rank; each with a temperature against rows with one. The verdicts are corrected for each
/// other.
///
/// # Errors
/// An answer is not a distribution.
pub fn comparisons(
    entries: &[Entry],
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>, PredictionsError> {
    let mut pairs: Vec<(&Entry, &Entry)> = Vec::new();
    let sampled =
        |entry: &&Entry| entry.family == Method::BayesLora.name() && entry.samples == SAMPLES;
    for ours in entries.iter().filter(sampled) {
        let tempered = !ours.temperatures.is_empty();
        let others = entries.iter().filter(|other| {
            let alike = other.temperatures.is_empty() != tempered;
            let is_lora = other.family == Method::Lora.name() && alike;
            match ours.headline {
                true => {
                    other.name != ours.name && other.rank() <= ours.rank() && (alike || !tempered)
                }
                false => is_lora && other.rank() == ours.rank(),
            }
        });
        pairs.extend(others.map(|other| (ours, other)));
    }
    let mut found = Vec::new();
    for (ours, other) in pairs {
        found.extend(compare(ours, other, bootstrap)?);
    }
    let corrected = verdicts(&found);
    for (comparison, verdict) in found.iter_mut().zip(corrected) {
        comparison.verdict = verdict;
    }
    Ok(found)
}

/// Names to each row the measures in which it is better, by paired intervals and Holm's correction over them, than every
/// other row on as many images.
///
/// # Errors
/// An answer is not a distribution.
pub fn name_the_best(
    entries: &[Entry],
    rows: &mut [Row],
    bootstrap: &Bootstrap,
) -> Result<(), PredictionsError> {
    for measure in &MEASURES[..COMPARED] {
        let sign = match measure.higher_is_better {
            Some(true) => -1.0,
            _ => 1.0,
        };
        let cost = |row: &Row| sign * row.scores[measure.name].debiased().mean;
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| cost(&rows[*a]).total_cmp(&cost(&rows[*b])));
        while let Some(&first) = order.first() {
            let images = rows[first].test_images;
            let alike = |place: &&usize| rows[**place].test_images == images;
            let others: Vec<usize> = order.iter().filter(alike).skip(1).copied().collect();
            // The likeliest to be as good come first, and mostly settle it.
            let mut p_values = Vec::new();
            for &other in &others {
                match lead(&entries[first], &entries[other], measure.name, bootstrap)? {
                    Some(p) => p_values.push(p),
                    None => break,
                }
            }
            let is_decided = |p: &f64| *p < 1.0 - LEVEL;
            let beats_all =
                p_values.len() == others.len() && holm(&p_values).iter().all(is_decided);
            if beats_all && !others.is_empty() {
                rows[first].best_in.push(measure.name.into());
            }
            order.retain(|place| rows[*place].test_images != images);
        }
    }
    Ok(())
}

/// The p-value of the first row's lead; `None` where its interval does not show one.
fn lead(
    first: &Entry,
    second: &Entry,
    measure: &str,
    bootstrap: &Bootstrap,
) -> Result<Option<f64>, PredictionsError> {
    // One model stands against every seed only as the baseline.
    let turned = first.answers.len() == 1;
    let (row, baseline) = match turned {
        true => (second, first),
        false => (first, second),
    };
    let found = compare(row, baseline, bootstrap)?;
    let lead = found.iter().find(|one| one.measure == measure);
    let wanted = match turned {
        true => Verdict::Worse,
        false => Verdict::Better,
    };
    let lead = lead.filter(|one| one.verdict == wanted);
    Ok(lead.and_then(|one| Some(one.difference?.p_value(LEVEL))))
}
