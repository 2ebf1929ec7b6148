//! The classes that are most often taken for each other, with pictures.

use image::RgbImage;

use super::material::{LEVEL, Material};
use super::pictures;
use crate::metrics::{ConfusedPair, Proportion};
use crate::report::block::{Block, Cell, Section, Table};
use crate::report::number::{count, counted, decimal, range};

/// Pairs of the table.
const LISTED: usize = 10;

/// Pairs with pictures, and pictures of each.
pub const SHOWN: usize = 4;
pub const PICTURES: usize = 6;

pub fn section<E>(
    material: &Material,
    picture_of: &impl Fn(usize) -> Result<RgbImage, E>,
) -> Result<Section, E> {
    let pairs = material.confusion.pairs();
    let mut blocks = Vec::new();
    if pairs.is_empty() {
        blocks.push(Block::Text("No image is classified wrong.".into()));
    } else {
        blocks.push(Block::Table(table(material, &pairs)));
        blocks.push(Block::Text(pictures::KEY.into()));
    }
    let mistakes = material.mistakes();
    for (number, pair) in pairs.iter().take(SHOWN).enumerate() {
        let [a, b] = pair.classes;
        let is_of_pair = |image: &usize| {
            let both = [material.label(*image), material.answers[*image]];
            both == [a, b] || both == [b, a]
        };
        let images: Vec<usize> = mistakes.iter().copied().filter(is_of_pair).collect();
        let shown = &images[..images.len().min(PICTURES)];
        let [first, second] = pair.classes.map(|class| &material.names[class]);
        let which = match shown.len() < images.len() {
            true => format!("The {} surest of {} mistakes", shown.len(), images.len()),
            false => counted(images.len(), "mistake"),
        };
        let heads = (
            format!("confused-{}", number + 1),
            format!("{first} and {second}"),
            format!("{which} between the two: above, the answer; below it, the label."),
        );
        let figure = pictures::figure(material, heads, shown, picture_of)?;
        blocks.push(Block::Figure(figure));
    }
    Ok(Section {
        id: "pairs",
        title: "Most confused pairs",
        blocks,
    })
}

fn table(material: &Material, pairs: &[ConfusedPair]) -> Table {
    let cell = |label: usize, count_of: usize| {
        let share = Proportion {
            count: count_of,
            of: material.confusion.images(label),
        };
        match share.wilson(LEVEL) {
            Some(interval) => Cell::with(
                format!("{} of {}", count(share.count), count(share.of)),
                format!("{}, {}", decimal(interval.estimate, 3), range(&interval, 3)),
            ),
            None => Cell::new("–"),
        }
    };
    let row = |pair: &ConfusedPair| {
        let [a, b] = pair.classes;
        let [first, second] = pair.classes.map(|class| &material.names[class]);
        vec![
            Cell::new(format!("{first}, {second}")),
            cell(a, pair.counts[0]),
            cell(b, pair.counts[1]),
            Cell::new(count(pair.total())),
        ]
    };
    let header = [
        "pair",
        "first taken for second",
        "second taken for first",
        "mistakes",
    ];
    let listed = pairs.len().min(LISTED);
    let all = match listed < pairs.len() {
        true => format!("The first {listed} of {} pairs", pairs.len()),
        false => "All pairs".into(),
    };
    Table {
        words: false,
        caption: format!(
            "{all} of classes with mistakes between them, most mistakes first: images, their share of the class and its \
             95\u{a0}% Wilson interval."
        ),
        header: header.map(String::from).to_vec(),
        rows: pairs.iter().take(LISTED).map(row).collect(),
    }
}
