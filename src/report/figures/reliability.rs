//! Reliability diagrams, a small one for each method.

use super::headline_first;
use crate::report::block::Section;
use crate::report::chart::{NEARLY_EMPTY, reliability};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::on_what;
use crate::report::theme::Styles;
use crate::report::{Results, Row};

pub fn section(results: &Results) -> Section {
    Section {
        id: "reliability",
        title: "Reliability",
        blocks: headline_first(
            &results.rows.iter().collect::<Vec<_>>(),
            |suffix, rows| {
                let on = format!("{}, all seeds together", on_what(rows.iter().copied()));
                figure(suffix, rows, &on)
            },
            "No reliability bins: no method has been scored yet.",
        ),
    }
}

/// Of the rows that have bins; `on` what, and how rows of several seeds are put together.
pub fn figure(suffix: &str, rows: &[&Row], on: &str) -> Option<Figure> {
    let filled = |row: &&&Row| row.reliability.iter().any(|bin| bin.count > 0);
    let rows: Vec<&Row> = rows.iter().filter(filled).copied().collect();
    if rows.is_empty() {
        return None;
    }
    let mut numbers = Numbers::new(&["row", "bin", "count", "confidence", "accuracy"]);
    for row in &rows {
        for (index, bin) in row.reliability.iter().enumerate() {
            numbers.rows.push(vec![
                row.name.clone(),
                index.to_string(),
                bin.count.to_string(),
                bin.confidence.to_string(),
                bin.accuracy.to_string(),
            ]);
        }
    }
    let panels = rows.iter().map(|row| {
        let style = Styles::default().next(&row.family);
        reliability(&row.title, &row.reliability, &style)
    });
    Some(Figure {
        name: format!("reliability{suffix}"),
        title: "Accuracy by confidence".into(),
        caption: format!(
            "Share of right answers among those given with a confidence in each of 15 bins, on {on}. Bars on the dashed \
             line are honest; below it the model is too sure, above it not sure enough. Hollow bars are of fewer than {NEARLY_EMPTY} predictions, whose number stands above them. The grey \
             strip below shows how many predictions lie in each bin, with the count of the fullest."
        ),
        panels: panels.collect(),
        columns: 5,
        legend: Vec::new(),
        numbers,
    })
}
