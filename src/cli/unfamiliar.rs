//! `eval --unfamiliar`: how well images of other classes are told from those of the test set.

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::reuse::Before;
use bayeslora::low_level::data::{Dataset, OpenOptions, open_test};
use bayeslora::low_level::formats::Head;
use bayeslora::low_level::metrics::{
    Bootstrap, Interval, Predictions, PredictionsError, auroc, drawn_scores, fpr95,
    uncertainty_scores,
};
use bayeslora::low_level::predict::ood::{OodDetector, energies};
use bayeslora::low_level::predict::{Evaluated, Predictor, Source};
use serde::Serialize;

use super::context::{self, Bar};
use super::location::Location;
use super::ood::features_of;
use super::output;
use super::promised::percent;
use super::run::Run;
use super::tables;
use super::test_set::TestArgs;

/// The first is what the others are compared with.
const NAMES: [&str; 3] = ["max probability", "entropy", "mutual information"];

/// How well scores tell the unfamiliar.
#[derive(Serialize)]
pub struct Unfamiliar {
    data: Location,
    images: usize,
    scores: Vec<Detection>,
    /// What becomes of the detector that `calibrate --false-alarms` has fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<Alarms>,
}

#[derive(Serialize)]
struct Detection {
    score: String,
    auroc: Interval,
    fpr95: f64,
    /// AUROC minus that of the largest probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Interval>,
}

#[derive(Serialize)]
struct Alarms {
    false_alarms: f64,
    /// Share of the test images that is called unfamiliar.
    of_test: f64,
    /// Share of the unfamiliar ones that is.
    of_unfamiliar: f64,
}

/// Images of `data` whose class the run does not know.
pub fn open(data: &Location, run: &Run, args: &TestArgs, bar: &Bar) -> Result<Dataset> {
    let options = OpenOptions {
        side: run.adapter.resolution,
        skip_bad_images: args.skips_bad_images(),
        progress: Some(&|done, total| bar.show("reading images", done, total)),
        ..OpenOptions::default()
    };
    let all = open_test(data, &options).context("--unfamiliar")?;
    context::report_skipped(&all);
    let all = all.interleaved();
    let known = &run.adapter.classes;
    let is_unknown = |image: &usize| !known.contains(&all.classes[all.labels[*image] as usize]);
    let unknown: Vec<usize> = (0..all.len()).filter(is_unknown).collect();
    let mut unknown = all.subset(&unknown);
    if let Some(record) = &run.data {
        let new = Before::of(&unknown, record).new;
        let own = unknown.len() - new.len();
        if own > 0 {
            output::note(&format!(
                "warning: --unfamiliar {data}: {own} of {} images are the run's own, under other class names, and are left out",
                unknown.len()
            ));
        }
        unknown = unknown.subset(&new);
    }
    let most = args.limit().unwrap_or(usize::MAX).min(unknown.len());
    let mut unknown = unknown.subset(&(0..most).collect::<Vec<_>>());
    ensure!(
        !unknown.is_empty(),
        "--unfamiliar {data}: nothing in it is of a class that the run does not know; name a set with others"
    );
    // Their own classes are none of the run's.
    unknown.labels.fill(0);
    unknown.classes = known.as_slice().into();
    Ok(unknown)
}

/// What looks at the inputs of a head; an ensemble has no one head.
pub struct Look<'a> {
    pub predictor: &'a Predictor,
    pub head: &'a Head,
    /// The run's, if it has one.
    pub detector: Option<OodDetector>,
}

