//! Which kappa, from validation images.

use crate::metrics::{
    Predictions, PredictionsError, fit_temperature, nll_each, tempered_log_probs,
};
use crate::train::default_kappa;
use crate::train::kl::KlMultiplicity;

/// What decides between the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KappaBy {
    /// The [fewest ranks](fewest_ranks) within a standard error of the lowest NLL.
    FewestRanks,
    /// The lowest NLL at the temperature that suits each value best. The temperature is fitted to the images that it is
    /// scored on: one number for each value, so that none is favoured.
    TemperedNll,
}

impl KappaBy {
    /// The NLL of every image that decides, from log probabilities `[n, classes]`.
    ///
    /// # Errors
    /// They are no distributions.
    pub fn nll_each(
        self,
        log_probs: &[f32],
        labels: &[u32],
        classes: usize,
    ) -> Result<Vec<f64>, PredictionsError> {
        let tempered = match self {
            Self::FewestRanks => None,
            Self::TemperedNll => {
                let temperature = fit_temperature(log_probs, labels, classes)?;
                Some(tempered_log_probs(log_probs, classes, temperature))
            }
        };
        let log_probs = tempered.as_deref().unwrap_or(log_probs);
        let predictions = Predictions::from_log_probs(log_probs, labels, classes)?;
        Ok(nll_each(&predictions))
    }

    /// The place of the value to take.
    ///
    /// # Panics
    /// If there is no candidate.
    pub fn best(self, ranks: &[usize], nll_each: &[&[f64]]) -> usize {
        match self {
            Self::FewestRanks => fewest_ranks(ranks, nll_each),
            Self::TemperedNll => lowest(nll_each),
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Self::FewestRanks => "validation NLL and ranks",
            Self::TemperedNll => "validation NLL at each value's own temperature",
        }
    }
}

/// Multiples of the default that `tune` and most studies try, beside `unit`.
pub const KAPPA_FACTORS: [f64; 4] = [0.1, 0.3, 1.0, 3.0];

/// The default of `train` for this many training images.
pub fn default_multiplicity(train_images: usize) -> KlMultiplicity {
    rounded(default_kappa(train_images))
}

/// To six digits: directories are named by it.
fn rounded(kappa: f64) -> KlMultiplicity {
    let rounded = format!("{kappa:.5e}").parse();
    KlMultiplicity::Value(rounded.expect("a number"))
}

/// The values to try: one KL per gate, and these multiples of a kappa.
pub fn candidates(kappa: f64, factors: &[f64]) -> Vec<KlMultiplicity> {
    let values = factors.iter().map(|factor| rounded(factor * kappa));
    [KlMultiplicity::Unit].into_iter().chain(values).collect()
}

/// The place of the lowest mean NLL. `nll_each` has one value per image for each candidate.
///
/// # Panics
/// If there is no candidate.
pub fn lowest(nll_each: &[&[f64]]) -> usize {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let places = 0..nll_each.len();
    places
        .min_by(|a, b| mean(nll_each[*a]).total_cmp(&mean(nll_each[*b])))
        .expect("at least one candidate")
}

/// The place of the fewest ranks among the candidates whose NLL is within a standard error (of the
/// paired difference) of the lowest; the lower NLL where ranks are equal.
///
/// # Panics
/// If there is no candidate.
pub fn fewest_ranks(ranks: &[usize], nll_each: &[&[f64]]) -> usize {
    let best = nll_each[lowest(nll_each)];
    let close = |place: &usize| within_an_error(nll_each[*place], best);
    let sum = |place: usize| nll_each[place].iter().sum::<f64>();
    (0..ranks.len())
        .filter(close)
        .min_by(|a, b| ranks[*a].cmp(&ranks[*b]).then(sum(*a).total_cmp(&sum(*b))))
        .expect("the lowest is close to itself")
}

fn within_an_error(nll_each: &[f64], best: &[f64]) -> bool {
    let pairs = nll_each.iter().zip(best);
    let differences: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    mean <= (squares / (n - 1.0).max(1.0) / n).sqrt()
}
