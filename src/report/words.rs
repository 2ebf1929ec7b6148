//! The comparisons: a sentence that counts them, and a table with the words that may be said.

use super::block::{Block, Cell, Table};
use super::measure::{MEASURES, Measure, measure, verdicts};
use super::number::{count, counted, range, signed};
use super::{Comparison, Results, Verdict};

const OURS: &str = "bayeslora";

/// What the comparisons come to, in a sentence; `None` where there is none of BayesLoRA with another method.
pub fn lead(results: &Results) -> Option<String> {
    let verdicts = verdicts(&results.comparisons);
    let all = results.comparisons.iter().zip(&verdicts);
    let ours: Vec<(Verdict, Verdict)> = all
        .filter_map(|(comparison, corrected)| ours(results, comparison, *corrected))
        .collect();
    let decided = |wanted| {
        ours.iter()
            .filter(|(_, verdict)| *verdict == wanted)
            .count()
    };
    let fall = ours.iter().filter(|(alone, corrected)| alone != corrected);
    let fall = match fall.count() {
        0 => String::new(),
        some => {
            format!("; {some} more have a 95\u{a0}% interval without 0, which does not survive it")
        }
    };
    let largest = MEASURES.iter().map(|measure| family(results, measure));
    (!ours.is_empty()).then(|| {
        format!(
            "BayesLoRA against the other methods, on the same test images and seeds: of {} comparisons it wins {}, loses \
             {}, and {} are undecided. Decided means p < .05 after Holm's correction over all comparisons of the same measure \
             (up to {}){fall}.",
            ours.len(),
            decided(Verdict::Better),
            decided(Verdict::Worse),
            decided(Verdict::Undecided),
            largest.max().unwrap_or(0),
        )
    })
}

/// How many comparisons of a measure are corrected together.
fn family(results: &Results, measure: &Measure) -> usize {
    let all = results.comparisons.iter();
    all.filter(|one| one.measure == measure.name && one.difference.is_some())
        .count()
}

/// The comparisons of the headline rows with each other; the others and what the file has wrong, to be opened.
pub fn comparisons(results: &Results) -> Vec<Block> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for comparison in &results.comparisons {
        let pair = (comparison.row.as_str(), comparison.baseline.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let headline = |name: &str| results.row(name).is_some_and(|row| row.headline);
    let is_main = |pair: &&(&str, &str)| headline(pair.0) && headline(pair.1);
    let (main, others): (Vec<_>, Vec<_>) = pairs.iter().partition(is_main);
    let mut blocks = Vec::new();
    if !main.is_empty() {
        blocks.push(Block::Table(table(results, &main)));
    }
    if !others.is_empty() {
        let title = format!("{} of the other rows", counted(others.len(), "comparison"));
        blocks.push(Block::folded(
            title,
            vec![Block::Table(table(results, &others))],
        ));
    }
    let contradictions = contradictions(results);
    if !contradictions.is_empty() {
        blocks.push(Block::List {
            title: "Verdicts in the file that its own intervals do not support (not used)".into(),
            items: contradictions,
        });
    }
    blocks
}

/// From BayesLoRA's side: the verdict of the interval alone and the corrected one; `None` where both or neither are its.
fn ours(
    results: &Results,
    comparison: &Comparison,
    corrected: Verdict,
) -> Option<(Verdict, Verdict)> {
    let family = |name: &str| Some(results.row(name)?.family.as_str());
    let is_ours = |name: &str| family(name) == Some(OURS);
    measure(&comparison.measure)?;
    let both = (comparison.uncorrected(), corrected);
    match (is_ours(&comparison.row), is_ours(&comparison.baseline)) {
        (true, false) => Some(both),
        (false, true) => Some((both.0.reversed(), both.1.reversed())),
        _ => None,
    }
}

fn contradictions(results: &Results) -> Vec<String> {
    // Earlier versions did not correct: a verdict that falls to the correction alone is none.
    let wrong = |comparison: &&Comparison| {
        comparison.verdict != Verdict::Undecided && comparison.verdict != comparison.uncorrected()
    };
    let say = |comparison: &Comparison| {
        format!(
            "{} against {}, {}: `{:?}`, by the interval `{:?}`.",
            results.title(&comparison.row),
            results.title(&comparison.baseline),
            comparison.measure,
            comparison.verdict,
            comparison.uncorrected()
        )
    };
    results.comparisons.iter().filter(wrong).map(say).collect()
}

/// A line a pair, a column a measure.
fn table(results: &Results, pairs: &[&(&str, &str)]) -> Table {
    let verdicts = verdicts(&results.comparisons);
    let all = || results.comparisons.iter().zip(&verdicts);
    let present = |measure: &&Measure| all().any(|(one, _)| one.measure == measure.name);
    let measures: Vec<_> = MEASURES.iter().filter(present).collect();
    let cell = |pair: (&str, &str), measure: &Measure| {
        let found = all().find(|(one, _)| {
            (one.row.as_str(), one.baseline.as_str()) == pair && one.measure == measure.name
        });
        let Some((verdict, difference)) = found.and_then(|(one, v)| Some((v, one.difference?)))
        else {
            return Cell::new("–");
        };
        let word = match verdict {
            Verdict::Better => "better ",
            Verdict::Worse => "worse ",
            Verdict::Undecided => "",
        };
        Cell {
            verdict: word.trim_end(),
            ..Cell::with(
                format!("{word}{}", signed(difference.estimate, measure.digits)),
                range(&difference, measure.digits),
            )
        }
    };
    let mut header = vec!["first − second".to_owned()];
    header.extend(measures.iter().map(|measure| measure.title.to_owned()));
    Table {
        words: false,
        caption: format!(
            "The first method minus the second, mean over the seeds that both have, and its 95\u{a0}% interval over test \
             images ({}; {} resamples). Better and worse are said of the first where Holm's correction leaves p below .05.",
            results.study.intervals(),
            count(results.study.resamples)
        ),
        header,
        rows: pairs
            .iter()
            .map(|&&pair| {
                let title = format!("{} − {}", results.title(pair.0), results.title(pair.1));
                let cells = measures.iter().map(|measure| cell(pair, measure));
                std::iter::once(Cell::new(title)).chain(cells).collect()
            })
            .collect(),
    }
}
