//! A table of shares as shades, with numbers where they fit.

use super::Panel;
use super::plot::TITLE;
use super::text::{escape, fitted, width};
use crate::report::number::decimal;

const WIDTH: f64 = 360.0;
const TOP: f64 = 26.0;
/// At most, for the names of rows.
const LABELS: f64 = 132.0;
const CELL: f64 = 20.0;

/// Rows by columns of values from 0 to `full`; the family's colour, opaque where full.
pub fn heat_map(
    title: &str,
    label: &str,
    rows: &[String],
    columns: &[String],
    values: &[Vec<f64>],
    full: f64,
    colour: &str,
) -> Panel {
    let longest = rows.iter().map(|row| width(row, 10.0)).fold(0.0, f64::max);
    let left = longest.min(LABELS) + 6.0;
    let across = (WIDTH - left - 2.0) / columns.len().max(1) as f64;
    let bottom = TOP + CELL * rows.len() as f64;
    let mut body = format!(
        "<text class=\"title\" x=\"2\" y=\"14\">{}</text>",
        escape(&fitted(title, TITLE, WIDTH - 4.0))
    );
    for (index, (row, values)) in rows.iter().zip(values).enumerate() {
        let y = TOP + CELL * index as f64;
        body += &format!(
            "<text class=\"tick small end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left - 5.0,
            y + 13.5,
            escape(&fitted(row, 10.0, LABELS))
        );
        for (column, value) in values.iter().enumerate() {
            let x = left + across * column as f64;
            let share = (value / full).clamp(0.0, 1.0);
            let shade = if value.is_finite() { share } else { 0.0 };
            body += &format!(
                "<rect class=\"empty\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\"/>\
                 <rect class=\"cell c-{colour}\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\" fill-opacity=\"{shade:.3}\"/>",
                across - 1.0,
                CELL - 1.0,
                across - 1.0,
                CELL - 1.0
            );
            if across >= 22.0 {
                let whole = (value - value.round()).abs() < 0.05;
                let class = if shade > 0.55 {
                    "small middle inverse"
                } else {
                    "small middle"
                };
                body += &format!(
                    "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    x + (across - 1.0) / 2.0,
                    y + 13.5,
                    decimal(*value, usize::from(!whole))
                );
            }
        }
    }
    let mut free_from = 0.0;
    for (index, column) in columns.iter().enumerate() {
        let x = left + across * (index as f64 + 0.5);
        let half = width(column, 10.0) / 2.0;
        if x - half >= free_from {
            body += &format!(
                "<text class=\"tick small middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 13.0,
                escape(column)
            );
            free_from = x + half + 6.0;
        }
    }
    body += &format!(
        "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        (left + WIDTH) / 2.0,
        bottom + 28.0,
        escape(label)
    );
    Panel {
        title: title.into(),
        description: format!("{} rows by {label}", rows.len()),
        width: WIDTH,
        height: bottom + 34.0,
        body,
    }
}
