//! The comparisons in words: who wins by the paired intervals, and where BayesLoRA does not.

use super::block::{Block, Cell, Section, Table};
use super::measure::{MEASURES, Measure, measure};
use super::number::{range, signed};
use super::{Comparison, Results, Verdict};
use crate::metrics::Interval;

const OURS: &str = "bayeslora";

/// A comparison seen from BayesLoRA's side.
struct Ours<'a> {
    us: &'a str,
    them: &'a str,
    measure: &'static Measure,
    difference: Option<Interval>,
    verdict: Verdict,
}

/// The summary: sentences, then all comparisons in a table.
pub fn summary(results: &Results) -> Section {
    let mut blocks = Vec::new();
    let ours: Vec<_> = results
        .comparisons
        .iter()
        .filter_map(|comparison| seen_from_us(results, comparison))
        .collect();
    if ours.is_empty() {
        blocks.push(Block::missing(
            "No paired comparisons of BayesLoRA with another method: nothing is decided here.",
        ));
    } else {
        blocks.push(Block::Text(lead(&ours)));
        for (verdict, title) in [
            (Verdict::Worse, "Where BayesLoRA does not win"),
            (Verdict::Better, "Where BayesLoRA wins"),
            (Verdict::Undecided, "What these runs do not decide"),
        ] {
            let items = sentences(ours.iter().filter(|one| one.verdict == verdict));
            if !items.is_empty() {
                blocks.push(Block::List {
                    title: title.into(),
                    items,
                    folded: verdict == Verdict::Undecided,
                });
            }
        }
    }
    let contradictions = contradictions(results);
    if !contradictions.is_empty() {
        blocks.push(Block::List {
            title: "Verdicts in the file that its own intervals do not support (not used)".into(),
            items: contradictions,
            folded: false,
        });
    }
    if !results.comparisons.is_empty() {
        blocks.push(Block::Table(table(results)));
    }
    Section {
        id: "summary",
        title: "Summary",
        blocks,
    }
}

fn lead(ours: &[Ours]) -> String {
    let count = |verdict| ours.iter().filter(|one| one.verdict == verdict).count();
    format!(
        "BayesLoRA against the other methods, each pair on the same test images and seeds: of {} \
         comparisons it wins {}, loses {}, and {} are not decided. A comparison is decided where the \
         95\u{a0}% bootstrap interval of the difference does not hold 0. Differences are BayesLoRA minus the \
         other method.",
        ours.len(),
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::Undecided),
    )
}

fn seen_from_us<'a>(results: &'a Results, comparison: &'a Comparison) -> Option<Ours<'a>> {
    let family = |name: &str| Some(results.row(name)?.family.as_str());
    let (row, baseline) = (&comparison.row, &comparison.baseline);
    let measure = measure(&comparison.measure)?;
    let verdict = comparison.decided();
    match (family(row) == Some(OURS), family(baseline) == Some(OURS)) {
        (true, false) => Some(Ours {
            us: results.title(row),
            them: results.title(baseline),
            measure,
            difference: comparison.difference,
            verdict,
        }),
        (false, true) => Some(Ours {
            us: results.title(baseline),
            them: results.title(row),
            measure,
            difference: comparison.difference.map(reversed),
            verdict: verdict.reversed(),
        }),
        _ => None,
    }
}

fn reversed(difference: Interval) -> Interval {
    Interval {
        estimate: -difference.estimate,
        low: -difference.high,
        high: -difference.low,
    }
}

/// A sentence a pair, with all measures that came out alike.
fn sentences<'a>(ours: impl Iterator<Item = &'a Ours<'a>>) -> Vec<String> {
    let mut pairs: Vec<Vec<&Ours>> = Vec::new();
    for one in ours {
        let same = |pair: &&mut Vec<&Ours>| (pair[0].us, pair[0].them) == (one.us, one.them);
        match pairs.iter_mut().find(same) {
            Some(pair) => pair.push(one),
            None => pairs.push(vec![one]),
        }
    }
    pairs.iter().map(|pair| sentence(pair)).collect()
}

fn sentence(pair: &[&Ours]) -> String {
    let (us, them) = (pair[0].us, pair[0].them);
    let list = |say: &dyn Fn(&Ours) -> String| {
        let said: Vec<_> = pair.iter().map(|one| say(one)).collect();
        said.join("; ")
    };
    let with_way = |one: &Ours| {
        let way = match one.measure.higher_is_better {
            Some(true) => "higher",
            _ => "lower",
        };
        format!("the {way} {} ({})", one.measure.title, in_words(one))
    };
    match pair[0].verdict {
        Verdict::Better => format!("{us}, against {them}, has {}.", list(&with_way)),
        Verdict::Worse => format!("{them}, against {us}, has {}.", list(&with_way)),
        Verdict::Undecided => format!(
            "{us} and {them} cannot be told apart in {}.",
            list(&|one| format!("{} ({})", one.measure.title, in_words(one)))
        ),
    }
}

fn in_words(one: &Ours) -> String {
    match &one.difference {
        Some(difference) => format!(
            "difference {}, 95\u{a0}% interval {}",
            signed(difference.estimate, one.measure.digits),
            range(difference, one.measure.digits)
        ),
        None => "no interval".into(),
    }
}

fn contradictions(results: &Results) -> Vec<String> {
    let wrong = |comparison: &&Comparison| comparison.verdict != comparison.decided();
    let say = |comparison: &Comparison| {
        format!(
            "{} against {}, {}: `{:?}`, by the interval `{:?}`.",
            results.title(&comparison.row),
            results.title(&comparison.baseline),
            comparison.measure,
            comparison.verdict,
            comparison.decided()
        )
    };
    results.comparisons.iter().filter(wrong).map(say).collect()
}

/// A line a pair, a column a measure.
fn table(results: &Results) -> Table {
    let present = |measure: &&Measure| {
        let mut all = results.comparisons.iter();
        all.any(|comparison| comparison.measure == measure.name)
    };
    let measures: Vec<_> = MEASURES.iter().filter(present).collect();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for comparison in &results.comparisons {
        let pair = (comparison.row.as_str(), comparison.baseline.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let cell = |pair: (&str, &str), measure: &Measure| {
        let found = results.comparisons.iter().find(|comparison| {
            (comparison.row.as_str(), comparison.baseline.as_str()) == pair
                && comparison.measure == measure.name
        });
        let Some((comparison, difference)) = found.and_then(|one| Some((one, one.difference?)))
        else {
            return Cell::new("–");
        };
        let verdict = match comparison.decided() {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Undecided => "undecided",
        };
        let estimate = signed(difference.estimate, measure.digits);
        Cell::with(
            format!("{verdict} {estimate}"),
            range(&difference, measure.digits),
        )
    };
    let mut header = vec!["first − second".to_owned()];
    header.extend(measures.iter().map(|measure| measure.title.to_owned()));
    Table {
        words: false,
        caption: format!(
            "All paired comparisons: the first method minus the second, mean over the seeds that both have, \
             and its 95\u{a0}% interval over test images ({} resamples). Better and worse are said of the first.",
            super::number::count(results.study.resamples)
        ),
        header,
        rows: pairs
            .iter()
            .map(|&pair| {
                let title = format!("{} − {}", results.title(pair.0), results.title(pair.1));
                let cells = measures.iter().map(|measure| cell(pair, measure));
                std::iter::once(Cell::new(title)).chain(cells).collect()
            })
            .collect(),
    }
}
