//! Several studies that differ in their number of training images, beside each other.

use super::block::{Block, Cell, Section, Table};
use super::figures;
use super::measure::MEASURES;
use super::number::{count, range, spread};
use super::page::Part;
use super::{Results, Row};

/// Scores that have a table each.
const SCORES: [&str; 3] = ["nll", "accuracy", "ece"];

/// `None` unless there are several studies and all of them are of scale `small`.
pub fn overview(studies: &[Results]) -> Option<Part> {
    let is_small = |results: &Results| results.study.scale == "small";
    if studies.len() < 2 || !studies.iter().all(is_small) {
        return None;
    }
    let figure = figures::by_images(studies).map(|figure| Section {
        id: "comparison",
        title: "Comparison",
        blocks: vec![Block::Figure(figure)],
    });
    let tables = SCORES
        .iter()
        .map(|score| Block::Table(scores(studies, score)));
    let tables = [
        Section {
            id: "scores",
            title: "Scores",
            blocks: tables.collect(),
        },
        Section {
            id: "sizes",
            title: "Ranks and scalars",
            blocks: vec![Block::Table(sizes(studies))],
        },
    ];
    Some(Part {
        title: "By training images".into(),
        facts: "One study for each number of training images, on the same test images.".into(),
        sections: figure.into_iter().chain(tables).collect(),
    })
}

/// Titles of rows in the order of their first appearance, and a cell for each study.
fn table(studies: &[Results], caption: String, cell: impl Fn(&Row) -> Cell) -> Table {
    let mut titles: Vec<&str> = Vec::new();
    for row in studies.iter().flat_map(|results| &results.rows) {
        if !titles.contains(&row.title.as_str()) {
            titles.push(&row.title);
        }
    }
    let mut header = vec!["method".to_owned()];
    header.extend(
        studies
            .iter()
            .map(|results| format!("N = {}", count(results.study.train_images))),
    );
    let line = |title: &&str| {
        let cells = studies.iter().map(|results| {
            let row = results.rows.iter().find(|row| row.title == **title);
            row.map_or(Cell::new("–"), &cell)
        });
        std::iter::once(Cell::new(*title)).chain(cells).collect()
    };
    Table {
        words: false,
        caption,
        rows: titles.iter().map(line).collect(),
        header,
    }
}

fn scores(studies: &[Results], name: &str) -> Table {
    let measure = MEASURES.iter().find(|measure| measure.name == name);
    let measure = measure.expect("one of the measures");
    let caption = format!(
        "{} by the number N of training images: mean ± standard deviation over seeds; below it the 95 % interval of the mean \
         over test images. κ is chosen at each N, on a fifth as many validation images.",
        measure.title
    );
    table(studies, caption, |row| {
        let Some(score) = row.scores.get(name) else {
            return Cell::new("–");
        };
        let interval = score
            .interval
            .map(|interval| range(&interval, measure.digits));
        Cell {
            best: row.best_in.iter().any(|best| best == name),
            ..Cell::with(
                spread(&score.debiased(), measure.digits),
                interval.unwrap_or_default(),
            )
        }
    })
}

fn sizes(studies: &[Results]) -> Table {
    let caption = "Ranks left (mean ± standard deviation over seeds) and trained scalars.".into();
    table(studies, caption, |row| {
        let ranks = match row.rank.by_seed.is_empty() {
            true => "–".to_owned(),
            false => spread(&row.rank, 1),
        };
        let scalars = count(row.adapter_parameters.round() as usize);
        Cell::with(ranks, format!("{scalars} scalars"))
    })
}
