//! Ranks cut from finished adapters: by basis and order, as measured and as foretold.

use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::number::{counted, decimal, range, signed};
use crate::report::theme::{Style, Styles};
use crate::report::{CutEffect, CutPoint, Results, Score};

/// Basis and order, their name, and the basis's colour. Earlier versions called alpha `log-alpha`.
const LINES: [(&str, &str, &str, &str); 8] = [
    ("none", "alpha", "as trained, by α", "as-trained"),
    ("none", "log-alpha", "as trained, by α", "as-trained"),
    (
        "none",
        "magnitude",
        "as trained, by magnitude",
        "as-trained",
    ),
    ("none", "random", "as trained, at random", "as-trained"),
    ("none", "evidence", "as trained, by evidence", "as-trained"),
    ("svd", "singular-value", "SVD, by singular value", "svd"),
    ("svd", "evidence", "SVD, by evidence", "svd"),
    ("evidence", "evidence", "evidence, by evidence", "evidence"),
];

/// Nats beyond which cuts are not drawn: nobody wants them, and the others would lie on one another.
const DRAWN_NLL: f64 = 0.15;

pub fn section(results: &Results) -> Section {
    let mut runs: Vec<&str> = Vec::new();
    for point in &results.cuts {
        if !runs.contains(&point.run.as_str()) {
            runs.push(&point.run);
        }
    }
    let runs: Vec<Run> = runs.iter().map(|run| Run::new(results, run)).collect();
    let mut blocks: Vec<Block> = runs.iter().map(|run| Block::Figure(run.figure())).collect();
    blocks.extend(runs.iter().filter_map(Run::half).map(Block::Table));
    blocks.extend(foretold(&runs).map(Block::Figure));
    if blocks.is_empty() {
        blocks.push(Block::missing("No finished adapter was cut."));
    }
    Section {
        id: "cuts",
        title: "Which ranks to cut",
        blocks,
    }
}

/// The same in every figure, whichever lines it has.
fn style(title: &str) -> Style {
    let mut given = Styles::default();
    let mut known: Vec<(&str, Style)> = Vec::new();
    for (_, _, title, basis) in LINES {
        if known.iter().all(|(name, _)| *name != title) {
            known.push((title, given.next(basis)));
        }
    }
    let found = known.into_iter().find(|(name, _)| *name == title);
    found.map_or_else(|| given.next(""), |(_, style)| style)
}

/// The cuts of one adapter.
struct Run<'a> {
    title: String,
    /// Of the figure's files.
    name: String,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    style: Style,
    title: &'a str,
    /// The fewest ranks first; the last is before any cut.
    points: Vec<&'a CutPoint>,
}

/// A measure of a cut.
type Pick = fn(&Line, &CutPoint) -> Option<f64>;

