//! Intervals by resampling examples: BCa (Efron 1987) for what is nearly unbiased; for calibration errors, which are
//! biased by more than they spread, the basic interval around the debiased error. `docs/study.md` has their coverage.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::gaps::Gaps;
use super::interval::{Interval, normal_cdf, normal_quantile};

/// Groups of examples that the jackknife leaves out in turn.
const GROUPS: usize = 100;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples, each of as many examples as there are, drawn with replacement.
    pub resamples: usize,
    /// How often the interval shall hold the true value, 0..1.
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
    /// BCa interval of a statistic of `n` examples. `statistic` is called with the indices of the examples to use, first
    /// with `0..n`; an index repeats as often as its example was drawn. The acceleration comes from a jackknife that
    /// leaves out a hundredth of the examples at a time (single ones below a hundred), so that it costs a hundred calls.
    ///
    /// It suits statistics whose bias is small beside their spread: [`Bootstrap::calibration`] is for calibration errors.
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
        let mut all: Vec<usize> = (0..n).collect();
        let estimates = statistics(&all);
        let resampled = self.resample(n, &statistics);
        // Files are often in order of their classes: groups by place would not be alike.
        all.shuffle(&mut Pcg64::new(u128::from(self.seed), u128::MAX));
        let groups = if n > 1 { n.min(GROUPS) } else { 0 };
        let left_out: Vec<[f64; K]> = (0..groups)
            .into_par_iter()
            .map(|group| {
                let others = all.iter().enumerate();
                let others = others.filter(|(place, _)| place % groups != group);
                statistics(&others.map(|(_, example)| *example).collect::<Vec<_>>())
            })
            .collect();
        std::array::from_fn(|place| {
            let values = resampled.iter().map(|values| values[place]).collect();
            let left_out: Vec<f64> = left_out.iter().map(|values| values[place]).collect();
            let mean = super::mean(left_out.iter().copied());
            let acceleration = acceleration(left_out.iter().map(|value| mean - value));
            self.bca(estimates[place], values, acceleration)
        })
    }

    /// BCa interval of a mean over examples, such as that of [`nll_each`](super::nll_each).
    ///
    /// # Panics
    /// If `values` is empty or `resamples` is 0.
    pub fn mean(&self, values: &[f64]) -> Interval {
        let mean = |drawn: &[usize]| super::mean(drawn.iter().map(|&i| values[i]));
        let estimate = super::mean(values.iter().copied());
        let acceleration = acceleration(values.iter().map(|value| value - estimate));
        self.bca(estimate, self.resample(values.len(), mean), acceleration)
    }

    /// Basic interval `[2T - q_high, 2T - q_low]` of a calibration error, or of a difference of two, around its debiased
    /// value 2T - mean(T*), where T is that of the examples as they are and T* that of a resample (Davison and Hinkley 1997,
    /// chapters 2 and 5). BCa fails here: every resample may have a larger error than the examples themselves.
    ///
    /// Gaps of exactly 0 have more bias than a resample shows. So where an error is no larger than what gaps of 0 give in
    /// this share of the resamples, sum_b |D*_b - D_b|, the interval reaches on by the whole of its debiased value: down to
    /// 0 for a single error, which is never below that.
    ///
    /// # Panics
    /// If there are no examples or `resamples` is 0.
    pub fn calibration(&self, gaps: &Gaps) -> Interval {
        let found = gaps.means();
        let resampled: Vec<[[f64; 2]; 2]> = self.resample(gaps.examples(), |drawn: &[usize]| {
            let means = gaps.means_of(drawn);
            let noise: Vec<f64> = means.iter().zip(&found).map(|(a, b)| a - b).collect();
            [gaps.errors(&means), gaps.errors(&noise)]
        });
        let errors = gaps.errors(&found);
        let reach = |side: usize| {
            let noise = sorted(resampled.iter().map(|[_, noise]| noise[side]));
            let mean = super::mean(resampled.iter().map(|[errors, _]| errors[side]));
            match errors[side] <= quantile(&noise, self.level) {
                true => (2.0 * errors[side] - mean).max(0.0),
                false => 0.0,
            }
        };
        let values = sorted(resampled.iter().map(|[errors, _]| errors[0] - errors[1]));
        let (error, tail) = (errors[0] - errors[1], (1.0 - self.level) / 2.0);
        let estimate = 2.0 * error - super::mean(values.iter().copied());
        let low = 2.0 * error - quantile(&values, 1.0 - tail) - reach(0);
        let high = 2.0 * error - quantile(&values, tail) + reach(1);
        let least = match gaps.is_difference() {
            true => f64::NEG_INFINITY,
            false => 0.0,
        };
        Interval::holding(estimate.max(least), low.max(least), high.max(least))
    }

    /// What `statistic` says of every resample.
    fn resample<T: Send>(&self, n: usize, statistic: impl Fn(&[usize]) -> T + Sync) -> Vec<T> {
        assert!(
            n > 0 && self.resamples > 0,
            "at least one example and one resample"
        );
        (0..self.resamples)
            .into_par_iter()
            .map(|resample| {
                // A stream a resample: threads then cannot change what is drawn.
                let mut rng = Pcg64::new(u128::from(self.seed), resample as u128);
                let drawn: Vec<usize> = (0..n).map(|_| rng.random_range(0..n)).collect();
                statistic(&drawn)
            })
            .collect()
    }

    /// Efron 1987, with half of the ties below the estimate.
    fn bca(&self, estimate: f64, values: Vec<f64>, acceleration: f64) -> Interval {
        let values = sorted(values.into_iter());
        let below = values.partition_point(|value| *value < estimate);
        let up_to = values.partition_point(|value| *value <= estimate);
        let share = (below + up_to) as f64 / (2 * values.len()) as f64;
        let least = 0.5 / values.len() as f64;
        let bias = normal_quantile(share.clamp(least, 1.0 - least));
        let end = |z: f64| {
            let moved = bias + z;
            quantile(
                &values,
                normal_cdf(bias + moved / (1.0 - acceleration * moved).max(f64::MIN_POSITIVE)),
            )
        };
        let z = normal_quantile(0.5 + self.level / 2.0);
        Interval::holding(estimate, end(-z), end(z))
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

/// sum u^3 / (6 (sum u^2)^(3/2)) of the influences of examples, or of groups of them; 0 where there are none.
fn acceleration(influences: impl Iterator<Item = f64>) -> f64 {
    let (mut squares, mut cubes) = (0.0, 0.0);
    for influence in influences {
        squares += influence * influence;
        cubes += influence * influence * influence;
    }
    match squares > 0.0 {
        true => cubes / (6.0 * squares.powf(1.5)),
        false => 0.0,
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
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
