//! A plane with two axes, and what is drawn on it.

use std::fmt::Write as _;

use super::marks::marker;
use super::names::{Mark, beside};
use super::text::{escape, lines, width};
use super::{Axis, Panel};
use crate::report::theme::Style;

const TICK: f64 = 11.0;
const NAME: f64 = 10.0;
/// As wide as bold 13 is.
pub const TITLE: f64 = 14.5;

/// Of a whole panel.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

impl Size {
    pub const USUAL: Self = Self {
        width: 360.0,
        height: 240.0,
    };
    pub const SMALL: Self = Self {
        width: 196.0,
        height: 160.0,
    };
}

/// A point with a name, which keeps `gap` pixels away from its middle.
pub struct NamedPoint<'a> {
    pub at: (f64, f64),
    pub gap: f64,
    pub name: &'a str,
}

/// A chart in the making.
pub struct Plot {
    panel: Panel,
    x: Axis,
    y: Axis,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Plot {
    /// Axes and grid under a title.
    pub fn new(title: &str, size: Size, x: Axis, y: Axis) -> Self {
        let title_lines = lines(title, TITLE, size.width - 4.0).len() as f64;
        let more = 16.0 * (title_lines - 1.0);
        let ticks = y.ticks.iter().map(|(_, text)| width(text, TICK));
        let mut plot = Self {
            left: ticks.fold(16.0, f64::max) + 10.0,
            right: size.width - 14.0,
            top: 30.0 + more,
            bottom: size.height + more - 38.0,
            panel: Panel {
                title: title.into(),
                description: format!("{} by {}", y.label, x.label),
                width: size.width,
                height: size.height + more,
                body: String::new(),
            },
            x,
            y,
        };
        plot.frame();
        plot
    }

    fn frame(&mut self) {
        let (left, right, bottom) = (self.left, self.right, self.bottom);
        let title = lines(&self.panel.title, TITLE, self.panel.width - 4.0);
        for (index, line) in title.iter().enumerate() {
            self.text(2.0, 14.0 + 16.0 * index as f64, "title", line);
        }
        for (value, text) in self.y.ticks.clone() {
            let y = self.y_of(value);
            self.add(&format!(
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>"
            ));
            self.text(left - 6.0, y + 3.8, "tick end", &text);
        }
        self.add(&format!(
            "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>"
        ));
        let mut free_from = f64::NEG_INFINITY;
        for (value, text) in self.x.ticks.clone() {
            let x = self.x_of(value);
            self.add(&format!(
                "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v4\"/>"
            ));
            let half = width(&text, TICK) / 2.0;
            let middle = x.min(self.panel.width - half);
            if middle - half >= free_from {
                self.text(middle, bottom + 16.0, "tick middle", &text);
                free_from = middle + half + 3.0;
            }
        }
        let label = self.x.label.clone();
        self.text((left + right) / 2.0, bottom + 32.0, "tick middle", &label);
    }

    fn add(&mut self, svg: &str) {
        self.panel.body.push_str(svg);
    }

    pub fn x_of(&self, value: f64) -> f64 {
        self.left + self.x.share_of(value) * (self.right - self.left)
    }

    pub fn y_of(&self, value: f64) -> f64 {
        self.bottom - self.y.share_of(value) * (self.bottom - self.top)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut command = 'M';
        for &(x, y) in points {
            // A gap, not a line to nowhere.
            if !(x.is_finite() && y.is_finite()) {
                command = 'M';
                continue;
            }
            let _ = write!(path, "{command}{:.1} {:.1}", self.x_of(x), self.y_of(y));
            command = 'L';
        }
        path
    }

    /// A line through points in the axes' units.
    pub fn line(&mut self, points: &[(f64, f64)], style: &Style) {
        let path = self.path(points);
        self.add(&format!(
            "<path class=\"line {}\" d=\"{path}\"/>",
            style.class()
        ));
    }

    /// A line with markers, at most about a dozen.
    pub fn marked_line(&mut self, points: &[(f64, f64)], style: &Style) {
        self.line(points, style);
        let every = points.len().div_ceil(12).max(1);
        // Counted from the end: the last point is what the eye looks for.
        for &(x, y) in points.iter().rev().step_by(every) {
            self.marker(x, y, style);
        }
    }

    pub fn marker(&mut self, x: f64, y: f64, style: &Style) {
        if x.is_finite() && y.is_finite() {
            let svg = marker(style, self.x_of(x), self.y_of(y), 3.4);
            self.add(&svg);
        }
    }

    /// Between (x, low, high).
    pub fn band(&mut self, edges: &[(f64, f64, f64)], style: &Style) {
        let finite = |edge: &&(f64, f64, f64)| edge.1.is_finite() && edge.2.is_finite();
        let edges: Vec<_> = edges.iter().filter(finite).collect();
        let upper = edges.iter().map(|edge| (edge.0, edge.2));
        let lower = edges.iter().rev().map(|edge| (edge.0, edge.1));
        let outline: Vec<_> = upper.chain(lower).collect();
        if outline.is_empty() {
            return;
        }
        let path = self.path(&outline);
        self.add(&format!(
            "<path class=\"band c-{}\" d=\"{path}Z\"/>",
            style.colour
        ));
    }

    /// A vertical line from low to high.
    pub fn whisker(&mut self, x: f64, low: f64, high: f64, style: &Style) {
        let path = self.path(&[(x, low), (x, high)]);
        self.add(&format!(
            "<path class=\"whisker c-{}\" d=\"{path}\"/>",
            style.colour
        ));
    }

    /// A rectangle over x0..x1 and y0..y1.
    pub fn rectangle(&mut self, x: (f64, f64), y: (f64, f64), class: &str) {
        let (left, right) = (self.x_of(x.0), self.x_of(x.1));
        let (top, bottom) = (self.y_of(y.1), self.y_of(y.0));
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (right - left).max(0.0),
            (bottom - top).max(0.0)
        ));
    }

    /// The zero line of a chart whose x begins at 0.
    pub fn zero(&mut self, end: f64) {
        let path = self.path(&[(0.0, 0.0), (end, 0.0)]);
        self.add(&format!("<path class=\"axis\" d=\"{path}\"/>"));
    }

    /// A ring around a marker.
    pub fn ring(&mut self, at: (f64, f64)) {
        let (x, y) = (self.x_of(at.0), self.y_of(at.1));
        self.add(&format!(
            "<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>"
        ));
    }

    /// A dashed line from corner to corner of the given points, without a style of a family.
    pub fn rule(&mut self, points: &[(f64, f64)]) {
        let path = self.path(points);
        self.add(&format!("<path class=\"rule\" d=\"{path}\"/>"));
    }

    /// Text near a point in the axes' units, moved by `offset` pixels.
    pub fn note(&mut self, at: (f64, f64), offset: (f64, f64), class: &str, text: &str) {
        let (x, y) = (self.x_of(at.0) + offset.0, self.y_of(at.1) + offset.1);
        self.text(x, y, class, text);
    }

    /// Text that runs upwards from a point in the axes' units.
    pub fn upright(&mut self, at: (f64, f64), class: &str, text: &str) {
        let (x, y) = (self.x_of(at.0) + 3.5, self.y_of(at.1) - 3.0);
        let text = escape(text);
        self.add(&format!(
            "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{text}</text>"
        ));
    }

    /// Names points, each where there is room.
    pub fn name_points(&mut self, points: &[NamedPoint]) {
        let marks: Vec<Mark> = points
            .iter()
            .map(|point| Mark {
                x: self.x_of(point.at.0),
                y: self.y_of(point.at.1),
                gap: point.gap,
                name_width: width(point.name, NAME),
            })
            .collect();
        let places = beside(&marks, NAME, self.panel.width);
        for (point, (x, y)) in points.iter().zip(places) {
            self.text(x, y + 0.35 * NAME, "small middle halo", point.name);
        }
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.add(&format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    pub fn finish(self) -> Panel {
        self.panel
    }
}
