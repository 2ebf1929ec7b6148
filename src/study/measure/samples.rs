//! Scores over the number of gate samples, from the largest number that was drawn.

use super::scores::short_scores;
use super::{Answers, Material};
use crate::formats::npy::Probabilities;
use crate::report::{SampleCurve, SamplePoint};
use crate::study::runs::MOST_SAMPLES;
use crate::study::{Cost, Place, Stored, StudyError};

/// The curve of the gated headline run: 0 (mean weights), 1, 2, 4 .. samples.
pub fn curves(material: &Material) -> Result<Vec<SampleCurve>, StudyError> {
    let [_, spec] = material.headline();
    let stored = Stored::samples("test", MOST_SAMPLES);
    let labels = &material.test.labels;
    let mut drawn = Vec::new();
    for seed in 1..=spec.seeds {
        let place = Place::new(material.out, &spec.name, seed);
        if place.has(&stored) {
            drawn.push((seed, place.read(&stored)?));
        }
    }
    let Some(images) = drawn.iter().map(|(_, all)| all.examples).min() else {
        return Ok(Vec::new());
    };
    let passes = Cost::read(material.out)?.map_or(Vec::new(), |cost| cost.passes());
    let counts = std::iter::successors(Some(1), |count| Some(count * 2));
    let counts = counts.take_while(|count| *count <= MOST_SAMPLES);
    let mut points = Vec::new();
    for samples in [0].into_iter().chain(counts) {
        let mut answers = Vec::new();
        for (seed, all) in &drawn {
            answers.push(match samples {
                0 => {
                    let mean = Stored::samples("test", 0);
                    let Some(mean) = material.answers(spec, *seed, &mean, labels)? else {
                        continue;
                    };
                    mean.first(images)
                }
                count => Answers::new(&first_samples(all, count), labels)?,
            });
        }
        let [accuracy, nll, ece] = short_scores(&answers)?;
        points.push(SamplePoint {
            samples,
            accuracy,
            nll,
            ece,
            passes: passes
                .iter()
                .find(|(count, _)| *count == samples)
                .map(|(_, passes)| *passes),
        });
    }
    Ok(vec![SampleCurve {
        title: spec.title.clone(),
        family: spec.config.method.name().into(),
        test_images: images,
        points,
    }])
}

fn first_samples(all: &Probabilities, samples: usize) -> Probabilities {
    Probabilities {
        values: all.values[..samples * all.examples * all.classes].to_vec(),
        samples,
        ..*all
    }
}
