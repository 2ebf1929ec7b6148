//! Figure 1 of the paper: accuracy above, ranks below, over the epochs.

use super::one;
use crate::report::block::Section;
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::number::counted;
use crate::report::theme::{Style, Styles};
use crate::report::{EpochPoint, Results, Row, Score};

pub fn section(results: &Results) -> Section {
    Section {
        id: "training",
        title: "Training",
        blocks: one(
            of_study(results),
            "No training curves: no run has finished an epoch.",
        ),
    }
}

type Pick = fn(&EpochPoint) -> &Score;

const CURVES: [(&str, &str, Pick); 4] = [
    ("accuracy", "Accuracy", |point| &point.accuracy),
    ("rank", "Ranks left", |point| &point.rank),
    ("nll", "NLL", |point| &point.nll),
    ("soft_rank", "Effective rank", |point| &point.soft_rank),
];

fn of_study(results: &Results) -> Option<Figure> {
    let rows: Vec<&Row> = results
        .rows
        .iter()
        .filter(|row| !row.training.is_empty())
        .collect();
    let seeds: Vec<_> = rows.iter().map(|row| row.seeds.len()).collect();
    let over = format!(
        " Lines are means over {}, bands one standard deviation of the rows on the whole test set.",
        several(&seeds, "seed")
    );
    (!rows.is_empty()).then(|| figure(&rows, results.study.validation_images, &over))
}

/// Of rows that were trained; `over` is a sentence on what lines and bands are, where they are more than one run's.
pub fn figure(rows: &[&Row], validation_images: usize, over: &str) -> Figure {
    let mut styles = Styles::default();
    let styles: Vec<_> = rows.iter().map(|row| styles.next(&row.family)).collect();
    // Without validation images there are no scores on them.
    let is_known = |pick: Pick| {
        let mut points = rows.iter().flat_map(|row| &row.training);
        points.any(|point| pick(point).mean.is_finite())
    };
    let curves = CURVES.into_iter().filter(|(_, _, pick)| is_known(*pick));
    let panels = curves.map(|(_, title, pick)| panel(title, pick, rows, &styles));
    let panels = panels.collect();

    let header = ["row", "epoch", "measure", "mean", "sd", "seeds"];
    let mut numbers = Numbers::new(&header);
    for row in rows {
        for point in &row.training {
            for (name, _, pick) in CURVES {
                let score = pick(point);
                numbers.rows.push(vec![
                    row.name.clone(),
                    point.epoch.to_string(),
                    name.into(),
                    score.mean.to_string(),
                    score.sd.to_string(),
                    row.seeds.len().to_string(),
                ]);
            }
        }
    }
    Figure {
        name: "training".into(),
        title: "Accuracy and ranks over the epochs".into(),
        caption: format!(
            "Accuracy (higher is better) and NLL (lower is better) on {} with the mean weights, the ranks left, \
             and the effective rank, the sum of 1/(1 + α) over the ranks, after each epoch.{over}",
            counted(validation_images, "validation image"),
        ),
        panels,
        columns: 2,
        legend: styles
            .into_iter()
            .zip(rows.iter().map(|row| row.title.clone()))
            .collect(),
        numbers,
    }
}

fn panel(title: &str, pick: Pick, rows: &[&Row], styles: &[Style]) -> Panel {
    let points = || rows.iter().flat_map(|row| &row.training);
    let ends = points().flat_map(|point| {
        let score = pick(point);
        [score.mean - score.sd, score.mean + score.sd]
    });
    let first = points().map(|point| point.epoch).min().unwrap_or(0);
    let last = points().map(|point| point.epoch).max().unwrap_or(1);
    let x = Axis::whole("epoch", first, last);
    let mut plot = Plot::new(title, Size::USUAL, x, Axis::around(title, ends, 5));
    let is_headline = |(row, _): &(&&Row, &Style)| row.headline;
    for (row, style) in rows.iter().zip(styles).filter(is_headline) {
        let band: Vec<_> = row
            .training
            .iter()
            .map(|point| (point.epoch as f64, pick(point)))
            .map(|(x, score)| (x, score.mean - score.sd, score.mean + score.sd))
            .collect();
        plot.band(&band, style);
    }
    for (row, style) in rows.iter().zip(styles) {
        let line: Vec<_> = row
            .training
            .iter()
            .map(|point| (point.epoch as f64, pick(point).mean))
            .collect();
        plot.marked_line(&line, style);
    }
    plot.finish()
}