impl<'a> Run<'a> {
    fn new(results: &'a Results, run: &str) -> Self {
        let mut lines = Vec::<Line>::new();
        let points = results.cuts.iter().filter(|point| point.run == run);
        for point in points.clone() {
            let gauge = match point.gauge.as_str() {
                "" => "none",
                gauge => gauge,
            };
            let mut known = LINES.iter();
            let known = known.find(|known| (known.0, known.1) == (gauge, point.order.as_str()));
            let title = known.map_or(point.order.as_str(), |line| line.2);
            match lines.iter_mut().find(|line| line.title == title) {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    style: style(title),
                    title,
                    points: vec![point],
                }),
            }
        }
        for line in &mut lines {
            line.points.sort_by(|a, b| a.ranks.total_cmp(&b.ranks));
        }
        let first = points.clone().next().expect("a run with a point");
        let named = !run.is_empty();
        Self {
            title: if named { &first.title } else { "BayesLoRA" }.into(),
            name: match named {
                true => format!("cuts-{}", first.family),
                false => "cuts".into(),
            },
            lines,
        }
    }

    fn points(&self) -> impl Iterator<Item = &'a CutPoint> + Clone + '_ {
        self.lines
            .iter()
            .flat_map(|line| line.points.iter().copied())
    }

    fn figure(&self) -> Figure {
        let seeds: Vec<_> = self.points().map(|point| seeds_of(point).max(1)).collect();
        let tested = self.points().find_map(|point| point.test.as_ref());
        let images = match tested {
            Some(test) => counted(test.images, "test image"),
            None => "the validation images".into(),
        };
        let measures: [(&str, Pick); 3] = [
            ("Change of NLL", nll_change),
            ("KL from the uncut model", |_, point| kl(point)),
            ("Accuracy", |_, point| Some(accuracy(point).mean)),
        ];
        let panels = measures.map(|(title, pick)| self.panel(title, pick));
        Figure {
            name: self.name.clone(),
            title: format!("{}: what cut ranks cost", self.title),
            caption: format!(
                "The trained adapter cut to fewer and fewer ranks, by the basis that its ranks were turned into and the \
                 order in which they went, with nothing trained in between: change of the NLL and KL from the uncut \
                 model (lower is better), accuracy (higher is better) of the mean weights on {images}, by the ranks that \
                 are left; means over {}. Cuts that cost more than {} nats are not drawn.",
                several(&seeds, "seed"),
                decimal(DRAWN_NLL, 2),
            ),
            panels: panels.into_iter().flatten().collect(),
            columns: 3,
            legend: self.legend(),
            numbers: self.numbers(),
        }
    }

    /// `None` where no cut has this measure.
    fn panel(&self, title: &str, pick: Pick) -> Option<Panel> {
        let of_line = |line: &Line| -> Vec<(f64, f64)> {
            let points = line.points.iter().filter(|point| is_drawn(line, point));
            points
                .filter_map(|point| Some((point.ranks, pick(line, point)?)))
                .collect()
        };
        let lines: Vec<_> = self.lines.iter().map(of_line).collect();
        let all = || lines.iter().flatten();
        all().next()?;
        let x = Axis::around("ranks left", all().map(|point| point.0), 5);
        let y = Axis::around(title, all().map(|point| point.1), 5);
        let mut plot = Plot::new(title, Size::USUAL, x, y);
        for (line, points) in self.lines.iter().zip(&lines) {
            plot.marked_line(points, &line.style);
        }
        Some(plot.finish())
    }

    fn legend(&self) -> Vec<(Style, String)> {
        let lines = self.lines.iter();
        lines
            .map(|line| (line.style.clone(), line.title.to_owned()))
            .collect()
    }

    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::new(&[
            "basis_and_order",
            "ranks",
            "scalars",
            "seeds",
            "validation_nll",
            "validation_nll_sd",
            "validation_kl",
            "validation_accuracy",
            "predicted_nll",
            "predicted_kl",
            "test_nll",
            "test_nll_change",
            "test_nll_change_low",
            "test_nll_change_high",
            "test_kl",
            "test_accuracy",
            "test_accuracy_change",
            "test_accuracy_change_low",
            "test_accuracy_change_high",
        ]);
        for line in &self.lines {
            for point in &line.points {
                let mean = |score: &Option<Score>| score.as_ref().map(|score| score.mean);
                let test =
                    |value: fn(&CutEffect) -> Option<f64>| point.test.as_ref().and_then(value);
                let values = [
                    Some(point.ranks),
                    point.scalars,
                    Some(seeds_of(point) as f64),
                    Some(point.nll.mean),
                    Some(point.nll.sd),
                    mean(&point.kl),
                    Some(point.accuracy.mean),
                    mean(&point.predicted_nll),
                    mean(&point.predicted_kl),
                    test(|test| Some(test.nll.mean)),
                    test(|test| Some(test.nll_change.mean)),
                    test(|test| Some(test.nll_change.interval?.low)),
                    test(|test| Some(test.nll_change.interval?.high)),
                    test(|test| Some(test.kl.mean)),
                    test(|test| Some(test.accuracy.mean)),
                    test(|test| Some(test.accuracy_change.mean)),
                    test(|test| Some(test.accuracy_change.interval?.low)),
                    test(|test| Some(test.accuracy_change.interval?.high)),
                ];
                let mut row = vec![line.title.to_owned()];
                let text =
                    |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                row.extend(values.map(text));
                numbers.rows.push(row);
            }
        }
        numbers
    }

    /// Every line where half of the ranks is left; `None` where that was not tested.
    fn half(&self) -> Option<Table> {
        let halves: Vec<(&Line, &CutPoint, &CutEffect)> = self
            .lines
            .iter()
            .filter_map(|line| {
                let mut points = line.points.iter();
                let point = points.find(|point| point.share == Some(0.5))?;
                Some((line, *point, point.test.as_ref()?))
            })
            .collect();
        let (_, _, test) = halves.first()?;
        let sampled = halves.iter().any(|(_, point, _)| point.sampled.is_some());
        let change = |score: &Score, digits: usize| {
            let interval = score.interval.as_ref();
            Cell::with(
                signed(score.mean, digits),
                interval.map_or(String::new(), |interval| range(interval, digits)),
            )
        };
        let mut header = vec!["basis, order", "scalars", "NLL", "KL", "accuracy"];
        if sampled {
            header.push("NLL, gates drawn");
        }
        Some(Table {
            words: false,
            caption: format!(
                "{} with half of its ranks cut: scalars left, change of the NLL, KL, change of the accuracy on {}, with \
                 95\u{a0}% intervals over the images.",
                self.title,
                counted(test.images, "test image"),
            ),
            header: header.into_iter().map(String::from).collect(),
            rows: halves
                .iter()
                .map(|(line, point, test)| {
                    let mut row = vec![
                        Cell::new(line.title),
                        Cell::new(decimal(point.scalars.unwrap_or(f64::NAN), 0)),
                        change(&test.nll_change, 4),
                        Cell::new(decimal(test.kl.mean, 4)),
                        change(&test.accuracy_change, 4),
                    ];
                    if sampled {
                        row.push(match &point.sampled {
                            Some(drawn) => change(&drawn.nll_change, 4),
                            None => Cell::new("–"),
                        });
                    }
                    row
                })
                .collect(),
        })
    }
}

