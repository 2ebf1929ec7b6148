//! What a learning rate range test says (Smith 2017, arXiv:1506.01186, section 3.3).

use serde::Serialize;

/// Steps of a test, and the learning rates of the first and the last; they rise by the same factor each.
pub(super) const STEPS: usize = 100;
const LOW: f64 = 1e-5;
const HIGH: f64 = 1.0;

/// Standard deviation of the Gaussian that smooths the losses, in steps: a fifth of a decade.
const SMOOTHING: f64 = 4.0;

/// Steps that are looked at together while a test runs.
const RECENT: usize = 5;

/// A test is over once the recent loss is so many times the lowest, and above the first.
const DIVERGED: f64 = 4.0;

/// The share of the first loss that the lowest must be below it for a rate to be suggested.
const LEAST_FALL: f64 = 0.05;

/// A step of a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LrPoint {
    /// Of A, B and the head.
    pub learning_rate: f64,
    /// Mean cross-entropy of the step's batch, before the step; nats.
    pub loss: f64,
    /// The same without most of the batches' noise.
    pub smoothed: f64,
}

/// Losses while the learning rate rises from step to step, until they diverge.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LrRangeTest {
    /// The steps whose loss is finite.
    pub points: Vec<LrPoint>,
    /// Whether the test ended early, as the loss had grown too far.
    pub diverged: bool,
    /// The learning rate at which the smoothed loss falls fastest, to two digits; `None` where it hardly falls at any.
    pub suggestion: Option<f64>,
}

/// The learning rate of a step.
pub(super) fn learning_rate(step: usize) -> f64 {
    LOW * (HIGH / LOW).powf(step as f64 / (STEPS - 1) as f64)
}

/// Whether it is of no use to go on after these losses.
pub(super) fn has_diverged(losses: &[f64]) -> bool {
    if losses.last().is_some_and(|loss| !loss.is_finite()) {
        return true;
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / RECENT as f64;
    let means: Vec<f64> = losses.windows(RECENT).map(mean).collect();
    let (Some(first), Some(last)) = (means.first(), means.last()) else {
        return false;
    };
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    *last > DIVERGED * lowest && last > first
}

impl LrRangeTest {
    /// Of the losses of the first steps.
    pub(super) fn new(mut losses: Vec<f64>) -> Self {
        let diverged = has_diverged(&losses);
        losses.truncate(losses.iter().take_while(|loss| loss.is_finite()).count());
        let smoothed = smoothed(&losses);
        let suggestion = steepest(&smoothed).map(|step| two_digits(learning_rate(step)));
        let pairs = losses.into_iter().zip(smoothed).enumerate();
        Self {
            points: pairs
                .map(|(step, (loss, smoothed))| LrPoint {
                    learning_rate: learning_rate(step),
                    loss,
                    smoothed,
                })
                .collect(),
            diverged,
            suggestion,
        }
    }

    /// The step with the lowest smoothed loss.
    pub fn lowest(&self) -> Option<&LrPoint> {
        let points = self.points.iter();
        points.min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))
    }
}

/// Weighted means around each step. Losses far above the first would hide what comes before them.
fn smoothed(losses: &[f64]) -> Vec<f64> {
    let first = &losses[..losses.len().min(RECENT)];
    let most = 2.0 * first.iter().sum::<f64>() / first.len().max(1) as f64;
    let mean = |step: usize| {
        let (mut sum, mut mass) = (0.0, 0.0);
        for (other, loss) in losses.iter().enumerate() {
            let weight = (-0.5 * ((other as f64 - step as f64) / SMOOTHING).powi(2)).exp();
            sum += weight * loss.min(most);
            mass += weight;
        }
        sum / mass
    };
    (0..losses.len()).map(mean).collect()
}

/// The step, up to that of the lowest loss, where the loss falls fastest.
fn steepest(smoothed: &[f64]) -> Option<usize> {
    let (lowest, least) = smoothed
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(b.1))?;
    let first = smoothed[0];
    if first - least < LEAST_FALL * first {
        return None;
    }
    let slope = |step: &usize| smoothed[step + 1] - smoothed[step - 1];
    let steps = 1..lowest.min(smoothed.len() - 1);
    steps.min_by(|a, b| slope(a).total_cmp(&slope(b)))
}

/// As it is printed, so that `lr` with that number is the same.
fn two_digits(value: f64) -> f64 {
    format!("{value:.1e}")
        .parse()
        .expect("a number just printed")
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// From ln 10 down to .8 around a learning rate, and up again without end beyond .3; with noise as of batches.
    fn losses(around: f64, noise: f64) -> Vec<f64> {
        let mut random = Pcg64::seed_from_u64(3);
        let loss = |step| {
            let rate = learning_rate(step);
            let fall = 1.5 / (1.0 + (-3.0 * (rate / around).ln()).exp());
            let rise = (rate / 0.3).powi(4);
            10f64.ln() - fall + rise + noise * random.random_range(-1.0..1.0)
        };
        let mut all: Vec<f64> = Vec::new();
        for loss in (0..STEPS).map(loss) {
            all.push(loss);
            if has_diverged(&all) {
                break;
            }
        }
        all
    }

    #[test]
    fn rates_rise_by_the_same_factor() {
        assert_eq!(learning_rate(0), 1e-5);
        assert!((learning_rate(STEPS - 1) - 1.0).abs() < 1e-12);
        let factor = |step| learning_rate(step + 1) / learning_rate(step);
        assert!((factor(0) - factor(70)).abs() < 1e-9);
    }

    #[test]
    fn the_steepest_fall_is_found_through_noise() {
        for around in [3e-4, 2e-3, 1e-2] {
            for noise in [0.0, 0.3] {
                let test = LrRangeTest::new(losses(around, noise));
                let found = test.suggestion.unwrap();
                let ratio = found / around;
                assert!((0.5..2.0).contains(&ratio), "{around} {noise}: {found}");
                assert_eq!(found, two_digits(found), "two digits");
                let lowest = test.lowest().unwrap().learning_rate;
                assert!(lowest > found && lowest < 0.3, "{lowest}");
            }
        }
    }

    #[test]
    fn a_test_ends_where_the_loss_diverges() {
        let all = losses(2e-3, 0.0);
        assert!(all.len() < STEPS, "{}", all.len());
        assert!(LrRangeTest::new(all.clone()).diverged);
        let calm: Vec<f64> = all[..60].to_vec();
        assert!(!LrRangeTest::new(calm.clone()).diverged);
        // What is no number ends it too and is no point.
        let broken = LrRangeTest::new([calm, vec![f64::NAN]].concat());
        assert!(broken.diverged && broken.points.len() == 60);
    }

    #[test]
    fn nothing_is_suggested_where_nothing_falls() {
        let flat = LrRangeTest::new(vec![2.3; STEPS]);
        assert_eq!((flat.suggestion, flat.diverged), (None, false));
        let rising = (0..STEPS).map(|step| 2.3 + step as f64).collect();
        assert_eq!(LrRangeTest::new(rising).suggestion, None);
        for few in [0, 1, 2] {
            let test = LrRangeTest::new(vec![2.3; few]);
            assert_eq!((test.suggestion, test.points.len()), (None, few));
        }
        assert_eq!(LrRangeTest::new(vec![f64::NAN]).suggestion, None);
    }
}
