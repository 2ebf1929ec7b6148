//! How kappa was chosen: NLL against ranks.

use super::one;
use crate::report::block::{Block, Section};
use crate::report::chart::{Axis, NamedPoint, Panel, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::counted;
use crate::report::tables;
use crate::report::theme::Styles;
use crate::report::{KappaPoint, Results};

pub fn section(results: &Results) -> Section {
    let mut blocks = one(
        figure(results),
        "No values of --kl-multiplicity were compared, or none has finished.",
    );
    blocks.extend(tables::weight_decays(results).map(Block::Table));
    Section {
        id: "kappa",
        title: "Choice of κ",
        blocks,
    }
}

type Pick = fn(&KappaPoint) -> f64;

fn figure(results: &Results) -> Option<Figure> {
    let points = &results.kappa;
    if points.is_empty() {
        return None;
    }
    let mut styles = Styles::default();
    let (samples, mean) = (styles.next("bayeslora"), styles.next("bayeslora"));
    let nll: [(Pick, _); 2] = [
        (|point| point.nll, &samples),
        (|point| point.nll_mean, &mean),
    ];
    let accuracy: [(Pick, _); 1] = [(|point| point.accuracy, &samples)];
    let ece: [(Pick, _); 1] = [(|point| point.ece, &samples)];
    let panels = vec![
        panel("NLL", points, &nll),
        panel("Accuracy", points, &accuracy),
        panel("ECE", points, &ece),
    ];
    let header = [
        "kl_multiplicity",
        "rank",
        "soft_rank",
        "accuracy",
        "nll_mean",
        "nll",
        "ece",
        "chosen",
    ];
    let mut numbers = Numbers::new(&header);
    for point in points {
        let mut row = vec![point.kl_multiplicity.clone()];
        let values = [
            point.rank,
            point.soft_rank,
            point.accuracy,
            point.nll_mean,
            point.nll,
            point.ece,
        ];
        row.extend(values.map(|value| value.to_string()));
        row.push(point.chosen.to_string());
        numbers.rows.push(row);
    }
    let by = match results.study.kappa_by.as_str() {
        "" => String::new(),
        rule => format!(", chosen by {rule}"),
    };
    let chosen = match points.iter().find(|point| point.chosen) {
        Some(point) => format!(
            "A ring marks the value that the other runs use, {}{by}.",
            point.kl_multiplicity
        ),
        None => "No value is marked as chosen.".into(),
    };
    Some(Figure {
        name: "kappa".into(),
        title: "NLL against ranks left, by κ".into(),
        caption: format!(
            "Each point is a run with its own --kl-multiplicity (written beside it), scored on {}: NLL and ECE \
             (lower is better) and accuracy (higher is better), all with gate samples but where the legend \
             says otherwise. One seed a value. {chosen} The test set took no part.",
            counted(results.study.validation_images, "validation image")
        ),
        panels,
        columns: 3,
        legend: vec![
            (samples, "gate samples".into()),
            (mean, "mean weights".into()),
        ],
        numbers,
    })
}

fn panel(
    title: &str,
    points: &[KappaPoint],
    series: &[(Pick, &crate::report::theme::Style)],
) -> Panel {
    let mut points: Vec<_> = points.iter().collect();
    points.sort_by(|a, b| a.rank.total_cmp(&b.rank));
    let y = points
        .iter()
        .flat_map(|point| series.iter().map(|(pick, _)| pick(point)));
    let y = Axis::around(title, y, 5).padded(0.08);
    let x = Axis::around("ranks left", points.iter().map(|point| point.rank), 5).padded(0.05);
    let mut plot = Plot::new(title, Size::USUAL, x, y);
    for (pick, style) in series {
        let line: Vec<_> = points
            .iter()
            .map(|point| (point.rank, pick(point)))
            .collect();
        plot.marked_line(&line, style);
    }
    let (pick, _) = series[0];
    let mut named = Vec::new();
    for point in points {
        let at = (point.rank, pick(point));
        if point.chosen {
            plot.ring(at);
        }
        named.push(NamedPoint {
            at,
            gap: if point.chosen { 9.0 } else { 5.0 },
            name: &point.kl_multiplicity,
        });
    }
    plot.name_points(&named);
    plot.finish()
}
