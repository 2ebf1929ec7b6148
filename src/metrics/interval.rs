//! An estimate with its interval, and the p-value that the two imply.

use libm::erfc;
use serde::{Deserialize, Serialize};

/// An estimate between the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the examples as they are; a calibration error without its
    /// [bias](super::Bootstrap::calibration).
    pub estimate: f64,
    /// Lower end, at most the estimate.
    pub low: f64,
    /// Upper end, at least the estimate.
    pub high: f64,
}

impl Interval {
    /// Widened to its own estimate: the quantiles of a few resamples may all lie on one side of it.
    pub(super) fn holding(estimate: f64, low: f64, high: f64) -> Self {
        Self {
            estimate,
            low: low.min(estimate),
            high: high.max(estimate),
        }
    }

    /// The two-sided p-value of "it is 0" that an interval of this `level` implies, 0..1: below `1 - level` just where
    /// the interval leaves 0 out. The half on the side of 0 is taken for that of a normal distribution (Altman and
    /// Bland 2011), so that p can be smaller than one over the resamples.
    pub fn p_value(&self, level: f64) -> f64 {
        if self.estimate == 0.0 {
            return 1.0;
        }
        let holds_estimate = self.low <= self.estimate && self.estimate <= self.high;
        let half = match (holds_estimate, self.estimate > 0.0) {
            (true, true) => self.estimate - self.low,
            (true, false) => self.high - self.estimate,
            // As percentile intervals of biased statistics do.
            (false, _) => (self.high - self.low) / 2.0,
        };
        let errors = normal_quantile(0.5 + level / 2.0) * self.estimate.abs() / half;
        2.0 * normal_cdf(-errors)
    }
}

/// Phi(z)
pub(super) fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// The z with Phi(z) = p, by bisection; -40 or 40 beyond them.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        match normal_cdf(middle) < p {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}
