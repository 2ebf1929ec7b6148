//! Percentile intervals by resampling examples (Efron and Tibshirani 1993, chapter 13).

use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// An estimate between the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the examples as they are.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples, each of as many examples as there are, drawn with replacement.
    pub resamples: usize,
    /// Share of the resampled statistics that the interval holds, 0..1.
    pub level: f64,
    /// Same seed, same interval, on any number of threads.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 1,000 resamples, a level of 95 %, seed 0.
    fn default() -> Self {
        Self {
            resamples: 1000,
            level: 0.95,
            seed: 0,
        }
    }
}

impl Bootstrap {
    /// Interval of a statistic of `n` examples. `statistic` is called with the indices of the examples
    /// to use, first with `0..n`; an index repeats as often as its example was drawn.
    ///
    /// It is no cure for bias: the expected calibration error is biased upwards on every resample too.
    ///
    /// # Panics
    /// If `n` or `resamples` is 0.
    pub fn interval(&self, n: usize, statistic: impl Fn(&[usize]) -> f64 + Sync) -> Interval {
        let [interval] = self.intervals(n, |drawn| [statistic(drawn)]);
        interval
    }

    /// Intervals of several statistics of the same resamples.
    ///
    /// # Panics
    /// If `n` or `resamples` is 0.
    pub fn intervals<const K: usize>(
        &self,
        n: usize,
        statistics: impl Fn(&[usize]) -> [f64; K] + Sync,
    ) -> [Interval; K] {
        assert!(
            n > 0 && self.resamples > 0,
            "at least one example and one resample"
        );
        let all: Vec<usize> = (0..n).collect();
        let estimates = statistics(&all);
        let resampled: Vec<[f64; K]> = (0..self.resamples)
            .into_par_iter()
            .map(|resample| {
                // A stream a resample: threads then cannot change what is drawn.
                let mut rng = Pcg64::new(u128::from(self.seed), resample as u128);
                let drawn: Vec<usize> = (0..n).map(|_| rng.random_range(0..n)).collect();
                statistics(&drawn)
            })
            .collect();
        let tail = (1.0 - self.level) / 2.0;
        std::array::from_fn(|place| {
            let mut values: Vec<f64> = resampled.iter().map(|values| values[place]).collect();
            values.sort_unstable_by(f64::total_cmp);
            Interval {
                estimate: estimates[place],
                low: quantile(&values, tail),
                high: quantile(&values, 1.0 - tail),
            }
        })
    }

    /// Interval of a mean over examples, such as that of [`nll_each`](super::nll_each).
    ///
    /// # Panics
    /// If `values` is empty or `resamples` is 0.
    pub fn mean(&self, values: &[f64]) -> Interval {
        self.interval(values.len(), |drawn| {
            super::mean(drawn.iter().map(|&i| values[i]))
        })
    }

    /// Interval of mean(a) - mean(b), where `a[i]` and `b[i]` are two methods' values on example i.
    ///
    /// Both are resampled together, so the difficulty of the examples, which they share, cancels. For
    /// other statistics pass their difference to [`Bootstrap::interval`].
    ///
    /// # Panics
    /// If the slices differ in length or are empty, or `resamples` is 0.
    pub fn paired_difference(&self, a: &[f64], b: &[f64]) -> Interval {
        assert_eq!(a.len(), b.len(), "both methods on the same examples");
        let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        self.mean(&difference)
    }
}

/// Quantile q of sorted values, linear between neighbours (NumPy's default).
///
/// # Panics
/// If there are no values.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}
