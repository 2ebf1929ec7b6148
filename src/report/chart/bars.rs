//! Two distributions over the same bins.

use super::{Axis, Panel, Plot, Size};
use crate::report::theme::Style;

/// Shares of two groups by bin: the first as grey bars, the second as a stepped line over them.
pub fn histogram(
    title: &str,
    label: &str,
    edges: &[f64],
    bars: &[f64],
    steps: &[f64],
    style: &Style,
) -> Panel {
    let values = bars.iter().chain(steps).copied().chain([0.0]);
    let mut x = Axis::around(label, edges.iter().copied(), 4);
    (x.low, x.high) = (edges[0], edges[edges.len() - 1]);
    x.ticks
        .retain(|(value, _)| *value >= x.low - 1e-9 && *value <= x.high + 1e-9);
    let mut plot = Plot::new(
        title,
        Size::SMALL,
        x,
        Axis::around("share of images", values, 4),
    );
    for (pair, share) in edges.windows(2).zip(bars) {
        plot.rectangle((pair[0], pair[1]), (0.0, *share), "faint");
    }
    let mut outline = vec![(edges[0], 0.0)];
    for (pair, share) in edges.windows(2).zip(steps) {
        outline.extend([(pair[0], *share), (pair[1], *share)]);
    }
    outline.push((edges[edges.len() - 1], 0.0));
    let area: Vec<_> = outline.iter().map(|&(x, y)| (x, 0.0, y)).collect();
    plot.band(&area, style);
    plot.line(&outline, style);
    plot.finish()
}
