//! Where the ranks go: layer by epoch.

use super::one;
use crate::report::block::Section;
use crate::report::chart::{Panel, heat_map};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::theme::Styles;
use crate::report::{Results, Row};

pub fn section(results: &Results) -> Section {
    Section {
        id: "ranks",
        title: "Ranks by layer",
        blocks: one(
            of_study(results),
            "No ranks by layer: no run has written them.",
        ),
    }
}

fn of_study(results: &Results) -> Option<Figure> {
    let layered = |row: &&Row| row.training.iter().any(|point| !point.ranks.is_empty());
    // Methods that cut nothing have one shade.
    let cuts = |row: &&Row| row.family == "bayeslora";
    let rows: Vec<&Row> = results.rows.iter().filter(layered).filter(cuts).collect();
    let seeds: Vec<_> = rows.iter().map(|row| row.seeds.len()).collect();
    let over = format!(", mean over {}", several(&seeds, "seed"));
    (!rows.is_empty()).then(|| figure(&rows, &over))
}

/// Of rows with ranks by layer, which are means `over` something or not.
pub fn figure(rows: &[&Row], over: &str) -> Figure {
    let mut numbers = Numbers::new(&["row", "epoch", "layer", "rank"]);
    for row in rows {
        for point in &row.training {
            for (layer, rank) in &point.ranks {
                numbers.rows.push(vec![
                    row.name.clone(),
                    point.epoch.to_string(),
                    layer.clone(),
                    rank.to_string(),
                ]);
            }
        }
    }
    Figure {
        name: "ranks-by-layer".into(),
        title: "Ranks left by layer and epoch".into(),
        caption: format!(
            "Ranks left in each adapted layer (from the images' end at the top) after each epoch{over}. \
             Full colour is the largest rank of the panel. Fewer ranks mean a smaller adapter; neither \
             way is better by itself."
        ),
        panels: rows.iter().map(|row| panel(row)).collect(),
        columns: 3,
        legend: Vec::new(),
        numbers,
    }
}

fn panel(row: &Row) -> Panel {
    let points: Vec<_> = row
        .training
        .iter()
        .filter(|point| !point.ranks.is_empty())
        .collect();
    let layers: Vec<String> = points[0]
        .ranks
        .iter()
        .map(|(layer, _)| layer.clone())
        .collect();
    let epochs: Vec<String> = points.iter().map(|point| point.epoch.to_string()).collect();
    let rank = |layer: &String, point: &crate::report::EpochPoint| {
        let found = point.ranks.iter().find(|(name, _)| name == layer);
        found.map_or(f64::NAN, |(_, rank)| *rank)
    };
    let values: Vec<Vec<f64>> = layers
        .iter()
        .map(|layer| points.iter().map(|point| rank(layer, point)).collect())
        .collect();
    let full = values.iter().flatten().copied().fold(1.0, f64::max);
    let colour = Styles::default().next(&row.family).colour;
    heat_map(&row.title, "epoch", &layers, &epochs, &values, full, colour)
}
