//! Figure 2 of the paper, ECE by method, and NLL likewise.

use super::headline_first;
use crate::report::block::Block;
use crate::report::chart::{Dot, Panel, dots};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::{Measure, measure, on_what};
use crate::report::number::spread;
use crate::report::theme::Styles;
use crate::report::{Results, Row};

/// NLL and ECE of every row.
pub fn blocks(results: &Results) -> Vec<Block> {
    let rows: Vec<&Row> = results.rows.iter().collect();
    let figure =
        |suffix: &str, rows: &[&Row]| figure(results, &format!("scores-by-method{suffix}"), rows);
    headline_first(&rows, figure, "No method has an NLL or ECE yet.")
}

fn figure(results: &Results, name: &str, rows: &[&Row]) -> Option<Figure> {
    let header = [
        "row",
        "test_images",
        "seeds",
        "measure",
        "mean",
        "sd",
        "low",
        "high",
    ];
    let mut numbers = Numbers::new(&header);
    let mut panels = Vec::new();
    for (measure, zero) in [(measure("nll")?, false), (measure("ece")?, true)] {
        let has_it = |row: &&&Row| row.scores.contains_key(measure.name);
        let rows: Vec<&Row> = rows.iter().filter(has_it).copied().collect();
        if rows.is_empty() {
            continue;
        }
        panels.push(panel(measure, &rows, zero));
        for row in rows {
            let score = row.scores[measure.name].debiased();
            let end = |end: Option<f64>| end.map_or(String::new(), |end| end.to_string());
            numbers.rows.push(vec![
                row.name.clone(),
                row.test_images.to_string(),
                row.seeds.len().to_string(),
                measure.name.into(),
                score.mean.to_string(),
                score.sd.to_string(),
                end(score.interval.map(|interval| interval.low)),
                end(score.interval.map(|interval| interval.high)),
            ]);
        }
    }
    (!panels.is_empty()).then(|| Figure {
        name: name.into(),
        title: "NLL and calibration error by method".into(),
        caption: format!(
            "Negative log-likelihood, nats an image, and expected calibration error, 15 bins of equal width (lower is \
             better), on {}. Large marks: mean over seeds; lines: its 95 % interval over test images ({}); small dots: \
             single seeds. All methods saw the same images: the paired differences below decide more than these intervals.",
            on_what(rows.iter().copied()),
            results.study.intervals(),
        ),
        panels,
        columns: 2,
        legend: Vec::new(),
        numbers,
    })
}

fn panel(measure: &Measure, rows: &[&Row], zero: bool) -> Panel {
    let mut styles = Styles::default();
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            let score = row.scores[measure.name].debiased();
            Dot {
                title: row.title.clone(),
                style: styles.next(&row.family),
                value: score.mean,
                text: spread(&score, measure.digits),
                interval: score.interval.map(|interval| (interval.low, interval.high)),
                seeds: score.by_seed,
            }
        })
        .collect();
    dots(measure.title, measure.title, &list, zero)
}
