//! Tables that several commands print.

use bayeslora::low_level::metrics::{
    Bootstrap, DEFAULT_BINS, Evaluation, Gaps, Interval, Predictions, ReliabilityBin, brier_each,
    nll_each, reliability_bins,
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

/// Predictions and their scores.
pub type Scored<'a> = (&'a Predictions<'a>, &'a Evaluation);

/// The same images answered otherwise: what both ways are called, and the other one's scores.
pub struct Beside<'a> {
    pub titles: [String; 2],
    pub scored: Scored<'a>,
}

/// Every score with its meaning, or beside those of other answers; the reliability diagram (without these) below.
pub fn scores(scored: Scored, beside: Option<Beside>) -> String {
    let (predictions, _) = scored;
    let bins = reliability_bins(
        &predictions.confidence(),
        &predictions.correct(),
        DEFAULT_BINS,
    );
    let table = match beside {
        None => metrics_table(scored),
        Some(beside) => table_of_two(scored, beside),
    };
    let diagram = reliability_diagram(&bins);
    format!("{}\n\n{}", table.trim_fmt(), diagram.trim_fmt())
}

/// A difference with its sign, unless it rounds to zero.
pub fn change(value: f64, digits: usize) -> String {
    let text = format!("{value:+.digits$}");
    match text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        true => text,
        false => text[1..].into(),
    }
}

/// A horizontal bar for a share of 0 to 1, `width` characters at 1.
pub fn bar(share: f64, width: usize) -> String {
    "█".repeat((share.clamp(0.0, 1.0) * width as f64).round() as usize)
}

/// 95 % bootstrap intervals of the scores that are cheap to resample: BCa, that of the calibration error around its
/// debiased value.
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
        let hits: Vec<f64> = correct
            .iter()
            .map(|&correct| f64::from(u8::from(correct)))
            .collect();
        let gaps = confidence.iter().zip(&hits);
        let gaps: Vec<f64> = gaps.map(|(c, hit)| f64::from(*c) - hit).collect();
        Self {
            accuracy: bootstrap.mean(&hits),
            nll: bootstrap.mean(&nll_each(predictions)),
            brier: bootstrap.mean(&brier_each(predictions)),
            ece: bootstrap.calibration(&Gaps::expected(&confidence, &correct, DEFAULT_BINS)),
            signed_gap: bootstrap.mean(&gaps),
        }
    }
}

/// A line of the table of scores.
struct Score {
    name: &'static str,
    value: fn(&Evaluation) -> f64,
    interval: fn(&Intervals) -> Option<&Interval>,
    meaning: &'static str,
}

const SCORES: [Score; 11] = [
    Score {
        name: "accuracy",
        value: |scores| scores.accuracy,
        interval: |intervals| Some(&intervals.accuracy),
        meaning: "share of correct answers",
    },
    Score {
        name: "balanced_accuracy",
        value: |scores| scores.balanced_accuracy,
        interval: |_| None,
        meaning: "the same for each class, averaged",
    },
    Score {
        name: "nll",
        value: |scores| scores.nll,
        interval: |intervals| Some(&intervals.nll),
        meaning: "-ln p(label), nats; lower is better",
    },
    Score {
        name: "brier",
        value: |scores| scores.brier,
        interval: |intervals| Some(&intervals.brier),
        meaning: "squared error over classes, 0 to 2",
    },
    Score {
        name: "ece",
        value: |scores| scores.ece,
        interval: |intervals| Some(&intervals.ece),
        meaning: "|confidence - accuracy|; interval of the debiased",
    },
    Score {
        name: "adaptive_ece",
        value: |scores| scores.adaptive_ece,
        interval: |_| None,
        meaning: "the same, bins of equal mass",
    },
    Score {
        name: "classwise_ece",
        value: |scores| scores.classwise_ece,
        interval: |_| None,
        meaning: "the same for each class, averaged",
    },
    Score {
        name: "signed_gap",
        value: |scores| scores.signed_gap,
        interval: |intervals| Some(&intervals.signed_gap),
        meaning: "confidence - accuracy; > 0: over-confident",
    },
    Score {
        name: "aurc",
        value: |scores| scores.aurc,
        interval: |_| None,
        meaning: "mean error when abstaining on the least sure",
    },
    Score {
        name: "mean_entropy",
        value: |scores| scores.mean_entropy,
        interval: |_| None,
        meaning: "total uncertainty, nats",
    },
    Score {
        name: "mean_mutual_information",
        value: |scores| scores.mean_mutual_information,
        interval: |_| None,
        meaning: "disagreement of the samples, nats",
    },
];

impl Score {
    /// Value and interval.
    fn cells(&self, scores: &Evaluation, intervals: &Intervals) -> [String; 2] {
        let value = format!("{:.4}", (self.value)(scores));
        let interval = (self.interval)(intervals);
        let interval = interval.map_or(String::new(), |i| format!("{:.4} .. {:.4}", i.low, i.high));
        [value, interval]
    }
}

fn metrics_table((predictions, scores): Scored) -> Table {
    let mut table = new(&["metric", "value", "95 % interval", "meaning"], &[1, 2]);
    let intervals = Intervals::of(predictions);
    for score in &SCORES {
        let [value, interval] = score.cells(scores, &intervals);
        table.add_row([score.name.into(), value, interval, score.meaning.into()]);
    }
    table
}

fn table_of_two(plain: Scored, beside: Beside) -> Table {
    let [title, other] = &beside.titles;
    let header = ["metric", title, "95 % interval", other, "95 % interval"];
    let mut table = new(&header, &[1, 2, 3, 4]);
    let intervals = [plain, beside.scored].map(|(predictions, _)| Intervals::of(predictions));
    for score in &SCORES {
        let [value, interval] = score.cells(plain.1, &intervals[0]);
        let [at, at_interval] = score.cells(beside.scored.1, &intervals[1]);
        table.add_row([score.name.into(), value, interval, at, at_interval]);
    }
    table
}

/// One line per bin: a bar as long as its accuracy, and a stroke at its confidence.
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
