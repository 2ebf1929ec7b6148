//! What each cut of ranks cost when it happened.

use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{counted, decimal, signed};
use crate::report::theme::{Style, Styles};
use crate::report::{PruneRecord, Results};

/// Limits of the study's target: a tenth of a point, .005 nats.
const ACCURACY_LIMIT: f64 = -0.001;
const NLL_LIMIT: f64 = 0.005;

pub fn section(results: &Results) -> Section {
    let blocks = match results.prunes.is_empty() {
        true => vec![Block::missing("No run has cut ranks.")],
        false => vec![
            Block::Figure(figure(results)),
            Block::folded(
                counted(results.prunes.len(), "prune"),
                vec![Block::Table(table(results))],
            ),
        ],
    };
    Section {
        id: "prunes",
        title: "Cost of each prune",
        blocks,
    }
}

fn figure(results: &Results) -> Figure {
    let mut styles = Styles::default();
    let mut runs: Vec<(&str, Style)> = Vec::new();
    for prune in &results.prunes {
        if runs.iter().all(|(run, _)| *run != prune.run) {
            runs.push((&prune.run, styles.next("bayeslora")));
        }
    }
    let header = [
        "run",
        "seed",
        "epoch",
        "ranks_before",
        "ranks_after",
        "accuracy_before",
        "accuracy_after",
        "nll_before",
        "nll_after",
    ];
    let mut numbers = Numbers::new(&header);
    for prune in &results.prunes {
        numbers.rows.push(vec![
            prune.run.clone(),
            prune.seed.to_string(),
            prune.epoch.to_string(),
            prune.ranks_before.to_string(),
            prune.ranks_after.to_string(),
            prune.accuracy_before.to_string(),
            prune.accuracy_after.to_string(),
            prune.nll_before.to_string(),
            prune.nll_after.to_string(),
        ]);
    }
    let accuracy = |prune: &PruneRecord| prune.accuracy_after - prune.accuracy_before;
    let nll = |prune: &PruneRecord| prune.nll_after - prune.nll_before;
    let prunes = &results.prunes;
    Figure {
        name: "prunes".into(),
        title: "Change by each prune".into(),
        caption: format!(
            "Change of accuracy (below 0 is a loss) and of NLL (above 0 is a loss) from just before to just after \
             each of {}, by the ranks that it cut, with nothing trained in between: {}, mean weights, a mark an \
             event and seed. The dashed lines are the study's limits, {} of accuracy and {} nats.",
            counted(prunes.len(), "prune"),
            counted(results.study.validation_images, "validation image"),
            signed(ACCURACY_LIMIT, 3),
            signed(NLL_LIMIT, 3),
        ),
        panels: vec![
            panel(
                "Change of accuracy",
                prunes,
                &runs,
                accuracy,
                ACCURACY_LIMIT,
            ),
            panel("Change of NLL", prunes, &runs, nll, NLL_LIMIT),
        ],
        columns: 2,
        legend: runs
            .into_iter()
            .map(|(run, style)| (style, results.title(run).to_owned()))
            .collect(),
        numbers,
    }
}

fn panel(
    title: &str,
    prunes: &[PruneRecord],
    runs: &[(&str, Style)],
    change: impl Fn(&PruneRecord) -> f64,
    limit: f64,
) -> Panel {
    let cut = |prune: &PruneRecord| prune.ranks_before.saturating_sub(prune.ranks_after);
    let most = prunes.iter().map(cut).max().unwrap_or(1);
    let changes = prunes.iter().map(&change).chain([0.0, limit * 1.2]);
    let x = Axis::whole("ranks cut", 0, most + most / 20 + 1);
    let mut plot = Plot::new(title, Size::USUAL, x, Axis::around(title, changes, 5));
    let end = (most + most / 20 + 1) as f64;
    plot.zero(end);
    plot.rule(&[(0.0, limit), (end, limit)]);
    for prune in prunes {
        let run = runs.iter().find(|(run, _)| *run == prune.run);
        let (_, style) = run.expect("a style for every run");
        plot.marker(cut(prune) as f64, change(prune), style);
    }
    plot.finish()
}

fn table(results: &Results) -> Table {
    let header = ["run", "seed", "epoch", "ranks", "accuracy", "NLL"];
    let change = |before: f64, after: f64| {
        Cell::with(
            format!("{} → {}", decimal(before, 4), decimal(after, 4)),
            signed(after - before, 4),
        )
    };
    Table {
        words: false,
        caption: "The same events, before → after, and the change.".into(),
        header: header.map(String::from).to_vec(),
        rows: results
            .prunes
            .iter()
            .map(|prune| {
                vec![
                    Cell::new(results.title(&prune.run)),
                    Cell::new(prune.seed.to_string()),
                    Cell::new(prune.epoch.to_string()),
                    Cell::new(format!("{} → {}", prune.ranks_before, prune.ranks_after)),
                    change(prune.accuracy_before, prune.accuracy_after),
                    change(prune.nll_before, prune.nll_after),
                ]
            })
            .collect(),
    }
}
