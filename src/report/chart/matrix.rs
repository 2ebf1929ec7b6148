//! A square table of classes by classes: shades, numbers where they fit, and names on both sides.

use std::fmt::Write as _;

use super::Panel;
use super::text::{escape, fitted, width};

/// Above the names of the columns.
const TITLE: f64 = 26.0;
/// At most, for names.
const NAMES: f64 = 112.0;
/// Of names and numbers, at most.
const TEXT: f64 = 10.0;

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Shaded {
    /// From 0 to 1, of the colour.
    pub shade: f64,
    pub colour: &'static str,
    /// Inside it, where it fits.
    pub text: String,
    /// What it is, for those who point at it; nothing for a cell without content.
    pub hint: String,
}

/// `cells` are `[names][names]`; `axes` says what rows and columns are.
pub fn matrix(title: &str, axes: &str, names: &[String], cells: &[Vec<Shaded>]) -> Panel {
    let cell = side(names.len());
    let size = TEXT.min(cell - 1.0);
    let longest = names.iter().map(|name| width(name, size));
    let names_room = longest.fold(0.0, f64::max).min(NAMES) + 6.0;
    let (left, top) = (names_room, TITLE + names_room);
    let across = cell * names.len() as f64;
    let text = format!("font-size:{size:.0}px");
    let mut body = format!(
        "<text class=\"title\" x=\"2\" y=\"14\">{}</text>",
        escape(title)
    );
    for (index, name) in names.iter().enumerate() {
        let name = escape(&fitted(name, size, NAMES));
        let middle = cell * (index as f64 + 0.5) + 0.35 * size;
        let (x, y) = (left + middle, top + middle);
        let _ = write!(
            body,
            "<text class=\"tick end\" style=\"{text}\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>\
             <text class=\"tick\" style=\"{text}\" transform=\"translate({x:.1} {:.1}) rotate(-90)\">{name}</text>",
            left - 5.0,
            top - 5.0
        );
    }
    let ground = |x: f64, y: f64, side: f64| {
        format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"")
    };
    for (row, cells) in cells.iter().enumerate() {
        for (column, shaded) in cells.iter().enumerate() {
            let (x, y) = (left + cell * column as f64, top + cell * row as f64);
            let place = ground(x, y, cell - 1.0);
            let _ = write!(body, "<rect class=\"empty\" {place}/>");
            if shaded.hint.is_empty() {
                continue;
            }
            let _ = write!(
                body,
                "<rect class=\"cell c-{}\" {place} fill-opacity=\"{:.3}\"><title>{}</title></rect>",
                shaded.colour,
                shaded.shade.clamp(0.0, 1.0),
                escape(&shaded.hint)
            );
            if width(&shaded.text, size) > cell - 2.0 {
                continue;
            }
            let class = match shaded.shade > 0.55 {
                true => "middle inverse",
                false => "middle",
            };
            let _ = write!(
                body,
                "<text class=\"{class}\" style=\"{text};pointer-events:none\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + (cell - 1.0) / 2.0,
                y + (cell - 1.0) / 2.0 + 0.35 * size,
                escape(&shaded.text)
            );
        }
    }
    let full = left + across.max(width(axes, 11.0)) + 4.0;
    let _ = write!(
        body,
        "<text class=\"tick\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
        top + across + 16.0,
        escape(axes)
    );
    Panel {
        title: title.into(),
        description: format!("{0} by {0} classes: {axes}", names.len()),
        width: full.max(width(title, 14.5) + 4.0),
        height: top + across + 22.0,
        body,
    }
}

/// Pixels of a cell, of which many must still fit a screen.
fn side(classes: usize) -> f64 {
    match classes {
        0..=12 => 30.0,
        13..=20 => 24.0,
        21..=40 => 15.0,
        _ => 10.0,
    }
}
