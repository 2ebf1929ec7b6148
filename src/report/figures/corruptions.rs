//! Scores on corrupted images by severity.

use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::number::decimal;
use crate::report::theme::{Style, Styles};
use crate::report::{CorruptionCurve, Results};

pub fn section(results: &Results) -> Section {
    let blocks = match results.corruptions.is_empty() {
        true => vec![Block::missing("No corrupted images were scored.")],
        false => vec![
            Block::Figure(figure(results)),
            Block::folded("By corruption", vec![Block::Table(table(results))]),
        ],
    };
    Section {
        id: "corruptions",
        title: "Corrupted images",
        blocks,
    }
}

type Pick = fn(&CorruptionCurve) -> &Vec<f64>;

const CURVES: [(&str, &str, Pick); 3] = [
    ("nll", "NLL", |curve| &curve.nll),
    ("accuracy", "Accuracy", |curve| &curve.accuracy),
    ("ece", "ECE", |curve| &curve.ece),
];

/// Rows in the order of the file: name, title, family.
fn rows(results: &Results) -> Vec<(&str, &str, &str)> {
    let mut rows = Vec::new();
    for curve in &results.corruptions {
        let row = (
            curve.row.as_str(),
            curve.title.as_str(),
            curve.family.as_str(),
        );
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

fn kinds(results: &Results) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for curve in &results.corruptions {
        if !kinds.contains(&curve.corruption.as_str()) {
            kinds.push(&curve.corruption);
        }
    }
    kinds
}

/// Mean over the corruptions that the row has, by severity.
fn mean(results: &Results, row: &str, pick: Pick) -> Vec<f64> {
    let curves = results.corruptions.iter().filter(|curve| curve.row == row);
    let curves: Vec<_> = curves.map(pick).collect();
    let severities = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    (0..severities)
        .map(|severity| {
            curves.iter().map(|curve| curve[severity]).sum::<f64>() / curves.len() as f64
        })
        .collect()
}

fn figure(results: &Results) -> Figure {
    let rows = rows(results);
    let mut styles = Styles::default();
    let styles: Vec<_> = rows.iter().map(|row| styles.next(row.2)).collect();
    let panels = CURVES.map(|(_, title, pick)| {
        let curves: Vec<_> = rows.iter().map(|row| mean(results, row.0, pick)).collect();
        panel(title, &curves, &styles)
    });
    let mut numbers = Numbers::new(&["row", "corruption", "severity", "accuracy", "nll", "ece"]);
    for curve in &results.corruptions {
        for severity in 0..curve.nll.len() {
            let at = |values: &[f64]| values.get(severity).map_or(String::new(), f64::to_string);
            numbers.rows.push(vec![
                curve.row.clone(),
                curve.corruption.clone(),
                (severity + 1).to_string(),
                at(&curve.accuracy),
                at(&curve.nll),
                at(&curve.ece),
            ]);
        }
    }
    let images: Vec<_> = results
        .corruptions
        .iter()
        .map(|curve| curve.test_images)
        .collect();
    Figure {
        name: "corruptions".into(),
        title: "Scores by severity of corruption".into(),
        caption: format!(
            "NLL and ECE (lower is better) and accuracy (higher is better) on {} each, mean over {} corruptions \
             and over seeds, by severity.",
            several(&images, "corrupted test image"),
            kinds(results).len()
        ),
        panels: panels.to_vec(),
        columns: 3,
        legend: styles
            .into_iter()
            .zip(rows.iter().map(|row| row.1.to_owned()))
            .collect(),
        numbers,
    }
}

fn panel(title: &str, curves: &[Vec<f64>], styles: &[Style]) -> Panel {
    let severities = curves.iter().map(Vec::len).max().unwrap_or(0);
    let x = Axis::whole("severity", 1, severities);
    let y = Axis::around(title, curves.iter().flatten().copied(), 5);
    let mut plot = Plot::new(title, Size::USUAL, x, y);
    for (curve, style) in curves.iter().zip(styles) {
        let line: Vec<_> = curve
            .iter()
            .enumerate()
            .map(|(index, value)| (index as f64 + 1.0, *value))
            .collect();
        plot.marked_line(&line, style);
    }
    plot.finish()
}

fn table(results: &Results) -> Table {
    let rows = rows(results);
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let cell = |corruption: &str, row: &str| {
        let mut all = results.corruptions.iter();
        let found = all.find(|curve| curve.corruption == corruption && curve.row == row);
        found.map_or(Cell::new("–"), |curve| {
            Cell::with(
                decimal(average(&curve.nll), 3),
                format!("accuracy {}", decimal(average(&curve.accuracy), 3)),
            )
        })
    };
    let mut header = vec!["corruption".to_owned()];
    header.extend(rows.iter().map(|row| row.1.to_owned()));
    Table {
        words: false,
        caption: "By corruption, mean over severities and seeds: NLL (lower is better) and, below it, accuracy \
                  (higher is better)."
            .into(),
        header,
        rows: kinds(results)
            .into_iter()
            .map(|kind| {
                let cells = rows.iter().map(|row| cell(kind, row.0));
                std::iter::once(Cell::new(kind.replace(['_', '-'], " ")))
                    .chain(cells)
                    .collect()
            })
            .collect(),
    }
}
