//! Repeated runs, and the rows that they become.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::metrics::{Interval, quantile};

/// How often something is run: at least `least` times, then until `seconds` have passed or it has
/// been run `most` times.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub least: usize,
    pub most: usize,
    pub seconds: f64,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            least: 5,
            most: 50,
            seconds: 3.0,
        }
    }
}

impl Effort {
    /// Seconds of each run, after one that does not count.
    ///
    /// # Errors
    /// The first of a run.
    pub fn sample<E>(self, mut run: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
        let [seconds] = self.interleaved([&mut run])?;
        Ok(seconds)
    }

    /// Seconds of each run of several things that take turns, the first one another each round, so
    /// that whatever else the machine does meets all of them alike.
    ///
    /// # Errors
    /// The first of a run.
    pub fn interleaved<E, const N: usize>(
        self,
        mut runs: [&mut dyn FnMut() -> Result<(), E>; N],
    ) -> Result<[Vec<f64>; N], E> {
        for run in &mut runs {
            run()?;
        }
        let mut seconds = [const { Vec::new() }; N];
        let start = Instant::now();
        for round in 0..self.most {
            if round >= self.least && start.elapsed().as_secs_f64() > self.seconds {
                break;
            }
            for place in 0..N {
                let place = (place + round) % N;
                let begun = Instant::now();
                runs[place]()?;
                seconds[place].push(begun.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }
}

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// What a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A comparison fails on these.
    Speed,
    Memory,
    /// A share or difference, near zero or of other rows: no ratio of it means anything.
    Share,
}

/// What `low` and `high` of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// The first and third quartile of the runs.
    Quartiles,
    /// A 95 % bootstrap interval over paired runs.
    Interval,
    /// Counted, not measured.
    Exact,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `scenario` or `scenario/part`.
    pub name: String,
    pub unit: String,
    pub kind: Kind,
    pub better: Better,
    /// The median of the runs.
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub spread: Spread,
    pub runs: usize,
}

impl Row {
    /// The median and quartiles of `values`, one per run.
    pub fn speed(name: impl Into<String>, unit: &str, better: Better, values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            name: name.into(),
            unit: unit.into(),
            kind: Kind::Speed,
            better,
            value: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.25),
            high: quantile(&sorted, 0.75),
            spread: Spread::Quartiles,
            runs: values.len(),
        }
    }

    /// Images a second of runs of `images` images.
    pub fn images(name: impl Into<String>, images: usize, seconds: &[f64]) -> Self {
        let rates: Vec<f64> = seconds.iter().map(|s| images as f64 / s).collect();
        Self::speed(name, "images/s", Better::Higher, &rates)
    }

    /// Bytes, in MB of 10^6.
    pub fn memory(name: impl Into<String>, bytes: u64) -> Self {
        let value = bytes as f64 * 1e-6;
        Self {
            kind: Kind::Memory,
            spread: Spread::Exact,
            ..Self::speed(name, "MB", Better::Lower, &[value])
        }
    }

    /// An estimate with its interval from `runs` paired runs.
    pub fn share(
        name: impl Into<String>,
        unit: &str,
        better: Better,
        interval: Interval,
        runs: usize,
    ) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            kind: Kind::Share,
            better,
            value: interval.estimate,
            low: interval.low,
            high: interval.high,
            spread: Spread::Interval,
            runs,
        }
    }
}

/// The median of some of the values.
pub(super) fn median_of(values: &[f64], drawn: &[usize]) -> f64 {
    let mut sorted: Vec<f64> = drawn.iter().map(|index| values[*index]).collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}
