//! Markers: one shape per family; filled, hollow, dotted or ringed by variant.

use std::fmt::Write as _;

use crate::report::theme::Style;

/// A marker around a point, about `2 r` wide.
pub fn marker(style: &Style, x: f64, y: f64, r: f64) -> String {
    let (fill, dot) = match style.variant % 4 {
        0 => ("filled", None),
        1 => ("hollow", None),
        2 => ("hollow", Some("seen")),
        _ => ("filled", Some("ground")),
    };
    let dot = dot.map_or(String::new(), |class| {
        let r = r * 0.45;
        let colour = style.colour;
        format!("<circle class=\"{class} c-{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\"/>")
    });
    let class = format!("{fill} c-{}", style.colour);
    let corners = |corners: &[(f64, f64)]| {
        let mut path = String::new();
        for (index, (dx, dy)) in corners.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x + dx * r, y + dy * r);
        }
        format!("<path class=\"{class}\" d=\"{path}Z\"/>")
    };
    let shape = match style.shape % 7 {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"),
        1 => corners(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => corners(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
        3 => corners(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => corners(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)]),
        5 => corners(&[(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)]),
        _ => corners(&[(-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)]),
    };
    shape + &dot
}

/// A legend's sample, 34 by 14, from its top left corner.
pub fn swatch(style: &Style, x: f64, y: f64) -> String {
    let middle = y + 7.0;
    format!(
        "<path class=\"line {}\" d=\"M{x:.1} {middle:.1}h34\"/>{}",
        style.class(),
        marker(style, x + 17.0, middle, 4.0)
    )
}
