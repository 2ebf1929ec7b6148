//! Shares of counted outcomes, with intervals that hold for few of them too.

use super::interval::{Interval, normal_quantile};

/// `count` outcomes of one kind among `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    /// At most `of`.
    pub count: usize,
    /// All outcomes.
    pub of: usize,
}

impl Proportion {
    /// 0 to 1; `None` of nothing at all.
    pub fn share(self) -> Option<f64> {
        (self.of > 0).then(|| self.count as f64 / self.of as f64)
    }

    /// The share, 0 to 1, with its score interval (Wilson 1927) at this `level`, 0 to 1; `None` of nothing at all. Unlike
    /// the normal interval it neither leaves 0 to 1 nor has no width at 0 and 1, and its coverage is near its level from a
    /// handful of outcomes on (Brown, Cai and DasGupta 2001).
    pub fn wilson(self, level: f64) -> Option<Interval> {
        let (n, share) = (self.of as f64, self.share()?);
        let z = normal_quantile(0.5 + level / 2.0);
        let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let (middle, scale) = (share + z * z / (2.0 * n), 1.0 + z * z / n);
        let end = |value: f64| (value / scale).clamp(0.0, 1.0);
        Some(Interval::holding(
            share,
            end(middle - spread),
            end(middle + spread),
        ))
    }
}

/// The unweighted mean of independent shares, those of nothing left out, with its interval at this `level`; `None` where
/// all are of nothing. The distances of each share from the ends of its [Wilson interval](Proportion::wilson) are added
/// as squares (Zou, Huang and Zhang 2009), so that shares of 0 and 1 are not taken for certain.
pub fn mean_proportion(
    parts: impl IntoIterator<Item = Proportion>,
    level: f64,
) -> Option<Interval> {
    let parts = parts.into_iter().filter_map(|part| part.wilson(level));
    let parts: Vec<Interval> = parts.collect();
    if parts.is_empty() {
        return None;
    }
    let n = parts.len() as f64;
    let reach = |distance: fn(&Interval) -> f64| {
        let squares = parts.iter().map(|part| distance(part).powi(2));
        squares.sum::<f64>().sqrt() / n
    };
    let estimate = super::mean(parts.iter().map(|part| part.estimate));
    let low = estimate - reach(|part| part.estimate - part.low);
    let high = estimate + reach(|part| part.high - part.estimate);
    Some(Interval::holding(estimate, low, high))
}
