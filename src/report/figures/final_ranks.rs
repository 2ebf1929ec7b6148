//! Whether the ranks that are left depend on those that a run started with.

use super::one;
use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::number::{count, decimal, spread};
use crate::report::theme::{Style, Styles};
use crate::report::{FinalRanks, Results};

pub fn section(results: &Results) -> Section {
    let mut blocks = one(
        figure(results),
        "No runs that differ in their initial rank alone.",
    );
    blocks.extend(table(results).map(Block::Table));
    Section {
        id: "final-ranks",
        title: "Final ranks against initial",
        blocks,
    }
}

/// The points of each series, which stand together.
fn series(results: &Results) -> Vec<&[FinalRanks]> {
    let points = results.final_ranks.chunk_by(|a, b| a.series == b.series);
    points.collect()
}

fn figure(results: &Results) -> Option<Figure> {
    let all = series(results);
    if all.iter().all(|points| points.len() < 2) {
        return None;
    }
    let mut styles = Styles::default();
    let lines: Vec<(&[FinalRanks], Style)> = all
        .into_iter()
        .map(|points| (points, styles.next(&points[0].family)))
        .collect();
    let header = [
        "series",
        "initial_rank",
        "ranks",
        "scalars",
        "accuracy",
        "nll",
        "tempered_nll",
    ];
    let mut numbers = Numbers::new(&header);
    for point in &results.final_ranks {
        numbers.rows.push(vec![
            point.series.clone(),
            point.initial_rank.to_string(),
            point.ranks.mean.to_string(),
            point.adapter_parameters.to_string(),
            point.accuracy.mean.to_string(),
            point.nll.mean.to_string(),
            tempered(point).to_string(),
        ]);
    }
    let seeds: Vec<_> = results
        .final_ranks
        .iter()
        .map(|point| point.nll.by_seed.len())
        .collect();
    Some(Figure {
        name: "final-ranks".into(),
        title: "Final ranks and NLL against the initial rank".into(),
        caption: format!(
            "Runs that differ in their initial rank per layer alone, mean over {}: ranks left in all layers, and the NLL on \
             test images with a temperature fitted to validation images, BayesLoRA with gate samples. Where ranks are found \
             without tuning, lines are flat.",
            several(&seeds, "seed")
        ),
        panels: vec![
            panel("Ranks left", &lines, |point| point.ranks.mean),
            panel("NLL + temperature", &lines, tempered),
        ],
        columns: 2,
        legend: lines
            .iter()
            .map(|(points, style)| (style.clone(), points[0].series.clone()))
            .collect(),
        numbers,
    })
}

fn tempered(point: &FinalRanks) -> f64 {
    let found = point.tempered_nll.as_ref();
    found.map_or(f64::NAN, |score| score.mean)
}

fn panel(title: &str, lines: &[(&[FinalRanks], Style)], pick: fn(&FinalRanks) -> f64) -> Panel {
    let points = || lines.iter().flat_map(|(points, _)| points.iter());
    let finite = points().map(pick).filter(|value| value.is_finite());
    let y = Axis::around(title, finite, 5).padded(0.08);
    let x = points().map(|point| point.initial_rank as f64);
    let x = Axis::around("initial rank of a layer", x, 5).padded(0.05);
    let mut plot = Plot::new(title, Size::USUAL, x, y);
    for (points, style) in lines {
        let line: Vec<_> = points
            .iter()
            .map(|point| (point.initial_rank as f64, pick(point)))
            .filter(|(_, value)| value.is_finite())
            .collect();
        plot.marked_line(&line, style);
    }
    plot.finish()
}

fn table(results: &Results) -> Option<Table> {
    let line = |point: &FinalRanks| {
        let tempered = point.tempered_nll.as_ref();
        [
            format!("{}, from {}", point.series, point.initial_rank),
            spread(&point.ranks, 1),
            count(point.adapter_parameters.round() as usize),
            decimal(100.0 * point.accuracy.mean, 2),
            spread(&point.nll, 4),
            tempered.map_or("–".into(), |score| spread(score, 4)),
            format!("{} × {}", count(point.test_images), point.nll.by_seed.len()),
        ]
        .map(Cell::new)
        .to_vec()
    };
    let header = [
        "from rank",
        "ranks left",
        "trained scalars",
        "accuracy, %",
        "NLL",
        "NLL + temperature",
        "images × seeds",
    ];
    (!results.final_ranks.is_empty()).then(|| Table {
        words: false,
        caption: "Final ranks, by the rank per layer that training started from; mean ± standard deviation over seeds.".into(),
        header: header.map(String::from).to_vec(),
        rows: results.final_ranks.iter().map(line).collect(),
    })
}
