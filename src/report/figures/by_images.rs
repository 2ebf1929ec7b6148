//! Scores over the number of training images, of studies beside each other.

use crate::report::chart::{Axis, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::{Measure, measure, on_what};
use crate::report::number::count;
use crate::report::theme::{Style, Styles};
use crate::report::{Results, Row};

/// Scores that have a panel each.
const SCORES: [&str; 3] = ["nll", "accuracy", "ece"];

/// How the names of rows end whose probabilities have a temperature.
const TEMPERED: &str = "temperature";

/// A row in each of the studies.
type Line<'a> = Vec<&'a Row>;

/// `None` where the studies have no row with a temperature in common.
pub fn figure(studies: &[Results]) -> Option<Figure> {
    let lines = lines(studies);
    let images: Vec<usize> = studies.iter().map(|one| one.study.train_images).collect();
    let first: Vec<&Row> = lines
        .iter()
        .filter_map(|line| line.first().copied())
        .collect();
    if first.is_empty() {
        return None;
    }
    let mut styles = Styles::default();
    let styles: Vec<Style> = first.iter().map(|row| styles.next(&row.family)).collect();
    let measures = || SCORES.iter().filter_map(|name| measure(name));
    let mut numbers = Numbers::new(&["row", "training images", "measure", "mean", "sd"]);
    for line in &lines {
        for (row, images) in line.iter().zip(&images) {
            for (measure, score) in measures().filter_map(|one| Some((one, score(row, one)?))) {
                numbers.rows.push(vec![
                    row.title.clone(),
                    images.to_string(),
                    measure.name.into(),
                    score.0.to_string(),
                    score.1.to_string(),
                ]);
            }
        }
    }
    Some(Figure {
        name: "by-images".into(),
        title: "Scores by the number of training images".into(),
        caption: format!(
            "NLL and ECE (lower is better) and accuracy (higher is better) with a temperature, of the rows that every study has, \
             on {}; means over seeds. Intervals are in the tables below.",
            on_what(lines.iter().flatten().copied())
        ),
        panels: measures()
            .map(|measure| panel(measure, &images, &lines, &styles))
            .collect(),
        columns: 3,
        legend: styles
            .iter()
            .cloned()
            .zip(first.iter().map(|row| row.title.clone()))
            .collect(),
        numbers,
    })
}

/// The rows with a temperature whose titles every study has.
fn lines(studies: &[Results]) -> Vec<Line<'_>> {
    let [first, ..] = studies else {
        return Vec::new();
    };
    let tempered = first.rows.iter().filter(|row| row.name.ends_with(TEMPERED));
    let everywhere = |row: &Row| {
        let same = |results: &'_ Results| {
            let mut places = 0..results.rows.len();
            places.find(|place| results.rows[*place].title == row.title)
        };
        studies
            .iter()
            .map(|results| Some(&results.rows[same(results)?]))
            .collect()
    };
    tempered.filter_map(everywhere).collect()
}

/// Mean and standard deviation over seeds.
fn score(row: &Row, measure: &Measure) -> Option<(f64, f64)> {
    let score = row.scores.get(measure.name)?.debiased();
    Some((score.mean, score.sd))
}

fn panel(measure: &Measure, images: &[usize], lines: &[Line], styles: &[Style]) -> Panel {
    let rows = lines.iter().flatten();
    let ends = rows.filter_map(|row| Some(score(row, measure)?.0));
    let ticks = images.iter().map(|images| (*images as f64, count(*images)));
    let x = Axis::log2("training images", ticks.collect()).padded(0.05);
    let y = Axis::around(measure.title, ends, 5);
    let mut plot = Plot::new(measure.title, Size::USUAL, x, y);
    for (line, style) in lines.iter().zip(styles) {
        let points = line.iter().zip(images);
        let points =
            points.filter_map(|(row, images)| Some((*images as f64, score(row, measure)?.0)));
        plot.marked_line(&points.collect::<Vec<_>>(), style);
    }
    plot.finish()
}
