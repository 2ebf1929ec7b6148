//! Scores under corruptions.

use super::scores::short_scores;
use super::{Answers, Material};
use crate::data::{Corruption, SEVERITIES};
use crate::report::CorruptionCurve;
use crate::study::runs::SAMPLES;
use crate::study::{RunSpec, Stored, StudyError};

/// Every corruption of the headline runs; LoRA with its temperature too.
pub fn curves(material: &Material) -> Result<Vec<CorruptionCurve>, StudyError> {
    let [plain, gated] = material.headline();
    let mut curves = of(material, plain, 0, false)?;
    curves.extend(of(material, plain, 0, true)?);
    curves.extend(of(material, gated, SAMPLES, false)?);
    Ok(curves)
}

fn of(
    material: &Material,
    spec: &RunSpec,
    samples: usize,
    tempered: bool,
) -> Result<Vec<CorruptionCurve>, StudyError> {
    let stored = Stored::samples("corrupted", samples);
    let severities = SEVERITIES.count();
    let cells = Corruption::ALL.len() * severities;
    // The same images in every cell, which lie one after the other.
    let images = material.settings.corrupted_images.min(material.test.len());
    let labels = material.test.labels[..images].repeat(cells);
    let (seeds, mut answers) = material.by_seed(spec, &stored, &labels)?;
    if answers.is_empty() {
        return Ok(Vec::new());
    }
    if tempered {
        let clean = Stored::samples("validation", samples);
        for (seed, answers) in seeds.iter().zip(&mut answers) {
            let labels = material.validation_labels;
            if let Some(clean) = material.answers(spec, *seed, &clean, labels)? {
                *answers = answers.tempered(clean.temperature()?);
            }
        }
    }
    let cell = |answers: &Answers, number: usize| {
        let range = number * images..(number + 1) * images;
        let classes = answers.classes;
        Answers {
            log_probs: answers.log_probs[range.start * classes..range.end * classes].to_vec(),
            mutual_information: answers.mutual_information[range.clone()].to_vec(),
            labels: answers.labels[range].to_vec(),
            classes,
        }
    };
    let way = match (samples, tempered) {
        (0, false) => String::new(),
        (0, true) => " + temperature".into(),
        (count, _) => format!(", {count} samples"),
    };
    let mut curves = Vec::new();
    for (place, corruption) in Corruption::ALL.into_iter().enumerate() {
        let mut curve = CorruptionCurve {
            row: format!(
                "{}/{}{}",
                spec.name,
                stored.way,
                if tempered { "+temperature" } else { "" }
            ),
            title: format!("{}{way}", spec.title),
            family: spec.config.method.name().into(),
            corruption: corruption.name().into(),
            test_images: images,
            ..CorruptionCurve::default()
        };
        for severity in 0..severities {
            let number = place * severities + severity;
            let cells: Vec<Answers> = answers.iter().map(|all| cell(all, number)).collect();
            let [accuracy, nll, ece] = short_scores(&cells)?;
            curve.accuracy.push(accuracy.mean);
            curve.nll.push(nll.mean);
            curve.ece.push(ece.mean);
        }
        curves.push(curve);
    }
    Ok(curves)
}
