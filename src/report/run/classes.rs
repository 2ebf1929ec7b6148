//! Recall and precision of every class.

use super::material::{LEVEL, Material};
use crate::metrics::Proportion;
use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Dot, Panel, dots};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{count, decimal, range};
use crate::report::provenance::classes as counted_classes;
use crate::report::theme::Styles;

/// Classes of the figure.
const SHOWN: usize = 30;

/// Images of a class below which its numbers say little.
const FEW: usize = 10;

pub fn section(material: &Material) -> Section {
    let confusion = &material.confusion;
    let few = (0..confusion.classes()).filter(|class| confusion.images(*class) < FEW);
    let few = few.count();
    let mut blocks = Vec::new();
    if few > 0 {
        blocks.push(Block::Text(format!(
            "Classes with fewer than {FEW} images here: {few} of {}. The intervals show how little these tell.",
            confusion.classes()
        )));
    }
    blocks.push(Block::Figure(figure(material)));
    let title = format!("Table of {}", counted_classes(confusion.classes()));
    blocks.push(Block::folded(title, vec![Block::Table(table(material))]));
    Section {
        id: "classes",
        title: "Classes",
        blocks,
    }
}

/// The lowest recall first, classes without images last.
fn order(material: &Material) -> Vec<usize> {
    let recall = |class: usize| {
        let recall = material.confusion.recall(class).wilson(LEVEL);
        recall.map_or(f64::INFINITY, |recall| recall.estimate)
    };
    let mut order: Vec<usize> = (0..material.names.len()).collect();
    order.sort_by(|a, b| recall(*a).total_cmp(&recall(*b)));
    order
}

fn figure(material: &Material) -> Figure {
    let confusion = &material.confusion;
    let mut shown = order(material);
    shown.truncate(SHOWN);
    let panel = |title: &str, share: &dyn Fn(usize) -> Proportion| -> Panel {
        let dot = |&class: &usize| {
            let share = share(class);
            let interval = share.wilson(LEVEL);
            Dot {
                title: material.names[class].clone(),
                style: Styles::default().next(&material.results.family),
                value: interval.map_or(f64::NAN, |interval| interval.estimate),
                text: match interval {
                    Some(interval) => format!(
                        "{}  ({} of {})",
                        decimal(interval.estimate, 2),
                        count(share.count),
                        count(share.of)
                    ),
                    None => "none".into(),
                },
                interval: interval.map(|interval| (interval.low, interval.high)),
                seeds: Vec::new(),
            }
        };
        let list: Vec<Dot> = shown.iter().map(dot).collect();
        dots(title, &title.to_lowercase(), &list, false)
    };
    let header = [
        "class",
        "images",
        "recall",
        "recall_low",
        "recall_high",
        "answers",
        "precision",
        "precision_low",
        "precision_high",
    ];
    let mut numbers = Numbers::new(&header);
    for (class, name) in material.results.about.classes.iter().enumerate() {
        let mut row = vec![name.clone()];
        for share in [confusion.recall(class), confusion.precision(class)] {
            let interval = share.wilson(LEVEL);
            let end = |end: Option<f64>| end.map_or(String::new(), |end| end.to_string());
            row.extend([
                share.of.to_string(),
                end(interval.map(|interval| interval.estimate)),
                end(interval.map(|interval| interval.low)),
                end(interval.map(|interval| interval.high)),
            ]);
        }
        numbers.rows.push(row);
    }
    let which = match shown.len() < material.names.len() {
        true => format!("the {SHOWN} classes with the lowest recall"),
        false => "every class, the lowest recall first".into(),
    };
    Figure {
        name: "classes".into(),
        title: "Recall and precision by class".into(),
        caption: format!(
            "Of {which}: the share of its images that is answered with it (recall), and the share of the answers with it \
             that is right (precision), higher is better, with 95\u{a0}% Wilson intervals."
        ),
        panels: vec![
            panel("Recall", &|class| confusion.recall(class)),
            panel("Precision", &|class| confusion.precision(class)),
        ],
        columns: 2,
        legend: Vec::new(),
        numbers,
    }
}

fn table(material: &Material) -> Table {
    let confusion = &material.confusion;
    let share = |share: Proportion| match share.wilson(LEVEL) {
        Some(interval) => Cell::with(decimal(interval.estimate, 3), range(&interval, 3)),
        None => Cell::new("–"),
    };
    let row = |class: usize| {
        let mistaken = match confusion.most_mistaken_for(class) {
            Some((other, times)) => format!("{} ({})", material.names[other], count(times)),
            None => String::new(),
        };
        vec![
            Cell::new(&material.names[class]),
            Cell::new(count(confusion.images(class))),
            share(confusion.recall(class)),
            Cell::new(count(confusion.precision(class).of)),
            share(confusion.precision(class)),
            Cell::new(mistaken),
        ]
    };
    let header = [
        "class",
        "images",
        "recall",
        "answers",
        "precision",
        "most often taken for",
    ];
    Table {
        words: false,
        caption: "The lowest recall first; 95\u{a0}% Wilson intervals; – where there is nothing to take a share of."
            .into(),
        header: header.map(String::from).to_vec(),
        rows: order(material).into_iter().map(row).collect(),
    }
}
