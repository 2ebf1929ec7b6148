//! Test images that the model is very sure or very unsure of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Material;
use crate::report::Example;
use crate::study::runs::SAMPLES;
use crate::study::{Stored, StudyError};

/// Images of a group.
const SHOWN: usize = 8;

/// By the gated headline run with its first seed.
pub fn examples(material: &Material) -> Result<Vec<Example>, StudyError> {
    let [_, spec] = material.headline();
    let stored = Stored::samples("test", SAMPLES);
    let Some(answers) = material.answers(spec, 1, &stored, &material.test.labels)? else {
        return Ok(Vec::new());
    };
    let predictions = answers.predictions()?;
    let (confidence, correct) = (predictions.confidence(), predictions.correct());
    let answered = predictions.answers();
    let mut order: Vec<usize> = (0..answers.images()).collect();
    order.sort_by(|a, b| confidence[*b].total_cmp(&confidence[*a]));
    let wrong = order.iter().filter(|image| !correct[**image]);
    let groups: [(&str, Vec<usize>); 3] = [
        ("most-sure", order.iter().take(SHOWN).copied().collect()),
        (
            "least-sure",
            order.iter().rev().take(SHOWN).copied().collect(),
        ),
        ("sure-and-wrong", wrong.take(SHOWN).copied().collect()),
    ];
    let classes = &material.test.classes;
    let mut examples = Vec::new();
    for (group, images) in groups {
        for image in images {
            examples.push(Example {
                group: group.into(),
                label: classes[answers.labels[image] as usize].clone(),
                answer: classes[answered[image]].clone(),
                confidence: f64::from(confidence[image]),
                mutual_information: f64::from(answers.mutual_information[image]),
                side: material.test.side,
                pixels: STANDARD.encode(material.test.image(image)?),
            });
        }
    }
    Ok(examples)
}
