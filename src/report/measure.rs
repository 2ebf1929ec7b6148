//! What a score is called, how many digits it has, and which way is better.

use super::number::{between, counted};
use super::{Comparison, Row, Score, Study, Verdict};
use crate::metrics::holm;

/// A column of tables, an axis of figures.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// As in [`Row::scores`].
    pub name: &'static str,
    pub title: &'static str,
    pub digits: usize,
    /// `None` where neither way is better.
    pub higher_is_better: Option<bool>,
}

const fn lower(name: &'static str, title: &'static str, digits: usize) -> Measure {
    Measure {
        name,
        title,
        digits,
        higher_is_better: Some(false),
    }
}

const fn neutral(name: &'static str, title: &'static str, digits: usize) -> Measure {
    Measure {
        name,
        title,
        digits,
        higher_is_better: None,
    }
}

/// In the order of the tables.
pub const MEASURES: [Measure; 16] = [
    lower("nll", "NLL", 4),
    Measure {
        name: "accuracy",
        title: "accuracy",
        digits: 4,
        higher_is_better: Some(true),
    },
    lower("ece", "ECE", 4),
    lower("brier", "Brier score", 4),
    lower("aurc", "AURC", 4),
    lower("e_aurc", "E-AURC", 4),
    lower("adaptive_ece", "adaptive ECE", 4),
    lower("classwise_ece", "classwise ECE", 4),
    neutral("signed_gap", "signed gap", 4),
    lower("risk_80", "risk at 80 %", 4),
    lower("risk_90", "risk at 90 %", 4),
    lower("risk_95", "risk at 95 %", 4),
    neutral("mean_entropy", "entropy", 3),
    neutral("mean_mutual_information", "mutual information", 4),
    neutral("temperature", "temperature", 3),
    neutral("prior_precision", "prior precision", 1),
];

/// So many of them, from the first, are compared pair by pair.
pub const COMPARED: usize = 5;

/// The one with this name.
pub fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}

impl Score {
    /// The score that its interval belongs to: calibration errors without their bias, which is the same for each seed
    /// here; others as they are.
    pub fn debiased(&self) -> Self {
        let mean = self
            .interval
            .map_or(self.mean, |interval| interval.estimate);
        let bias = self.mean - mean;
        Self {
            mean,
            by_seed: self.by_seed.iter().map(|value| value - bias).collect(),
            ..self.clone()
        }
    }
}

impl Study {
    /// What kind of intervals the file has.
    pub fn intervals(&self) -> &str {
        match self.intervals.as_str() {
            "" => "percentile bootstrap, which does not correct the bias of calibration errors",
            kind => kind,
        }
    }
}

/// Of the intervals, and one minus it of the chance that any verdict of a family is wrong.
pub const LEVEL: f64 = 0.95;

/// What may be said of each comparison: by its interval, if the p-value that this implies stays below 5 % after Holm's
/// correction over its family, all comparisons of the same measure.
pub fn verdicts(comparisons: &[Comparison]) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = comparisons.iter().map(Comparison::uncorrected).collect();
    for measure in &MEASURES {
        let (family, p_values): (Vec<usize>, Vec<f64>) = comparisons
            .iter()
            .enumerate()
            .filter(|(_, comparison)| comparison.measure == measure.name)
            .filter_map(|(place, comparison)| Some((place, comparison.difference?.p_value(LEVEL))))
            .unzip();
        for (place, p) in family.into_iter().zip(holm(&p_values)) {
            if p >= 1.0 - LEVEL {
                verdicts[place] = Verdict::Undecided;
            }
        }
    }
    verdicts
}

impl Comparison {
    /// The verdict of the interval itself, as if this were the only comparison, whatever the file says.
    pub fn uncorrected(&self) -> Verdict {
        let higher = measure(&self.measure).and_then(|measure| measure.higher_is_better);
        match (self.difference, higher) {
            (Some(d), Some(higher)) if d.low > 0.0 => Verdict::of(higher),
            (Some(d), Some(higher)) if d.high < 0.0 => Verdict::of(!higher),
            _ => Verdict::Undecided,
        }
    }
}

impl Verdict {
    fn of(better: bool) -> Self {
        if better { Self::Better } else { Self::Worse }
    }

    /// Seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::Better => Self::Worse,
            Self::Worse => Self::Better,
            Self::Undecided => Self::Undecided,
        }
    }
}

/// `10,000 test images, 5 seeds`, for captions.
pub fn on_what<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> String {
    let images: Vec<usize> = rows.clone().map(|row| row.test_images).collect();
    let seeds: Vec<usize> = rows.map(|row| row.seeds.len()).collect();
    format!(
        "{}, {}",
        several(&images, "test image"),
        several(&seeds, "seed")
    )
}

/// `5 seeds`, `3 to 5 seeds`
pub fn several(counts: &[usize], one: &str) -> String {
    match counts {
        [first, rest @ ..] if rest.iter().all(|count| count == first) => counted(*first, one),
        _ => format!("{} {one}s", between(counts.iter().copied())),
    }
}