/// Compares what was said of a test set with what is said of unfamiliar images.
pub fn compare(
    data: &Location,
    (test, of_test): (&Source, &Evaluated),
    (unknown, of_unknown): (&Source, &Evaluated),
    look: Option<&Look>,
    bar: &Bar,
) -> Result<Unfamiliar> {
    let classes = test.dataset.classes.len();
    let pairs = scored(of_test, classes)?
        .into_iter()
        .zip(scored(of_unknown, classes)?);
    let mut scores: Vec<(String, Vec<f64>, Vec<f64>)> = NAMES
        .into_iter()
        .zip(pairs)
        .map(|(name, (known, unknown))| (name.to_owned(), known, unknown))
        .collect();
    let mut alarms = None;
    if let Some(look) = look {
        let features = |source| features_of(look.predictor, source, bar);
        let features = [features(test)?, features(unknown)?];
        let mut add = |name: &str, score: &dyn Fn(&[f32]) -> Vec<f64>| {
            let [known, unknown] = features.each_ref().map(|features| score(features));
            scores.push((name.to_owned(), known, unknown));
        };
        add("energy", &|features| energies(features, look.head));
        if let Some(detector) = &look.detector {
            add(detector.score().name(), &|features| {
                let scores = detector.scores(features).into_iter();
                scores.map(f64::from).collect()
            });
            let share = |features: &[f32]| {
                let found = detector.familiarities(features);
                found.iter().filter(|one| one.unfamiliar).count() as f64 / found.len() as f64
            };
            alarms = Some(Alarms {
                false_alarms: detector.false_alarms(),
                of_test: share(&features[0]),
                of_unfamiliar: share(&features[1]),
            });
        }
    }
    Ok(Unfamiliar {
        data: data.clone(),
        images: unknown.dataset.len(),
        scores: detections(&scores),
        alarms,
    })
}

/// As [`NAMES`]; the higher, the less familiar.
fn scored(evaluated: &Evaluated, classes: usize) -> Result<[Vec<f64>; 3], PredictionsError> {
    let labels = vec![0; evaluated.log_probs.len() / classes];
    let predictions = Predictions::from_log_probs(&evaluated.log_probs, &labels, classes)?;
    Ok(uncertainty_scores(
        &predictions,
        &evaluated.mutual_information,
    ))
}

/// The first is what the others are compared with.
fn detections(scores: &[(String, Vec<f64>, Vec<f64>)]) -> Vec<Detection> {
    let (_, base_known, base_unknown) = &scores[0];
    let all = base_known.len() + base_unknown.len();
    let detection = |place: usize| {
        let (name, known, unknown) = &scores[place];
        let areas = |drawn: &[usize]| {
            let area = |known: &[f64], unknown: &[f64]| {
                let sides = drawn_scores(drawn, known, unknown);
                sides.map_or(0.5, |[known, unknown]| auroc(&known, &unknown))
            };
            let found = area(known, unknown);
            [found, found - area(base_known, base_unknown)]
        };
        let [area, difference] = Bootstrap::default().intervals(all, areas);
        Detection {
            score: name.clone(),
            auroc: area,
            fpr95: fpr95(known, unknown),
            difference: (place > 0).then_some(difference),
        }
    };
    (0..scores.len()).map(detection).collect()
}

impl Unfamiliar {
    pub fn in_words(&self) -> String {
        let header = [
            "told apart by",
            "AUROC",
            "95 % interval",
            "against max probability",
            "FPR95",
        ];
        let mut table = tables::new(&header, &[1, 2, 3, 4]);
        for one in &self.scores {
            let difference = one.difference.map_or(String::new(), |difference| {
                let [value, low, high] = [difference.estimate, difference.low, difference.high]
                    .map(|value| tables::change(value, 3));
                format!("{value} ({low} to {high})")
            });
            table.add_row([
                one.score.clone(),
                format!("{:.3}", one.auroc.estimate),
                format!("{:.3} to {:.3}", one.auroc.low, one.auroc.high),
                difference,
                format!("{:.3}", one.fpr95),
            ]);
        }
        let alarms = match &self.alarms {
            None => "`bayeslora calibrate --false-alarms 0.05` fits a score to the run's features"
                .into(),
            Some(alarms) => format!(
                "called unfamiliar: {:.1} % of these, {:.1} % of the test images (at most {} promised)",
                100.0 * alarms.of_unfamiliar,
                100.0 * alarms.of_test,
                percent(alarms.false_alarms)
            ),
        };
        format!(
            "{} images of other classes from {} against the test images:\n{}\n{alarms}",
            self.images,
            self.data,
            table.trim_fmt()
        )
    }
}
