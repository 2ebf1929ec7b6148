//! Images that the model is most and least sure of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;

use crate::report::block::{Block, Section};
use crate::report::chart::picture;
use crate::report::figure::{Figure, Numbers};
use crate::report::number::decimal;
use crate::report::{Example, Results};

pub fn section(results: &Results) -> Section {
    let groups = [
        ("least-sure", "Least sure", "the lowest confidence"),
        ("most-sure", "Most sure", "the highest confidence"),
        (
            "sure-and-wrong",
            "Sure and wrong",
            "the highest confidence among the wrong answers",
        ),
    ];
    let figures = groups
        .into_iter()
        .filter_map(|(group, title, what)| figure(results, group, title, what));
    let mut blocks: Vec<_> = figures.map(Block::Figure).collect();
    if blocks.is_empty() {
        blocks.push(Block::missing("No example images were kept."));
    }
    Section {
        id: "examples",
        title: "Examples",
        blocks,
    }
}

fn figure(results: &Results, group: &str, title: &str, what: &str) -> Option<Figure> {
    let of_group = results
        .examples
        .iter()
        .filter(|example| example.group == group);
    let mut panels = Vec::new();
    let header = ["label", "answer", "confidence", "mutual_information"];
    let mut numbers = Numbers::new(&header);
    for example in of_group {
        panels.extend(image(example).map(|image| picture(&image, &lines(example))));
        numbers.rows.push(vec![
            example.label.clone(),
            example.answer.clone(),
            example.confidence.to_string(),
            example.mutual_information.to_string(),
        ]);
    }
    if panels.is_empty() {
        return None;
    }
    Some(Figure {
        name: format!("examples-{group}"),
        title: title.into(),
        caption: format!(
            "The {} test images with {what}: the answer, the label where it is another, the probability of the \
             answer, and the mutual information between answer and gates (MI, nats; higher means that the \
             samples disagree). Enlarged, not smoothed.",
            panels.len()
        ),
        panels,
        columns: 6,
        legend: Vec::new(),
        numbers,
    })
}

/// `None` where its pixels are no square of that side.
fn image(example: &Example) -> Option<RgbImage> {
    let side = u32::try_from(example.side).ok().filter(|side| *side > 0)?;
    RgbImage::from_raw(side, side, STANDARD.decode(&example.pixels).ok()?)
}

fn lines(example: &Example) -> Vec<String> {
    let verdict = match example.answer == example.label {
        true => "right".to_owned(),
        false => format!("wrong, is {}", example.label),
    };
    vec![
        example.answer.clone(),
        verdict,
        format!(
            "{} sure, MI {}",
            decimal(example.confidence, 3),
            decimal(example.mutual_information, 3)
        ),
    ]
}