/// What was foretold of every cut against what came; `None` where nothing was.
fn foretold(runs: &[Run]) -> Option<Figure> {
    type Both = fn(&Line, &CutPoint) -> Option<(f64, f64)>;
    let measures: [(&str, Both); 2] = [
        ("KL", |_, point| {
            Some((point.predicted_kl.as_ref()?.mean, point.kl.as_ref()?.mean))
        }),
        ("change of NLL", |line, point| {
            let uncut = line.points.last()?.nll.mean;
            let predicted = point.predicted_nll.as_ref()?.mean;
            Some((predicted - uncut, point.nll.mean - uncut))
        }),
    ];
    let (mut panels, mut legend) = (Vec::new(), Vec::<(Style, String)>::new());
    let mut numbers = Numbers::new(&[
        "run",
        "basis_and_order",
        "ranks",
        "measure",
        "foretold",
        "measured",
    ]);
    for run in runs {
        for (name, both) in measures {
            let mut marks = Vec::new();
            for line in &run.lines {
                for point in line.points.iter().filter(|point| is_drawn(line, point)) {
                    if let Some((foretold, measured)) = both(line, point) {
                        marks.push((foretold, measured, &line.style));
                        let text = [point.ranks.to_string(), name.into(), foretold.to_string()];
                        let mut row = vec![run.title.clone(), line.title.into()];
                        row.extend(text);
                        row.push(measured.to_string());
                        numbers.rows.push(row);
                    }
                }
            }
            if marks.is_empty() {
                continue;
            }
            let x = Axis::around("foretold", marks.iter().map(|mark| mark.0), 5);
            let y = Axis::around("measured", marks.iter().map(|mark| mark.1), 5);
            let (low, high) = (x.low.max(y.low), x.high.min(y.high));
            let title = format!("{}: {name}", run.title);
            let mut plot = Plot::new(&title, Size::USUAL, x, y);
            plot.rule(&[(low, low), (high, high)]);
            for (x, y, style) in marks {
                plot.marker(x, y, style);
            }
            panels.push(plot.finish());
        }
        for entry in run.legend() {
            if legend.iter().all(|(_, title)| *title != entry.1) {
                legend.push(entry);
            }
        }
    }
    if panels.is_empty() {
        return None;
    }
    Some(Figure {
        name: "cuts-foretold".into(),
        title: "Cuts as foretold and as measured".into(),
        caption: format!(
            "KL from the uncut model and change of the NLL on the validation images, foretold to second order from the \
             gradients of the gates before anything is cut and measured after: a mark a cut, mean over seeds, on the dashed \
             line where both agree. Cuts that cost more than {} nats are not drawn.",
            decimal(DRAWN_NLL, 2)
        ),
        panels,
        columns: 2,
        legend,
        numbers,
    })
}

fn seeds_of(point: &CutPoint) -> usize {
    point.nll.by_seed.len()
}

fn is_drawn(line: &Line, point: &CutPoint) -> bool {
    nll_change(line, point).is_some_and(|change| change <= DRAWN_NLL)
}

/// On test images; on the validation images where the file has no other.
fn nll_change(line: &Line, point: &CutPoint) -> Option<f64> {
    match &point.test {
        Some(test) => Some(test.nll_change.mean),
        None => Some(point.nll.mean - line.points.last()?.nll.mean),
    }
}

fn accuracy(point: &CutPoint) -> &Score {
    let test = point.test.as_ref();
    test.map_or(&point.accuracy, |test| &test.accuracy)
}

fn kl(point: &CutPoint) -> Option<f64> {
    let on_test = point.test.as_ref().map(|test| &test.kl);
    on_test.or(point.kl.as_ref()).map(|score| score.mean)
}
