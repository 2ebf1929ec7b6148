//! Wrong answers that the model was sure of, and images that it is unsure of.

use image::RgbImage;

use super::material::Material;
use super::pictures;
use crate::report::block::{Block, Cell, Section, Table};
use crate::report::figure::Numbers;
use crate::report::number::{count, counted, decimal};

/// Pictures of each section.
pub const PICTURES: usize = 12;

/// Mistakes that the page lists.
const LISTED: usize = 100;

/// `csv` is the name of the file with all of them.
pub fn surest<E>(
    material: &Material,
    csv: &str,
    picture_of: &impl Fn(usize) -> Result<RgbImage, E>,
) -> Result<Section, E> {
    let mistakes = material.mistakes();
    let mut blocks = Vec::new();
    if mistakes.is_empty() {
        blocks.push(Block::Text("No image is classified wrong.".into()));
    } else {
        blocks.push(Block::Text(format!(
            "Where the model is sure and the label says otherwise, the label may be wrong: look at these first. {csv}, beside \
             this page, has all {}.",
            counted(mistakes.len(), "wrong answer")
        )));
        let shown = &mistakes[..mistakes.len().min(PICTURES)];
        let heads = (
            "surest-mistakes".into(),
            "Sure and wrong".into(),
            format!(
                "{}, the surest first: above, the answer; below it, the label.",
                counted(shown.len(), "wrong answer")
            ),
        );
        let figure = pictures::figure(material, heads, shown, picture_of)?;
        blocks.push(Block::Figure(figure));
        let title = format!("List of the first {}", count(mistakes.len().min(LISTED)));
        blocks.push(Block::folded(
            title,
            vec![Block::Table(table(material, &mistakes))],
        ));
    }
    Ok(Section {
        id: "mistakes",
        title: "Surest mistakes",
        blocks,
    })
}

pub fn least_sure<E>(
    material: &Material,
    picture_of: &impl Fn(usize) -> Result<RgbImage, E>,
) -> Result<Section, E> {
    let mut images = material.surest_first();
    images.reverse();
    images.truncate(PICTURES);
    let heads = (
        "least-sure".into(),
        "In doubt".into(),
        format!(
            "{} with the lowest confidence: the answer, and the label where it is another. {}",
            counted(images.len(), "image"),
            pictures::KEY
        ),
    );
    let figure = pictures::figure(material, heads, &images, picture_of)?;
    Ok(Section {
        id: "least-sure",
        title: "Least sure",
        blocks: vec![Block::Figure(figure)],
    })
}

fn table(material: &Material, mistakes: &[usize]) -> Table {
    let row = |&image: &usize| {
        let label = material.label(image);
        let probability = material.predictions.probs()[image * material.names.len() + label];
        vec![
            Cell::new(&material.places[image]),
            Cell::new(&material.names[label]),
            Cell::new(&material.names[material.answers[image]]),
            Cell::new(decimal(f64::from(material.confidence[image]), 4)),
            Cell::new(decimal(f64::from(probability), 4)),
        ]
    };
    Table {
        words: true,
        caption: "Wrong answers, the surest first, with the probabilities of the answer and of the label.".into(),
        header: ["image", "label", "answer", "p(answer)", "p(label)"]
            .map(String::from)
            .to_vec(),
        rows: mistakes.iter().take(LISTED).map(row).collect(),
    }
}

/// All wrong answers, the surest first.
pub fn numbers(material: &Material) -> Numbers {
    let columns = [&pictures::COLUMNS[..], &["label_probability"]].concat();
    let mut numbers = Numbers::new(&columns);
    let classes = material.names.len();
    for image in material.mistakes() {
        let place = image * classes + material.label(image);
        let mut row = pictures::row(material, image);
        row.push(material.predictions.probs()[place].to_string());
        numbers.rows.push(row);
    }
    numbers
}
