//! A threshold of the confidence above which answers are seldom wrong, as far as held-out images can promise that.

use serde::{Deserialize, Serialize};

/// Thresholds are tried at these log odds, whatever the images: one that was chosen by them could not be promised.
const LOWEST: f64 = -6.0;
const STEP: f64 = 0.05;
const COUNT: usize = 361;
/// Sequences of thresholds that the error is divided over.
const SEQUENCES: usize = 12;

/// Answers above a threshold of the confidence, and what they are promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RiskControl {
    /// At most this share of the answers is wrong, 0 to 1.
    pub max_risk: f64,
    /// With this probability over the held-out images, 0 to 1.
    pub confidence: f64,
    /// An answer is given where the largest probability is at least this.
    pub threshold: f64,
    /// Held-out images.
    pub images: usize,
    /// Of these, images that are answered.
    pub answered: usize,
    /// Of these, wrong.
    pub wrong: usize,
}

impl RiskControl {
    /// The lowest threshold that is safe: with probability `confidence` over the images `[n]` that are held out here, at most
    /// `max_risk` of the answers to others like them are wrong. `None` where so few images promise that of no threshold.
    ///
    /// Learn then test (Angelopoulos et al. 2021) with the selective risk of Geifman and El-Yaniv (2017): at a fixed threshold
    /// the k wrong ones of m answers are binomial, so P(Bin(m, max_risk) <= k) is a p-value of a higher risk. Thresholds are
    /// fixed beforehand and tested in a fixed order, each of twelve sequences from its highest on until one fails,
    /// at (1 - confidence) / 12 each.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn fit(
        confidences: &[f32],
        correct: &[bool],
        max_risk: f64,
        confidence: f64,
    ) -> Option<Self> {
        assert_eq!(confidences.len(), correct.len(), "one outcome a confidence");
        let level = (1.0 - confidence) / SEQUENCES as f64;
        let counts = |threshold: f64| {
            let all = confidences.iter().zip(correct);
            let answered = all.filter(|(one, _)| f64::from(**one) >= threshold);
            answered.fold((0, 0), |(answered, wrong), (_, correct)| {
                (answered + 1, wrong + usize::from(!correct))
            })
        };
        let is_safe = |place: &usize| {
            let (answered, wrong) = counts(threshold(*place));
            binomial_cdf(wrong, answered, max_risk) <= level
        };
        let length = COUNT / SEQUENCES;
        let starts = (1..=SEQUENCES).map(|sequence| sequence * length);
        let lowest = starts
            .filter_map(|start| (0..start).rev().take_while(is_safe).last())
            .min()?;
        let (answered, wrong) = counts(threshold(lowest));
        Some(Self {
            max_risk,
            confidence,
            threshold: threshold(lowest),
            images: correct.len(),
            answered,
            wrong,
        })
    }

    /// The least risk that so many held-out images can promise, were all of them answered and right.
    pub fn least_risk(images: usize, confidence: f64) -> f64 {
        let level = (1.0 - confidence) / SEQUENCES as f64;
        1.0 - level.powf(1.0 / images.max(1) as f64)
    }

    /// Whether an answer of this confidence is given.
    pub fn answers(&self, confidence: f32) -> bool {
        f64::from(confidence) >= self.threshold
    }
}

fn threshold(place: usize) -> f64 {
    1.0 / (1.0 + (-(LOWEST + STEP * place as f64)).exp())
}

/// P(X <= k) for X binomial with n trials of probability p; 1 without trials.
pub(crate) fn binomial_cdf(k: usize, n: usize, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    // From P(X = 0) on, in logarithms: (1 - p)^n alone underflows.
    let mut log_term = n as f64 * (-p).ln_1p();
    let mut sum = log_term.exp();
    for i in 1..=k {
        log_term += ((n - i + 1) as f64 / i as f64).ln() + p.ln() - (-p).ln_1p();
        sum += log_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::binomial_cdf;

    #[test]
    fn the_binomial_agrees_with_sums_by_hand() {
        // .9^10, and that + 10 .1 .9^9
        assert!((binomial_cdf(0, 10, 0.1) - 0.348_678_440_1).abs() < 1e-12);
        assert!((binomial_cdf(1, 10, 0.1) - 0.736_098_929_1).abs() < 1e-9);
        assert_eq!(binomial_cdf(10, 10, 0.1), 1.0);
        assert_eq!(binomial_cdf(0, 0, 0.1), 1.0);
        // Half, and half of P(X = 50,000) = 1 / sqrt(50,000 pi), about.
        assert!((binomial_cdf(50_000, 100_000, 0.5) - 0.501_262).abs() < 1e-5);
    }
}
