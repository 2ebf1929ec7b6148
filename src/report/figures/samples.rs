//! Scores over the number of gate samples.

use super::one;
use crate::report::block::Section;
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::theme::{Style, Styles};
use crate::report::{Results, SampleCurve, SamplePoint};

pub fn section(results: &Results) -> Section {
    Section {
        id: "samples",
        title: "Number of samples",
        blocks: one(
            figure(results),
            "Numbers of gate samples were not compared.",
        ),
    }
}

/// Mean, and the standard deviation over seeds where there is one.
type Pick = fn(&SamplePoint) -> Option<(f64, f64)>;

const CURVES: [(&str, &str, Pick); 4] = [
    ("nll", "NLL", |point| Some((point.nll.mean, point.nll.sd))),
    ("accuracy", "Accuracy", |point| {
        Some((point.accuracy.mean, point.accuracy.sd))
    }),
    ("ece", "ECE", |point| Some((point.ece.mean, point.ece.sd))),
    ("passes", "Time, in single passes", |point| {
        Some((point.passes?, 0.0))
    }),
];

/// Where the mean weights stand on the axis of samples: below one sample.
const MEAN_WEIGHTS: f64 = 0.5;

fn figure(results: &Results) -> Option<Figure> {
    let filled = |curve: &&SampleCurve| !curve.points.is_empty();
    let curves: Vec<&SampleCurve> = results.sample_counts.iter().filter(filled).collect();
    if curves.is_empty() {
        return None;
    }
    let mut styles = Styles::default();
    let styles: Vec<_> = curves
        .iter()
        .map(|curve| styles.next(&curve.family))
        .collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let panels = CURVES
        .into_iter()
        .filter(|(_, _, pick)| points().any(|point| pick(point).is_some()))
        .map(|(_, title, pick)| panel(title, pick, &curves, &styles))
        .collect();
    let mut numbers = Numbers::new(&["curve", "samples", "measure", "mean", "sd"]);
    for curve in &curves {
        for point in &curve.points {
            for (name, _, pick) in CURVES {
                if let Some((mean, sd)) = pick(point) {
                    numbers.rows.push(vec![
                        curve.title.clone(),
                        point.samples.to_string(),
                        name.into(),
                        mean.to_string(),
                        sd.to_string(),
                    ]);
                }
            }
        }
    }
    let images: Vec<_> = curves.iter().map(|curve| curve.test_images).collect();
    let seeds: Vec<_> = points()
        .map(|point| point.nll.by_seed.len().max(1))
        .collect();
    Some(Figure {
        name: "samples".into(),
        title: "Scores by the number of gate samples".into(),
        caption: format!(
            "NLL and ECE (lower is better) and accuracy (higher is better) of the averaged probabilities by the \
             number of gate samples, on {}; means and, as bands, one standard deviation over {}. The point at “mean” is the \
             one pass with the mean weights. Time is in single passes with the mean weights.",
            several(&images, "test image"),
            several(&seeds, "seed")
        ),
        panels,
        columns: 2,
        legend: styles
            .into_iter()
            .zip(curves.iter().map(|curve| curve.title.clone()))
            .collect(),
        numbers,
    })
}

fn place(point: &SamplePoint) -> f64 {
    match point.samples {
        0 => MEAN_WEIGHTS,
        samples => samples as f64,
    }
}

fn panel(title: &str, pick: Pick, curves: &[&SampleCurve], styles: &[Style]) -> Panel {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let ends = all()
        .filter_map(pick)
        .flat_map(|(mean, sd)| [mean - sd, mean + sd]);
    let mut ticks: Vec<_> = all()
        .map(|point| match point.samples {
            0 => (MEAN_WEIGHTS, "mean".to_owned()),
            samples => (samples as f64, samples.to_string()),
        })
        .collect();
    ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
    ticks.dedup();
    let x = Axis::log2("samples", ticks).padded(0.03);
    let mut plot = Plot::new(title, Size::USUAL, x, Axis::around(title, ends, 5));
    for (curve, style) in curves.iter().zip(styles) {
        let mut points: Vec<_> = curve
            .points
            .iter()
            .filter_map(|point| Some((point, pick(point)?)))
            .map(|(point, (mean, sd))| (place(point), mean, sd))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sampled = points.partition_point(|point| point.0 < 1.0);
        let band: Vec<_> = points[sampled..]
            .iter()
            .map(|&(x, mean, sd)| (x, mean - sd, mean + sd))
            .collect();
        let line: Vec<_> = points[sampled..]
            .iter()
            .map(|&(x, mean, _)| (x, mean))
            .collect();
        plot.band(&band, style);
        plot.marked_line(&line, style);
        for &(x, mean, sd) in &points[..sampled] {
            plot.whisker(x, mean - sd, mean + sd, style);
            plot.marker(x, mean, style);
        }
    }
    plot.finish()
}
