//! Every score of a row, over seeds and images.

use std::collections::BTreeMap;

use super::Answers;
use crate::metrics::{
    Bootstrap, DEFAULT_BINS, Gaps, Predictions, PredictionsError, accuracy,
    adaptive_calibration_error, aurc, brier_each, classwise_calibration_error, e_aurc,
    entropy_each, expected_calibration_error, nll_each, risk_at_coverage, signed_gap,
};
use crate::report::Score;

/// Mean and spread of a number over seeds.
pub fn over_seeds(values: Vec<f64>) -> Score {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let sd = match values.len() {
        0 | 1 => 0.0,
        _ => (squares / (n - 1.0)).sqrt(),
    };
    Score {
        mean,
        sd,
        interval: None,
        by_seed: values,
    }
}

/// Class probabilities of one seed, to be resampled.
pub struct Resampled<'a> {
    predictions: Predictions<'a>,
}

impl<'a> Resampled<'a> {
    pub fn new(answers: &'a Answers) -> Result<Self, PredictionsError> {
        Ok(Self {
            predictions: answers.predictions()?,
        })
    }

    /// A statistic of the predictions on the images that were drawn.
    pub fn of<T>(&self, drawn: &[usize], statistic: impl Fn(&Predictions) -> T) -> T {
        let classes = self.predictions.classes();
        let (probs, labels) = (self.predictions.probs(), self.predictions.labels());
        let rows = drawn.iter().flat_map(|i| &probs[i * classes..][..classes]);
        let probs: Vec<f32> = rows.copied().collect();
        let labels: Vec<u32> = drawn.iter().map(|i| labels[*i]).collect();
        let drawn = Predictions::new(&probs, &labels, classes);
        statistic(&drawn.expect("parts of sound predictions are sound"))
    }
}

/// A value an image.
pub type EachImage = fn(&Predictions) -> Vec<f64>;

/// A calibration error: its name, its value as the literature has it, and the gaps that it is made of.
type Calibration = (
    &'static str,
    fn(&Predictions) -> f64,
    fn(&Predictions) -> Gaps,
);

const CALIBRATION: [Calibration; 3] = [
    (
        "ece",
        |p| expected_calibration_error(&p.confidence(), &p.correct(), DEFAULT_BINS),
        ece_gaps,
    ),
    (
        "adaptive_ece",
        |p| adaptive_calibration_error(&p.confidence(), &p.correct(), DEFAULT_BINS),
        |p| Gaps::adaptive(&p.confidence(), &p.correct(), DEFAULT_BINS),
    ),
    (
        "classwise_ece",
        |p| classwise_calibration_error(p, DEFAULT_BINS),
        |p| Gaps::classwise(p, DEFAULT_BINS),
    ),
];

/// What the expected calibration error is made of.
pub fn ece_gaps(predictions: &Predictions) -> Gaps {
    let (confidence, correct) = (predictions.confidence(), predictions.correct());
    Gaps::expected(&confidence, &correct, DEFAULT_BINS)
}

/// Other scores that are not means over images.
const WHOLE: [&str; 6] = [
    "signed_gap",
    "aurc",
    "e_aurc",
    "risk_80",
    "risk_90",
    "risk_95",
];

fn whole(predictions: &Predictions) -> [f64; 6] {
    let (confidence, correct) = (predictions.confidence(), predictions.correct());
    let risk = |coverage| risk_at_coverage(&confidence, &correct, coverage);
    [
        signed_gap(&confidence, &correct),
        aurc(&confidence, &correct),
        e_aurc(&confidence, &correct),
        risk(0.8),
        risk(0.9),
        risk(0.95),
    ]
}

