//! One line per method: a dot, its interval, its seeds. Names stand above the lines, so that they fit a
//! narrow screen.

use super::marks::marker;
use super::text::{escape, fitted, width};
use super::{Axis, Panel};
use crate::report::theme::Style;

const WIDTH: f64 = 400.0;
const ROW: f64 = 36.0;
const TOP: f64 = 28.0;

/// A method's number.
pub struct Dot {
    pub title: String,
    pub style: Style,
    pub value: f64,
    pub text: String,
    pub interval: Option<(f64, f64)>,
    pub seeds: Vec<f64>,
}

/// A chart of dots in the order given.
pub fn dots(title: &str, label: &str, dots: &[Dot], zero: bool) -> Panel {
    let values = dots.iter().flat_map(|dot| {
        let ends = dot.interval.map(|(low, high)| [low, high]);
        let ends = ends.into_iter().flatten();
        ends.chain(dot.seeds.iter().copied()).chain([dot.value])
    });
    let axis = Axis::around(label, values.chain(zero.then_some(0.0)), 5);
    let (left, right) = (10.0, WIDTH - 14.0);
    let bottom = TOP + ROW * dots.len() as f64 + 4.0;
    let x_of = |value: f64| left + axis.share_of(value) * (right - left);

    let mut body = format!(
        "<text class=\"title\" x=\"2\" y=\"14\">{}</text>",
        escape(title)
    );
    for (value, text) in &axis.ticks {
        let x = x_of(*value);
        body += &format!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom:.1}\"/>");
        body += &format!(
            "<text class=\"tick middle\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
            bottom + 15.0
        );
    }
    body += &format!(
        "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        WIDTH / 2.0,
        bottom + 31.0,
        escape(label)
    );
    for (index, dot) in dots.iter().enumerate() {
        let name = TOP + ROW * index as f64 + 13.0;
        let y = name + 13.0;
        let room = WIDTH - 8.0 - width(&dot.text, 11.0) - 12.0;
        body += &format!(
            "<text class=\"halo\" x=\"2\" y=\"{name:.1}\">{}</text><text class=\"tick halo end\" x=\"{:.1}\" y=\"{name:.1}\">{}</text>",
            escape(&fitted(&dot.title, 11.0, room)),
            WIDTH - 2.0,
            escape(&dot.text)
        );
        let colour = dot.style.colour;
        for seed in dot.seeds.iter().filter(|seed| seed.is_finite()) {
            body += &format!(
                "<circle class=\"seed c-{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.8\"/>",
                x_of(*seed),
                y + 6.5
            );
        }
        if let Some((low, high)) = dot.interval {
            body += &format!(
                "<path class=\"whisker c-{colour}\" d=\"M{low:.1} {y:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\"/>",
                y - 4.0,
                y - 4.0,
                low = x_of(low),
                high = x_of(high)
            );
        }
        if dot.value.is_finite() {
            body += &marker(&dot.style, x_of(dot.value), y, 4.2);
        }
    }
    Panel {
        title: title.into(),
        description: dots
            .iter()
            .map(|dot| format!("{} {}", dot.title, dot.text))
            .collect::<Vec<_>>()
            .join("; "),
        width: WIDTH,
        height: bottom + 36.0,
        body,
    }
}
