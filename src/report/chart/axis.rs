//! From values to places: domains with round ends, ticks with as many digits as they need.

use crate::report::number::decimal;

/// An axis before it has a place.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub low: f64,
    pub high: f64,
    /// Places follow log2.
    pub log: bool,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Round ends around the values, with about `count` steps.
    pub fn around(label: &str, values: impl IntoIterator<Item = f64>, count: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low < 1e-9 {
            let margin = (low.abs() * 0.05).max(1e-3);
            (low, high) = (low - margin, high + margin);
        }
        let step = round_step((high - low) / count as f64);
        let first = (low / step + 1e-9).floor() as i64;
        let last = (high / step - 1e-9).ceil() as i64;
        let digits = (-step.log10().floor()).max(0.0) as usize;
        Self {
            label: label.into(),
            low: first as f64 * step,
            high: last as f64 * step,
            log: false,
            ticks: (first..=last)
                .map(|index| index as f64 * step)
                .map(|value| (value, decimal(value, digits)))
                .collect(),
        }
    }

    /// From 0 to 1.
    pub fn share(label: &str) -> Self {
        Self::around(label, [0.0, 1.0], 5)
    }

    /// Counts from `low` to `high`, ticks at whole numbers.
    pub fn whole(label: &str, low: usize, high: usize) -> Self {
        let high = high.max(low + 1);
        let step = round_step((high - low) as f64 / 6.0).max(1.0) as usize;
        let mut ticks: Vec<usize> = (low..=high).filter(|value| value % step == 0).collect();
        if ticks.is_empty() {
            ticks.push(low);
        }
        Self {
            label: label.into(),
            low: low as f64,
            high: high as f64,
            log: false,
            ticks: ticks
                .into_iter()
                .map(|value| (value as f64, value.to_string()))
                .collect(),
        }
    }

    /// Places by log2, with a tick at each of `ticks`.
    pub fn log2(label: &str, ticks: Vec<(f64, String)>) -> Self {
        let low = ticks.first().map_or(1.0, |tick| tick.0);
        let high = ticks.last().map_or(2.0, |tick| tick.0).max(low * 2.0);
        Self {
            label: label.into(),
            low,
            high,
            log: true,
            ticks,
        }
    }

    /// Room at both ends, as a share of the length.
    pub fn padded(mut self, share: f64) -> Self {
        match self.log {
            true => {
                let factor = (self.high / self.low).powf(share);
                (self.low, self.high) = (self.low / factor, self.high * factor);
            }
            false => {
                let room = (self.high - self.low) * share;
                (self.low, self.high) = (self.low - room, self.high + room);
            }
        }
        self
    }

    /// Where a value lies between 0 at the low end and 1 at the high one.
    pub fn share_of(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.low).log2() / (self.high / self.low).log2(),
            false => (value - self.low) / (self.high - self.low),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_round_and_hold_the_values() {
        let axis = Axis::around("", [0.4123, 0.4571], 5);
        assert!((axis.low - 0.41).abs() < 1e-12 && (axis.high - 0.46).abs() < 1e-12);
        assert_eq!(axis.ticks[1].1, ".42");
        assert_eq!(axis.ticks.len(), 6);
    }

    #[test]
    fn one_value_or_none_still_makes_an_axis() {
        for axis in [
            Axis::around("", [0.5], 4),
            Axis::around("", [f64::NAN], 4),
            Axis::whole("", 3, 3),
        ] {
            assert!(axis.high > axis.low && axis.ticks.len() > 1, "{axis:?}");
        }
    }

    #[test]
    fn doublings_are_equally_far_apart() {
        let ticks = [1.0, 2.0, 4.0].map(|value| (value, String::new()));
        let axis = Axis::log2("", ticks.to_vec());
        assert!((axis.share_of(2.0) - 0.5).abs() < 1e-12);
    }
}
