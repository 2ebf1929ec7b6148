//! Unfamiliar images in words and tables: what tells them better than the largest probability does.

use super::block::{Block, Cell, Table};
use super::measure::{LEVEL, several};
use super::number::{counted, decimal, signed, spread};
use super::{Detection, Results, UnfamiliarSet, Verdict};
use crate::metrics::{Interval, holm};

/// What `calibrate --false-alarms` takes unasked: named before any of the images was seen.
const OURS: &str = "mahalanobis";

/// A score against the largest probability.
struct Judged<'a> {
    set: &'a UnfamiliarSet,
    detection: &'a Detection,
    difference: Interval,
    verdict: Verdict,
}

/// By intervals, corrected for each other: every score on every set.
fn judged(results: &Results) -> Vec<Judged<'_>> {
    let all = results.unfamiliar.iter().flat_map(|set| {
        let detections = set.detections.iter();
        detections.filter_map(move |detection| {
            let difference = detection.difference.as_ref()?.interval?;
            Some((set, detection, difference))
        })
    });
    let all: Vec<_> = all.collect();
    let p_values: Vec<f64> = all.iter().map(|(.., d)| d.p_value(LEVEL)).collect();
    let verdict = |difference: &Interval, p: f64| match p < 1.0 - LEVEL {
        true if difference.low > 0.0 => Verdict::Better,
        true if difference.high < 0.0 => Verdict::Worse,
        _ => Verdict::Undecided,
    };
    let judged = all.into_iter().zip(holm(&p_values));
    judged
        .map(|((set, detection, difference), p)| Judged {
            set,
            detection,
            difference,
            verdict: verdict(&difference, p),
        })
        .collect()
}

/// What the Mahalanobis distance comes to beside the largest probability, whichever way it falls: counted in a sentence, then set by
/// set. Nothing where the file has no such differences.
pub fn lead(results: &Results) -> Vec<Block> {
    let judged = judged(results);
    let ours = judged.iter().filter(|one| one.detection.score == OURS);
    let ours: Vec<&Judged> = ours.collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let count = |wanted| ours.iter().filter(|one| one.verdict == wanted).count();
    let text = format!(
        "The Mahalanobis distance to the training images tells unfamiliar images from the test set better than max probability does in {} of \
         {} by AUROC, worse in {}, undecided in {}. Decided means p < .05 after Holm's correction over the {} of all scores below.",
        count(Verdict::Better),
        counted(ours.len(), "comparison"),
        count(Verdict::Worse),
        count(Verdict::Undecided),
        counted(judged.len(), "difference"),
    );
    let items = results.unfamiliar.iter().filter_map(|set| {
        let of_set = ours.iter().filter(|one| std::ptr::eq(one.set, set));
        let each: Vec<String> = of_set
            .map(|one| format!("{} {}", method(&one.detection.title), in_words(one)))
            .collect();
        (!each.is_empty()).then(|| format!("{}: {}", title(set), each.join("; ")))
    });
    vec![
        Block::Text(text),
        Block::List {
            title: "AUROC of the Mahalanobis distance minus that of max probability, 95\u{a0}% intervals".into(),
            items: items.collect(),
        },
    ]
}

/// What its set says already left out.
fn method(title: &str) -> &str {
    title.strip_suffix(", without two classes").unwrap_or(title)
}

/// `+.351 (+.318 to +.381), better`
fn in_words(one: &Judged) -> String {
    let verdict = match one.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "undecided",
    };
    format!("{}, {verdict}", difference(&one.difference))
}

/// `+.351 (+.318 to +.381)`
pub fn difference(found: &Interval) -> String {
    let [value, low, high] = [found.estimate, found.low, found.high].map(|v| signed(v, 3));
    format!("{value} ({low} to {high})")
}

pub fn title(set: &UnfamiliarSet) -> String {
    match set.like_pretraining {
        true => format!("{} (like the pre-training data)", set.title),
        false => set.title.clone(),
    }
}

pub fn score_title(score: &str) -> String {
    match score {
        OURS => "Mahalanobis distance".into(),
        "neighbours" => "nearest neighbours".into(),
        other => other.replace('_', " "),
    }
}

/// A line a score, a column a method.
pub fn table(results: &Results, set: &UnfamiliarSet) -> Table {
    let (mut scores, mut rows): (Vec<&str>, Vec<(&str, &str)>) = (Vec::new(), Vec::new());
    for detection in &set.detections {
        if !scores.contains(&detection.score.as_str()) {
            scores.push(&detection.score);
        }
        let row = (detection.row.as_str(), detection.title.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let judged = judged(results);
    let cell = |row: &str, score: &str| {
        let wanted = |one: &&Detection| one.row == row && one.score == score;
        let Some(found) = set.detections.iter().find(wanted) else {
            return Cell::new("–");
        };
        let judged = judged.iter().find(|one| std::ptr::eq(one.detection, found));
        let against = judged.map_or(String::new(), |one| {
            format!("{}; ", difference(&one.difference))
        });
        let verdict = match judged.map(|one| one.verdict) {
            Some(Verdict::Better) => "better",
            Some(Verdict::Worse) => "worse",
            _ => "",
        };
        Cell {
            verdict,
            ..Cell::with(
                spread(&found.auroc, 3),
                format!("{against}FPR95 {}", decimal(found.fpr95.mean, 3)),
            )
        }
    };
    let seeds: Vec<_> = set
        .detections
        .iter()
        .map(|one| one.auroc.by_seed.len().max(1))
        .collect();
    let header = rows.iter().map(|(_, title)| (*title).to_owned());
    let has_differences = set.detections.iter().any(|one| one.difference.is_some());
    Table {
        words: false,
        caption: format!(
            "{}: {} against the test set. AUROC (higher is better; .5 is chance), mean ± standard deviation over {}; below it {}FPR95 \
             (lower is better).{}",
            title(set),
            counted(set.images, "image"),
            several(&seeds, "seed"),
            match has_differences {
                true =>
                    "what it is more than max probability's AUROC, paired over images and seeds, with its 95\u{a0}% interval, bold \
                     where that is decided; and ",
                false => "",
            },
            match set.like_pretraining {
                true =>
                    " The backbone was trained on such images: unfamiliar to the task, not to the network.",
                false => "",
            }
        ),
        header: std::iter::once("score".to_owned()).chain(header).collect(),
        rows: scores
            .iter()
            .map(|score| {
                let cells = rows.iter().map(|(row, _)| cell(row, score));
                std::iter::once(Cell::new(score_title(score)))
                    .chain(cells)
                    .collect()
            })
            .collect(),
    }
}
