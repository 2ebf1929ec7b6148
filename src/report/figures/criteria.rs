//! Ranks cut by alpha, by magnitude and at random.

use super::one;
use crate::report::block::Section;
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::theme::{Style, Styles};
use crate::report::{CriterionPoint, Results, Score};

pub fn section(results: &Results) -> Section {
    Section {
        id: "criteria",
        title: "Which ranks to cut",
        blocks: one(
            figure(results),
            "Cuts by α, by magnitude and at random were not compared.",
        ),
    }
}

/// Name in the file, in the legend, and whose colour it borrows.
const CRITERIA: [(&str, &str, &str); 3] = [
    ("log-alpha", "largest α first (BayesLoRA)", "bayeslora"),
    ("magnitude", "smallest magnitude first", "lora"),
    ("random", "at random", "weight-noise"),
];

type Pick = fn(&CriterionPoint) -> &Score;

fn figure(results: &Results) -> Option<Figure> {
    let mut styles = Styles::default();
    let mut series: Vec<(Style, String, Vec<&CriterionPoint>)> = Vec::new();
    for point in &results.criteria {
        let known = CRITERIA.iter().find(|known| known.0 == point.criterion);
        let (title, family) =
            known.map_or((point.criterion.as_str(), ""), |known| (known.1, known.2));
        match series.iter_mut().find(|(_, name, _)| name == title) {
            Some((_, _, points)) => points.push(point),
            None => series.push((styles.next(family), title.into(), vec![point])),
        }
    }
    if series.is_empty() {
        return None;
    }
    for (_, _, points) in &mut series {
        points.sort_by(|a, b| a.ranks.total_cmp(&b.ranks));
    }
    let header = [
        "criterion",
        "ranks",
        "accuracy",
        "accuracy_sd",
        "nll",
        "nll_sd",
        "seeds",
    ];
    let mut numbers = Numbers::new(&header);
    for point in &results.criteria {
        let mut row = vec![point.criterion.clone()];
        let values = [
            point.ranks,
            point.accuracy.mean,
            point.accuracy.sd,
            point.nll.mean,
            point.nll.sd,
        ];
        row.extend(values.map(|value| value.to_string()));
        row.push(point.nll.by_seed.len().to_string());
        numbers.rows.push(row);
    }
    let seeds: Vec<_> = results
        .criteria
        .iter()
        .map(|point| point.nll.by_seed.len().max(1))
        .collect();
    let panels = vec![
        panel("Accuracy", &series, |point| &point.accuracy),
        panel("NLL", &series, |point| &point.nll),
    ];
    Some(Figure {
        name: "criteria".into(),
        title: "Ranks cut by α, by magnitude, at random".into(),
        caption: format!(
            "A trained adapter cut to fewer and fewer ranks without training in between: accuracy (higher is \
             better) and NLL (lower is better) of the mean weights on held-out images by the ranks that are \
             left. Lines are means, bands one standard deviation over {}.",
            several(&seeds, "seed")
        ),
        panels,
        columns: 2,
        legend: series
            .into_iter()
            .map(|(style, title, _)| (style, title))
            .collect(),
        numbers,
    })
}

fn panel(title: &str, series: &[(Style, String, Vec<&CriterionPoint>)], pick: Pick) -> Panel {
    let points = || series.iter().flat_map(|(_, _, points)| points);
    let ends = points().flat_map(|point| {
        let score = pick(point);
        [score.mean - score.sd, score.mean + score.sd]
    });
    let x = Axis::around("ranks left", points().map(|point| point.ranks), 6);
    let mut plot = Plot::new(title, Size::USUAL, x, Axis::around(title, ends, 5));
    for (style, _, points) in series {
        let band: Vec<_> = points
            .iter()
            .map(|point| (point.ranks, pick(point)))
            .map(|(ranks, score)| (ranks, score.mean - score.sd, score.mean + score.sd))
            .collect();
        let line: Vec<_> = points
            .iter()
            .map(|point| (point.ranks, pick(point).mean))
            .collect();
        plot.band(&band, style);
        plot.marked_line(&line, style);
    }
    plot.finish()
}
