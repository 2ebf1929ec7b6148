//! Risk against coverage.

use super::headline_first;
use crate::report::block::Section;
use crate::report::chart::{Axis, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::on_what;
use crate::report::number::counted;
use crate::report::theme::Styles;
use crate::report::{Results, Row};

pub fn section(results: &Results) -> Section {
    Section {
        id: "selective",
        title: "Risk and coverage",
        blocks: headline_first(
            &results.rows.iter().collect::<Vec<_>>(),
            figure,
            "No risk-coverage curves: no method has been scored yet.",
        ),
    }
}

fn figure(suffix: &str, rows: &[&Row]) -> Option<Figure> {
    let has_curve = |row: &&&Row| !row.risk_coverage.is_empty();
    let rows: Vec<&Row> = rows.iter().filter(has_curve).copied().collect();
    let mut images: Vec<usize> = rows.iter().map(|row| row.test_images).collect();
    images.sort_unstable();
    images.dedup();
    images.reverse();
    if rows.is_empty() {
        return None;
    }
    let mut given = Styles::default();
    let styles: Vec<_> = rows.iter().map(|row| given.next(&row.family)).collect();
    let panel = |images: usize| {
        let on = || {
            let all = rows.iter().zip(&styles);
            all.filter(move |(row, _)| row.test_images == images)
        };
        let risks = on().flat_map(|(row, _)| row.risk_coverage.iter().map(|point| point.risk));
        let y = Axis::around("risk", risks.chain([0.0]), 5);
        let title = format!("Risk, {}", counted(images, "test image"));
        let mut plot = Plot::new(&title, Size::USUAL, Axis::share("coverage"), y);
        for (row, style) in on() {
            let line: Vec<_> = row
                .risk_coverage
                .iter()
                .map(|point| (point.coverage, point.risk))
                .collect();
            plot.marked_line(&line, style);
        }
        plot.finish()
    };
    let panels = images.into_iter().map(panel).collect();
    let mut numbers = Numbers::new(&["row", "coverage", "risk"]);
    for row in &rows {
        for point in &row.risk_coverage {
            numbers.rows.push(vec![
                row.name.clone(),
                point.coverage.to_string(),
                point.risk.to_string(),
            ]);
        }
    }
    Some(Figure {
        name: format!("risk-coverage{suffix}"),
        title: "Errors among the answers given".into(),
        caption: format!(
            "If the model answers only the share of images that it is surest of (coverage), how many of those \
             answers are wrong (risk; lower is better), on {}, mean over seeds. AURC in the table is the area \
             under such a curve.",
            on_what(rows.iter().copied())
        ),
        panels,
        columns: 2,
        legend: styles
            .iter()
            .cloned()
            .zip(rows.iter().map(|row| row.title.clone()))
            .collect(),
        numbers,
    })
}
