//! Cuts of the headline runs against the same runs uncut.

use super::scores::{EachImage, correct_each, mean_score, over_seeds};
use super::{Answers, Material};
use crate::metrics::{Bootstrap, mean_kl, nll_each};
use crate::report::{CutEffect, CutPoint, Score};
use crate::study::{
    CutLine, CutRecord, Place, RunSpec, SAMPLED_SHARE, SAMPLES, Stored, StudyError, cut_lines,
};

/// Every line of both headline runs, from no cut on, as far as there are answers.
pub fn cuts(material: &Material, bootstrap: &Bootstrap) -> Result<Vec<CutPoint>, StudyError> {
    let mut points = Vec::new();
    for spec in material.headline() {
        let gated = spec.config.method.gates().is_some();
        let seeds: Vec<(u64, Vec<CutRecord>)> = (1..=spec.seeds)
            .filter_map(|seed| records(material, spec, seed).transpose())
            .collect::<Result<_, _>>()?;
        // What is at random is so by seed.
        let lines = seeds.iter().map(|(seed, _)| cut_lines(gated, *seed));
        let lines: Vec<Vec<CutLine>> = lines.collect();
        for number in 0..lines.first().map_or(0, Vec::len) {
            let all = seeds.iter().zip(&lines);
            let line = Line {
                material,
                spec,
                seeds: all
                    .map(|((seed, records), lines)| (*seed, &records[..], lines[number]))
                    .collect(),
            };
            for share in std::iter::once(&1.0).chain(material.settings.cut_shares) {
                points.push(line.point(*share, bootstrap)?);
            }
        }
    }
    Ok(points)
}

fn records(
    material: &Material,
    spec: &RunSpec,
    seed: u64,
) -> Result<Option<(u64, Vec<CutRecord>)>, StudyError> {
    let records = Place::new(material.out, &spec.name, seed).read_cuts()?;
    Ok(records.map(|records| (seed, records)))
}

/// One basis and order of one run.
struct Line<'a> {
    material: &'a Material<'a>,
    spec: &'a RunSpec,
    seeds: Vec<(u64, &'a [CutRecord], CutLine)>,
}

impl Line<'_> {
    fn point(&self, share: f64, bootstrap: &Bootstrap) -> Result<CutPoint, StudyError> {
        let record = |name: fn(&CutRecord) -> f64| -> Score {
            let of = self.seeds.iter().filter_map(|(_, records, line)| {
                let mut records = records.iter();
                records.find(|record| {
                    (record.gauge.as_str(), record.order.as_str(), record.share)
                        == (line.gauge.name(), line.order.name(), share)
                })
            });
            over_seeds(of.map(name).collect())
        };
        let line = self.seeds[0].2;
        let pairs = self.pairs("validation", share, 0)?;
        let validation = changes(&pairs, bootstrap)?;
        let uncut = |name: EachImage| -> Result<Vec<f64>, StudyError> {
            let seeds = pairs.iter().map(|(before, _)| {
                let values = name(&before.predictions()?);
                Ok(values.iter().sum::<f64>() / values.len() as f64)
            });
            seeds.collect()
        };
        let foretold = record(|record| record.predicted_nll_change);
        let predicted = uncut(nll_each)?.into_iter().zip(&foretold.by_seed);
        let test = match share {
            SAMPLED_SHARE => self.pairs("test", share, SAMPLES)?,
            _ => Vec::new(),
        };
        let sampled = match test.is_empty() {
            true => None,
            false => Some(changes(&test, bootstrap)?),
        };
        Ok(CutPoint {
            run: self.spec.name.clone(),
            title: self.spec.title.clone(),
            family: self.spec.config.method.name().into(),
            gauge: line.gauge.name().into(),
            order: line.order.name().into(),
            share: Some(share),
            ranks: record(|record| record.ranks as f64).mean,
            scalars: Some(record(|record| record.scalars as f64).mean),
            predicted_nll: Some(over_seeds(
                predicted.map(|(nll, more)| nll + more).collect(),
            )),
            predicted_kl: Some(record(|record| record.predicted_kl)),
            accuracy: validation.accuracy,
            nll: validation.nll,
            kl: Some(validation.kl),
            test: Some(changes(&self.pairs("test", share, 0)?, bootstrap)?),
            sampled,
        })
    }

    /// Answers before and after the cut on the same images, by seed.
    fn pairs(
        &self,
        set: &str,
        share: f64,
        samples: usize,
    ) -> Result<Vec<(Answers, Answers)>, StudyError> {
        let Material {
            validation_labels,
            test,
            ..
        } = self.material;
        let labels = match set {
            "validation" => validation_labels,
            _ => &test.labels[..],
        };
        let mut pairs = Vec::new();
        for (seed, _, line) in &self.seeds {
            let uncut = Stored::samples(set, samples);
            let cut = match share {
                1.0 => uncut.clone(),
                _ => Stored::cut(set, *line, share, samples),
            };
            let answers = |stored| self.material.answers(self.spec, *seed, stored, labels);
            if let (Some(before), Some(after)) = (answers(&uncut)?, answers(&cut)?) {
                let most = match set {
                    "test" => self.material.settings.test_images,
                    _ => after.images(),
                };
                let n = before.images().min(after.images()).min(most);
                pairs.push((before.first(n), after.first(n)));
            }
        }
        Ok(pairs)
    }
}

/// What a cut does, by seed and with intervals over the images.
fn changes(pairs: &[(Answers, Answers)], bootstrap: &Bootstrap) -> Result<CutEffect, StudyError> {
    let each = |values: EachImage| -> Result<[Score; 2], StudyError> {
        let (mut after, mut change) = (Vec::new(), Vec::new());
        for (uncut, cut) in pairs {
            let (before, now) = (values(&uncut.predictions()?), values(&cut.predictions()?));
            change.push(
                now.iter()
                    .zip(&before)
                    .map(|(now, was)| now - was)
                    .collect(),
            );
            after.push(now);
        }
        Ok([after, change].map(|by_seed| mean_score(&by_seed, bootstrap)))
    };
    let kl = |(before, after): &(Answers, Answers)| {
        mean_kl(&before.log_probs, &after.log_probs, before.classes)
    };
    let ([nll, nll_change], [accuracy, accuracy_change]) = (each(nll_each)?, each(correct_each)?);
    Ok(CutEffect {
        images: pairs.iter().map(|(_, cut)| cut.images()).min().unwrap_or(0),
        nll,
        nll_change,
        accuracy,
        accuracy_change,
        kl: over_seeds(pairs.iter().map(kl).collect()),
    })
}
