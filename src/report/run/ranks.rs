//! Ranks by layer, and how training came to them.

use super::material::Material;
use crate::report::block::{Block, Section};
use crate::report::chart::{Dot, dots};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{count, decimal};
use crate::report::theme::Styles;
use crate::report::{LayerRanks, Row, RunResults, figures};

pub fn section(material: &Material) -> Section {
    let results = material.results;
    let mut blocks = match results.layers.is_empty() {
        true => vec![Block::Text(
            "The run has no ranks: the head alone was trained.".into(),
        )],
        false => vec![Block::Figure(figure(results))],
    };
    let row = row(results);
    let of = |place: usize| row.training.get(place).map(|point| &point.ranks);
    if row.training.iter().any(|point| Some(&point.ranks) != of(0)) {
        blocks.push(Block::Figure(figures::ranks(&[&row], "")));
    }
    Section {
        id: "ranks",
        title: "Ranks by layer",
        blocks,
    }
}

/// Training as the study's figures take it.
fn row(results: &RunResults) -> Row {
    Row {
        name: results.family.clone(),
        title: results.method.clone(),
        family: results.family.clone(),
        training: results.training.clone(),
        ..Row::default()
    }
}

pub fn training(material: &Material) -> Section {
    let results = material.results;
    let block = match results.training.is_empty() {
        true => Block::missing("The run has no record of its epochs."),
        false => {
            let images = results.about.validation_images;
            Block::Figure(figures::training(&[&row(results)], images, ""))
        }
    };
    Section {
        id: "training",
        title: "Training",
        blocks: vec![block],
    }
}

fn figure(results: &RunResults) -> Figure {
    let mut numbers = Numbers::new(&["layer", "initial", "left", "effective"]);
    let row = |layer: &LayerRanks| {
        vec![
            layer.name.clone(),
            layer.initial.to_string(),
            layer.left.to_string(),
            layer.effective.to_string(),
        ]
    };
    numbers.rows = results.layers.iter().map(row).collect();
    let dot = |layer: &LayerRanks| Dot {
        title: layer.name.clone(),
        style: Styles::default().next(&results.family),
        value: layer.left as f64,
        text: format!("{} of {}", layer.left, layer.initial),
        interval: None,
        seeds: vec![layer.effective],
    };
    let list: Vec<Dot> = results.layers.iter().map(dot).collect();
    let sum = |of: fn(&LayerRanks) -> usize| count(results.layers.iter().map(of).sum());
    let effective: f64 = results.layers.iter().map(|layer| layer.effective).sum();
    Figure {
        name: "ranks-left".into(),
        title: "Ranks left".into(),
        caption: format!(
            "Ranks of each adapted layer, from the images' end at the top: {} of {} are left. Small dots: the effective rank, \
             the sum of 1/(1 + α) over the ranks of a layer, {} in all; further left where gates are noisier.",
            sum(|layer| layer.left),
            sum(|layer| layer.initial),
            decimal(effective, 1)
        ),
        panels: vec![dots("By layer", "ranks", &list, true)],
        columns: 2,
        legend: Vec::new(),
        numbers,
    }
}
