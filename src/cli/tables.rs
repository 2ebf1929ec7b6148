//! Tables that several commands print.

use bayeslora::metrics::{
    Bootstrap, DEFAULT_BINS, Evaluation, Interval, Predictions, ReliabilityBin, brier_each,
    expected_calibration_error, nll_each, reliability_bins, signed_gap,
};
use comfy_table::{CellAlignment, Table, presets};

/// Width in characters of a bar of the reliability diagram.
const BAR: usize = 40;

/// A table in the house's style; the columns `right` hold numbers.
pub fn new(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.iter().copied());
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Every score with its meaning, and the reliability diagram below.
pub fn scores(predictions: &Predictions, scores: &Evaluation) -> String {
    let bins = reliability_bins(
        &predictions.confidence(),
        &predictions.correct(),
        DEFAULT_BINS,
    );
    format!(
        "{}\n\n{}",
        metrics_table(scores, &Intervals::of(predictions)).trim_fmt(),
        reliability_diagram(&bins).trim_fmt()
    )
}

/// A horizontal bar for a share of 0 to 1, `width` characters at 1.
pub fn bar(share: f64, width: usize) -> String {
    "█".repeat((share.clamp(0.0, 1.0) * width as f64).round() as usize)
}

/// 95 % bootstrap intervals of the scores that are cheap to resample.
struct Intervals {
    accuracy: Interval,
    nll: Interval,
    brier: Interval,
    ece: Interval,
    signed_gap: Interval,
}

impl Intervals {
    fn of(predictions: &Predictions) -> Self {
        let bootstrap = Bootstrap::default();
        let (confidence, correct) = (predictions.confidence(), predictions.correct());
        let resampled = |statistic: fn(&[f32], &[bool]) -> f64| {
            bootstrap.interval(predictions.len(), |drawn| {
                let confidence: Vec<f32> = drawn.iter().map(|&i| confidence[i]).collect();
                let correct: Vec<bool> = drawn.iter().map(|&i| correct[i]).collect();
                statistic(&confidence, &correct)
            })
        };
        let hits: Vec<f64> = correct
            .iter()
            .map(|&correct| f64::from(u8::from(correct)))
            .collect();
        Self {
            accuracy: bootstrap.mean(&hits),
            nll: bootstrap.mean(&nll_each(predictions)),
            brier: bootstrap.mean(&brier_each(predictions)),
            ece: resampled(|c, o| expected_calibration_error(c, o, DEFAULT_BINS)),
            signed_gap: resampled(signed_gap),
        }
    }
}

fn metrics_table(scores: &Evaluation, intervals: &Intervals) -> Table {
    let mut table = new(&["metric", "value", "95 % interval", "meaning"], &[1, 2]);
    let mut row = |name: &str, value: f64, interval: Option<&Interval>, meaning: &str| {
        let interval = interval.map_or(String::new(), |i| format!("{:.4} .. {:.4}", i.low, i.high));
        table.add_row([name.into(), format!("{value:.4}"), interval, meaning.into()]);
    };
    row(
        "accuracy",
        scores.accuracy,
        Some(&intervals.accuracy),
        "share of correct answers",
    );
    row(
        "nll",
        scores.nll,
        Some(&intervals.nll),
        "-ln p(label), nats; lower is better",
    );
    row(
        "brier",
        scores.brier,
        Some(&intervals.brier),
        "squared error over classes, 0 to 2",
    );
    row(
        "ece",
        scores.ece,
        Some(&intervals.ece),
        "|confidence - accuracy|; interval is biased up",
    );
    row(
        "adaptive_ece",
        scores.adaptive_ece,
        None,
        "the same, bins of equal mass",
    );
    row(
        "classwise_ece",
        scores.classwise_ece,
        None,
        "the same for each class, averaged",
    );
    row(
        "signed_gap",
        scores.signed_gap,
        Some(&intervals.signed_gap),
        "confidence - accuracy; > 0: over-confident",
    );
    row(
        "aurc",
        scores.aurc,
        None,
        "mean error when abstaining on the least sure",
    );
    row(
        "mean_entropy",
        scores.mean_entropy,
        None,
        "total uncertainty, nats",
    );
    row(
        "mean_mutual_information",
        scores.mean_mutual_information,
        None,
        "disagreement of the samples, nats",
    );
    table
}

/// One line a bin: a bar as long as its accuracy, and a stroke at its confidence.
fn reliability_diagram(bins: &[ReliabilityBin]) -> Table {
    let header = [
        "confidence",
        "count",
        "mean",
        "accuracy",
        "█ accuracy   │ confidence",
    ];
    let mut table = new(&header, &[1, 2, 3]);
    for (b, bin) in bins.iter().enumerate() {
        let edge = |b: usize| b as f64 / bins.len() as f64;
        let range = format!("{:.2} .. {:.2}", edge(b), edge(b + 1));
        if bin.count == 0 {
            table.add_row([&range, "0", "", "", ""]);
        } else {
            table.add_row([
                range,
                bin.count.to_string(),
                format!("{:.3}", bin.confidence),
                format!("{:.3}", bin.accuracy),
                bar_with_stroke(bin),
            ]);
        }
    }
    table
}

fn bar_with_stroke(bin: &ReliabilityBin) -> String {
    let at = |share: f64| (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let (filled, stroke) = (at(bin.accuracy), at(bin.confidence));
    (0..=BAR)
        .map(|column| match column {
            _ if column == stroke => '│',
            _ if column < filled => '█',
            _ => ' ',
        })
        .collect()
}
