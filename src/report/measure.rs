//! What a score is called, how many digits it has, and which way is better.

use super::number::{between, counted};
use super::{Comparison, Row, Verdict};

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

impl Comparison {
    /// The verdict of the interval itself, whatever the file says.
    pub fn decided(&self) -> Verdict {
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
