//! From stored predictions to `results.json`.

mod answers;
mod compare;
mod corrupted;
mod cuts;
mod detection;
mod examples;
mod final_ranks;
mod pairs;
mod rows;
mod samples;
mod scores;
mod targets;
mod training;
mod unfamiliar;

use std::path::Path;

pub use answers::{Answers, ensemble};
pub use training::epoch_point;

use super::{Chosen, CutTo, Place, RunSpec, Settings, Stored, StudyError};
use crate::data::Dataset;
use crate::metrics::Bootstrap;
use crate::report::{Results, Study};

/// How the intervals of a study are made.
const INTERVALS: &str = "BCa bootstrap; of calibration errors and their differences the basic bootstrap around the debiased value";

/// What a study is made of, and what its files do not say.
pub struct Material<'a> {
    pub out: &'a Path,
    pub settings: &'a Settings,
    pub chosen: &'a Chosen,
    /// The runs that kappa was chosen by.
    pub candidates: &'a [RunSpec],
    /// Those that weight decay was chosen by.
    pub decays: &'a [RunSpec],
    pub runs: &'a [RunSpec],
    pub validation_labels: &'a [u32],
    pub test: &'a Dataset,
    /// Of the test images without the held-out classes.
    pub known_labels: &'a [u32],
    /// Names of the unfamiliar sets, and of the classes that some runs were trained without.
    pub unfamiliar: &'a [String],
    pub held_out: &'a [String],
    /// The head of the report, times and environments left out.
    pub study: Study,
}

/// A method with a way to predict, and its answers by seed on the test set.
#[derive(Clone)]
struct Entry<'a> {
    name: String,
    title: String,
    family: &'static str,
    headline: bool,
    spec: Option<&'a RunSpec>,
    /// Of its adapters, where they were cut to fewer ranks.
    cut: Option<CutTo>,
    /// How many finished adapters of another run answer together.
    around: Option<(&'a RunSpec, usize)>,
    /// Of the gates.
    samples: usize,
    seeds: Vec<u64>,
    answers: Vec<Answers>,
    /// Fitted to validation images, by seed.
    temperatures: Vec<f64>,
    /// Of Laplace posteriors, by seed.
    precisions: Vec<f64>,
}

impl Entry<'_> {
    /// Of a row with more images and seeds.
    fn is_excerpt(&self) -> bool {
        self.spec.is_some_and(|spec| spec.is_headline) && !self.headline
    }

    /// What it is compared by: the rank before any cut in training, or that it was cut to afterwards; `None` where answers
    /// of several runs are put together.
    fn rank(&self) -> Option<usize> {
        let cut = self.cut.map(|cut| cut.rank);
        cut.or(self.spec.map(|spec| spec.config.rank))
    }

    /// Where its answers on a set are.
    fn stored(&self, set: &str) -> Stored {
        match self.cut {
            Some(cut) => Stored::cut_to(set, cut, self.samples),
            None => Stored::samples(set, self.samples),
        }
    }
}

/// Everything that the files there are can say; what is missing is said too.
///
/// # Errors
/// A file is damaged.
pub fn measure(
    material: &Material,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Results, StudyError> {
    let bootstrap = Bootstrap {
        resamples: material.settings.resamples,
        ..Bootstrap::default()
    };
    let (mut entries, missing) = rows::entries(material)?;
    let excerpts = rows::excerpts(material, &entries);
    let parts = entries.len() + excerpts.len() + 5;
    progress(0, parts);
    let mut done = 0;
    let mut advance = || {
        done += 1;
        progress(done.min(parts), parts);
    };
    let comparisons = pairs::comparisons(&entries, &bootstrap)?;
    advance();
    let small = entries.iter().position(|entry| !entry.headline);
    let small = small.unwrap_or(entries.len());
    entries.splice(small..small, excerpts);
    let mut rows = Vec::new();
    for entry in &entries {
        rows.push(rows::row(material, entry, &bootstrap)?);
        advance();
    }
    pairs::name_the_best(&entries, &mut rows, &bootstrap)?;
    advance();
    let unfamiliar = unfamiliar::sets(material, &bootstrap)?;
    advance();
    let corruptions = corrupted::curves(material)?;
    let sample_counts = samples::curves(material)?;
    advance();
    let mut results = Results {
        study: training::study(material)?,
        final_ranks: final_ranks::final_ranks(material, &rows),
        rows,
        comparisons,
        kappa: training::kappa(material)?,
        weight_decays: training::weight_decays(material)?,
        prunes: training::prunes(material)?,
        cuts: cuts::cuts(material, &bootstrap)?,
        sample_counts,
        unfamiliar,
        corruptions,
        examples: examples::examples(material)?,
        targets: Vec::new(),
        missing,
    };
    results.targets = targets::targets(material, &results);
    advance();
    Ok(results)
}

impl<'a> Material<'a> {
    /// What one run with one seed has answered; `None` where it is not there yet.
    fn answers(
        &self,
        spec: &RunSpec,
        seed: u64,
        stored: &Stored,
        labels: &[u32],
    ) -> Result<Option<Answers>, StudyError> {
        let place = Place::new(self.out, &spec.name, seed);
        if !place.has(stored) {
            return Ok(None);
        }
        let found = place.read(stored)?;
        if found.examples > labels.len() {
            return Err(StudyError::Fault {
                path: place.file(stored),
                what: format!(
                    "has answers on {} images, and there are {}",
                    found.examples,
                    labels.len()
                ),
            });
        }
        Ok(Some(Answers::new(&found, labels)?))
    }

    /// Of all seeds that are there.
    fn by_seed(
        &self,
        spec: &RunSpec,
        stored: &Stored,
        labels: &[u32],
    ) -> Result<(Vec<u64>, Vec<Answers>), StudyError> {
        let mut found = (Vec::new(), Vec::new());
        for seed in 1..=spec.seeds {
            if let Some(answers) = self.answers(spec, seed, stored, labels)? {
                found.0.push(seed);
                found.1.push(answers);
            }
        }
        Ok(found)
    }

    /// The test labels that a run counts by.
    fn test_labels(&self, spec: &RunSpec) -> &[u32] {
        match spec.without_classes {
            true => self.known_labels,
            false => &self.test.labels,
        }
    }

    /// Runs on all classes that are asked something.
    fn complete(&self) -> impl Iterator<Item = &'a RunSpec> {
        let is_complete = |spec: &&RunSpec| !spec.without_classes && !spec.asks.is_empty();
        self.runs.iter().filter(is_complete)
    }

    /// The runs of the claims: plain and gated, with the study's rank.
    fn headline(&self) -> [&'a RunSpec; 2] {
        [&self.runs[0], &self.runs[1]]
    }
}
