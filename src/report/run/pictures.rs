//! Figures of pictures, as many as a page can carry.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::material::Material;
use crate::report::chart::picture;
use crate::report::figure::{Figure, Numbers};
use crate::report::number::decimal;

/// Pixels of a side.
pub const SIDE: u32 = 96;

/// Brings an image to a size that a page can carry.
pub fn thumbnail(image: RgbImage) -> RgbImage {
    match image.width() > SIDE {
        true => imageops::resize(&image, SIDE, SIDE, FilterType::Triangle),
        false => image,
    }
}

/// What the lines under a picture mean.
pub const KEY: &str = "Sure: the probability of the answer. MI: the mutual information between answer and gates, nats, higher \
                       where the samples disagree.";

/// A picture of each image, and what is said of it.
pub fn figure<E>(
    material: &Material,
    (name, title, caption): (String, String, String),
    images: &[usize],
    picture_of: &impl Fn(usize) -> Result<RgbImage, E>,
) -> Result<Figure, E> {
    let mut panels = Vec::new();
    for &image in images {
        panels.push(picture(
            &thumbnail(picture_of(image)?),
            &lines(material, image),
        ));
    }
    let mut numbers = Numbers::new(&COLUMNS);
    numbers.rows = images.iter().map(|&image| row(material, image)).collect();
    Ok(Figure {
        name,
        title,
        caption,
        panels,
        columns: 6,
        legend: Vec::new(),
        numbers,
    })
}

fn lines(material: &Material, image: usize) -> Vec<String> {
    let label = &material.names[material.label(image)];
    let verdict = match material.correct[image] {
        true => "right".into(),
        false => format!("label: {label}"),
    };
    let confidence = decimal(f64::from(material.confidence[image]), 3);
    let mutual_information = decimal(f64::from(material.results.mutual_information[image]), 3);
    let place = &material.places[image];
    vec![
        material.names[material.answers[image]].clone(),
        verdict,
        format!("{confidence} sure, MI {mutual_information}"),
        place.rsplit('/').next().unwrap_or(place).to_owned(),
    ]
}

/// What a [row] has.
pub const COLUMNS: [&str; 5] = [
    "image",
    "label",
    "answer",
    "confidence",
    "mutual_information",
];

/// In files, as names are.
pub fn row(material: &Material, image: usize) -> Vec<String> {
    let results = material.results;
    let classes = &results.about.classes;
    vec![
        results.places[image].clone(),
        classes[material.label(image)].clone(),
        classes[material.answers[image]].clone(),
        material.confidence[image].to_string(),
        results.mutual_information[image].to_string(),
    ]
}
