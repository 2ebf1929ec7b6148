//! A reliability diagram: accuracy by confidence, and how many images lie in each bin.

use super::{Axis, Panel, Plot, Size};
use crate::metrics::ReliabilityBin;
use crate::report::number::count;
use crate::report::theme::Style;

/// Predictions below which a bin's accuracy says little: its standard error is up to .07.
pub const NEARLY_EMPTY: usize = 50;

/// Bars of accuracy over bins of equal width, the diagonal, and below them the share of images.
pub fn reliability(title: &str, bins: &[ReliabilityBin], style: &Style) -> Panel {
    let images: usize = bins.iter().map(|bin| bin.count).sum();
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let mut y = Axis::around("accuracy", [0.0, 1.0], 5);
    // The strip of counts below zero has no scale of its own: its longest bar has its number.
    y.low = -0.34;
    let size = Size {
        width: 196.0,
        height: 230.0,
    };
    let mut plot = Plot::new(title, size, Axis::share("confidence"), y);
    let width = 1.0 / bins.len() as f64;
    for (index, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        let x = (width * (index as f64 + 0.06), width * (index as f64 + 0.94));
        let class = match bin.count < NEARLY_EMPTY {
            true => {
                let middle = ((x.0 + x.1) / 2.0, bin.accuracy);
                plot.upright(middle, "tick small halo", &count(bin.count));
                "bar nearly-empty"
            }
            false => "bar",
        };
        plot.rectangle(
            x,
            (0.0, bin.accuracy),
            &format!("{class} c-{}", style.colour),
        );
        let high = 0.22 * bin.count as f64 / most as f64;
        plot.rectangle(x, (-0.32, -0.32 + high), "faint");
        if bin.count == most {
            let (end, class) = match x.1 > 0.5 {
                true => (x.1, "tick small end"),
                false => (x.0, "tick small"),
            };
            plot.note((end, -0.32 + high), (0.0, -2.0), class, &count(most));
        }
    }
    plot.rule(&[(0.0, 0.0), (1.0, 1.0)]);
    let mut panel = plot.finish();
    panel.description = format!("accuracy by confidence of {} predictions", count(images));
    panel
}
