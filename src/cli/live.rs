//! What a terminal shows below the table while a run is trained: curves as sparklines, and the time left.

use std::time::{Duration, Instant};

use bayeslora::low_level::train::{EpochReport, Trainer};

/// Epochs that a sparkline shows.
const WIDTH: usize = 16;

const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What this process has seen of a run.
pub struct Live {
    epochs: usize,
    /// Epochs that earlier processes have done.
    before: usize,
    /// Of the first step.
    begun: Option<Instant>,
    cross_entropies: Vec<f64>,
    nlls: Vec<f64>,
    ranks: Option<[usize; 2]>,
}

impl Live {
    pub fn new(trainer: &Trainer) -> Self {
        Self {
            epochs: trainer.config().epochs,
            before: trainer.epochs_done(),
            begun: None,
            cross_entropies: Vec::new(),
            nlls: Vec::new(),
            ranks: None,
        }
    }

    /// An epoch is over.
    pub fn epoch(&mut self, report: &EpochReport) {
        self.cross_entropies.push(report.cross_entropy);
        self.nlls.extend(report.nll);
        let first = self.ranks.map_or(report.rank, |[first, _]| first);
        self.ranks = Some([first, report.rank]);
    }

    /// The line after `step` of `steps` of an epoch, from 1.
    pub fn line(&mut self, epoch: usize, step: usize, steps: usize) -> String {
        let elapsed = self.begun.get_or_insert_with(Instant::now).elapsed();
        let curve = |name: &str, values: &[f64]| {
            let last = values.last()?;
            Some(format!("{name} {} {last:.3}", sparkline(values)))
        };
        let ranks = self.ranks.map(|[first, last]| match first == last {
            true => format!("ranks {last}"),
            false => format!("ranks {first} > {last}"),
        });
        let done = (epoch - 1 - self.before) as f64 + step as f64 / steps.max(1) as f64;
        let all = (self.epochs - self.before) as f64;
        let left = time_left(elapsed, done / all);
        let parts = [
            curve("cross-entropy", &self.cross_entropies),
            curve("validation NLL", &self.nlls),
            ranks,
            left.map(|left| format!("about {left} left of {} epochs", self.epochs)),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        parts.join("   ")
    }
}

/// The last values between their least and their largest.
fn sparkline(values: &[f64]) -> String {
    let shown = &values[values.len().saturating_sub(WIDTH)..];
    let finite = || shown.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    let place = |value: f64| match high > low {
        true => ((value - low) / (high - low) * (HEIGHTS.len() - 1) as f64).round() as usize,
        false => 0,
    };
    shown
        .iter()
        .map(|value| match value.is_finite() {
            true => HEIGHTS[place(*value)],
            false => '×',
        })
        .collect()
}

/// At the pace so far; nothing before a share is done from which it can be told.
pub fn time_left(elapsed: Duration, share: f64) -> Option<String> {
    if share <= 0.0 || elapsed < Duration::from_secs(2) {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * (1.0 - share).max(0.0) / share;
    Some(match seconds.round() as u64 {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_what_it_shows() {
        assert_eq!(sparkline(&[0.0, 7.0, 3.0]), "▁█▄");
        assert_eq!(sparkline(&[2.0]), "▁");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0]), "▁×█");
        assert_eq!(sparkline(&[f64::NAN; 2]), "××");
        let long: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(sparkline(&long).chars().count(), WIDTH);
        assert!(sparkline(&long).starts_with('▁') && sparkline(&long).ends_with('█'));
    }

    #[test]
    fn the_time_left_is_that_of_the_pace_so_far() {
        let left = |seconds, share| time_left(Duration::from_secs(seconds), share);
        assert_eq!(left(1, 0.5), None);
        assert_eq!(left(10, 0.0), None);
        assert_eq!(left(30, 0.5).unwrap(), "30 s");
        assert_eq!(left(60, 0.1).unwrap(), "9 min");
        assert_eq!(left(3600, 0.25).unwrap(), "3.0 h");
        assert_eq!(left(60, 1.0).unwrap(), "0 s");
    }
}
