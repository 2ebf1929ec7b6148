//! Figure 2 of the paper, ECE by method, and NLL likewise.

use crate::report::block::{Block, Section};
use crate::report::chart::{Dot, Panel, dots};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::{Measure, measure, on_what};
use crate::report::number::{counted, spread};
use crate::report::theme::Styles;
use crate::report::{Results, Row};

pub fn section(results: &Results) -> Section {
    let figures = [
        figure(results, "ece", "ECE by method", true),
        figure(results, "nll", "NLL by method", false),
    ];
    let blocks: Vec<_> = figures.into_iter().flatten().map(Block::Figure).collect();
    Section {
        id: "scores",
        title: "Calibration error and NLL by method",
        blocks: match blocks.is_empty() {
            true => vec![Block::missing("No method has an ECE or NLL yet.")],
            false => blocks,
        },
    }
}

fn figure(results: &Results, name: &str, title: &str, zero: bool) -> Option<Figure> {
    let measure = measure(name)?;
    let rows: Vec<&Row> = results
        .rows
        .iter()
        .filter(|row| row.scores.contains_key(name))
        .collect();
    let mut images: Vec<usize> = rows.iter().map(|row| row.test_images).collect();
    images.sort_unstable();
    images.dedup();
    images.reverse();
    if rows.is_empty() {
        return None;
    }
    let panels = images.iter().map(|&images| {
        let on: Vec<_> = rows
            .iter()
            .filter(|row| row.test_images == images)
            .copied()
            .collect();
        panel(measure, &on, zero)
    });
    let header = ["row", "test_images", "seeds", "mean", "sd", "low", "high"];
    let mut numbers = Numbers::new(&header);
    for row in &rows {
        let score = &row.scores[name];
        let end = |end: Option<f64>| end.map_or(String::new(), |end| end.to_string());
        numbers.rows.push(vec![
            row.name.clone(),
            row.test_images.to_string(),
            row.seeds.len().to_string(),
            score.mean.to_string(),
            score.sd.to_string(),
            end(score.interval.map(|interval| interval.low)),
            end(score.interval.map(|interval| interval.high)),
        ]);
    }
    let what = match name {
        "ece" => "Expected calibration error, 15 bins of equal width",
        _ => "Negative log-likelihood, nats an image",
    };
    Some(Figure {
        name: format!("{name}-by-method"),
        title: title.into(),
        caption: format!(
            "{what} (lower is better), on {}. Large marks: mean over seeds; lines: its 95 % bootstrap \
             interval over test images; small dots: single seeds. Overlapping intervals do not mean that a \
             difference is undecided: the methods saw the same images, and the summary's paired intervals \
             say more.",
            on_what(rows.iter().copied())
        ),
        panels: panels.collect(),
        columns: 3,
        legend: Vec::new(),
        numbers,
    })
}

fn panel(measure: &Measure, rows: &[&Row], zero: bool) -> Panel {
    let mut styles = Styles::default();
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            let score = &row.scores[measure.name];
            Dot {
                title: row.title.clone(),
                style: styles.next(&row.family),
                value: score.mean,
                text: spread(score, measure.digits),
                interval: score.interval.map(|interval| (interval.low, interval.high)),
                seeds: score.by_seed.clone(),
            }
        })
        .collect();
    let title = counted(rows[0].test_images, "test image");
    dots(&title, measure.title, &list, zero)
}