/// The scores of one method on the same images with several seeds. The intervals are of the mean over
/// the seeds, resampled over the images, which all seeds share.
///
/// # Errors
/// An answer is not a distribution.
pub fn scores(
    seeds: &[Answers],
    bootstrap: &Bootstrap,
) -> Result<BTreeMap<String, Score>, PredictionsError> {
    let mut scores = BTreeMap::new();
    let all: Vec<Resampled> = seeds.iter().map(Resampled::new).collect::<Result<_, _>>()?;
    let n = seeds.iter().map(Answers::images).min().unwrap_or(0);
    let each: [(&str, EachImage); 4] = [
        ("nll", nll_each),
        ("brier", brier_each),
        ("accuracy", correct_each),
        ("mean_entropy", entropy_each),
    ];
    for (name, values) in each {
        let by_seed: Vec<Vec<f64>> = all.iter().map(|seed| values(&seed.predictions)).collect();
        let score = mean_score(&by_seed, bootstrap);
        scores.insert(name.to_owned(), score);
    }
    let information: Vec<Vec<f64>> = seeds
        .iter()
        .map(|seed| {
            seed.mutual_information
                .iter()
                .map(|v| f64::from(*v))
                .collect()
        })
        .collect();
    let score = mean_score(&information, bootstrap);
    scores.insert("mean_mutual_information".to_owned(), score);
    for (name, error, gaps) in CALIBRATION {
        let values = all.iter().map(|seed| error(&seed.predictions)).collect();
        let gaps: Vec<Gaps> = all.iter().map(|seed| gaps(&seed.predictions)).collect();
        let score = Score {
            interval: Some(bootstrap.calibration(&Gaps::mean(&gaps))),
            ..over_seeds(values)
        };
        scores.insert(name.to_owned(), score);
    }
    let by_seed: Vec<[f64; 6]> = all.iter().map(|seed| whole(&seed.predictions)).collect();
    let intervals = bootstrap.intervals(n, |drawn| {
        let found = all.iter().map(|seed| seed.of(drawn, whole));
        mean_of(found, all.len())
    });
    for (place, name) in WHOLE.iter().enumerate() {
        let values = by_seed.iter().map(|values| values[place]).collect();
        let score = Score {
            interval: Some(intervals[place]),
            ..over_seeds(values)
        };
        scores.insert((*name).to_owned(), score);
    }
    Ok(scores)
}

/// 1 where the answer is right.
pub fn correct_each(predictions: &Predictions) -> Vec<f64> {
    let correct = predictions.correct().into_iter();
    correct
        .map(|correct| f64::from(u8::from(correct)))
        .collect()
}

/// The mean over images and seeds of a value an image `[seed][image]`, with its interval.
pub fn mean_score(by_seed: &[Vec<f64>], bootstrap: &Bootstrap) -> Score {
    let means = by_seed.iter().map(|values| mean(values)).collect();
    Score {
        interval: Some(bootstrap.mean(&mean_over_seeds(by_seed))),
        ..over_seeds(means)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean over seeds of each image's value.
pub fn mean_over_seeds(by_seed: &[Vec<f64>]) -> Vec<f64> {
    let n = by_seed.iter().map(Vec::len).min().unwrap_or(0);
    let seeds = by_seed.len() as f64;
    (0..n)
        .map(|image| by_seed.iter().map(|values| values[image]).sum::<f64>() / seeds)
        .collect()
}

pub fn mean_of<const K: usize>(values: impl Iterator<Item = [f64; K]>, count: usize) -> [f64; K] {
    let sum = values.fold([0.0; K], |sum: [f64; K], values| {
        std::array::from_fn(|place| sum[place] + values[place])
    });
    sum.map(|value| value / count as f64)
}

/// Accuracy, NLL and ECE of some seeds, without intervals.
///
/// # Errors
/// An answer is not a distribution.
pub fn short_scores(seeds: &[Answers]) -> Result<[Score; 3], PredictionsError> {
    let found: Vec<[f64; 3]> = seeds
        .iter()
        .map(|answers| {
            let predictions = answers.predictions()?;
            let (confidence, correct) = (predictions.confidence(), predictions.correct());
            Ok([
                accuracy(&predictions),
                mean(&nll_each(&predictions)),
                expected_calibration_error(&confidence, &correct, DEFAULT_BINS),
            ])
        })
        .collect::<Result<_, PredictionsError>>()?;
    Ok([0, 1, 2].map(|place| over_seeds(found.iter().map(|v| v[place]).collect())))
}
