//! Two programs that take turns, and whether one is slower than noise explains.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Report;
use super::measure::{Better, Kind, median_of};
use crate::metrics::binomial_cdf;

/// Chance of calling an unchanged program slower, over all rows together.
pub const ERROR: f64 = 0.01;

/// A speed of both programs, a value per round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounds {
    pub name: String,
    pub unit: String,
    pub better: Better,
    pub base: Vec<f64>,
    pub head: Vec<f64>,
}

/// What the rounds of a row come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    pub name: String,
    pub unit: String,
    /// Medians.
    pub base: f64,
    pub head: f64,
    /// The median over the rounds of the ratio in each; above 1 is better than the base, whichever way the unit counts.
    pub ratio: f64,
    /// An interval that holds the true median with 95 % or more, from the order of the ratios alone.
    pub low: f64,
    pub high: f64,
    /// Rounds with a ratio below the bound.
    pub slow_rounds: usize,
    pub failed: bool,
}

impl Rounds {
    /// The speeds that every round of both programs has measured, in the order of the first.
    pub fn of(rounds: &[[Report; 2]]) -> Vec<Self> {
        let mut values: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
        for (side, row) in rounds.iter().flat_map(|pair| {
            let sides = pair.iter().enumerate();
            sides.flat_map(|(side, report)| report.results.iter().map(move |row| (side, row)))
        }) {
            values.entry(&row.name).or_default()[side].push(row.value);
        }
        let first = rounds.first().map(|[base, _]| &base.results);
        let speeds = first.into_iter().flatten();
        let speeds = speeds.filter(|row| row.kind == Kind::Speed);
        let all = speeds.map(|row| {
            let [base, head] = values[&*row.name].clone();
            Self {
                name: row.name.clone(),
                unit: row.unit.clone(),
                better: row.better,
                base,
                head,
            }
        });
        all.filter(|row| [&row.base, &row.head].map(Vec::len) == [rounds.len(); 2])
            .collect()
    }

    fn ratios(&self) -> Vec<f64> {
        let pairs = self.base.iter().zip(&self.head);
        let mut ratios: Vec<f64> = pairs
            .map(|(base, head)| match self.better {
                Better::Higher => head / base,
                Better::Lower => base / head,
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

/// Compares rows. One fails where so many rounds have a ratio below `fail_below` that this would happen to an unchanged
/// program in [`ERROR`] of all comparisons: a sign test (Dixon and Mood 1946), with Bonferroni's correction for the number of rows. It
/// presumes nothing of the noise but that it favours neither program.
pub fn paired(rows: &[Rounds], fail_below: f64) -> Vec<Paired> {
    let level = ERROR / rows.len().max(1) as f64;
    let compare = |row: &Rounds| {
        let ratios = row.ratios();
        let (n, all) = (ratios.len(), (0..ratios.len()).collect::<Vec<_>>());
        let slow_rounds = ratios.iter().filter(|ratio| **ratio < fail_below).count();
        let cut = outside(n, 0.025);
        Paired {
            name: row.name.clone(),
            unit: row.unit.clone(),
            base: median_of(&row.base, &all),
            head: median_of(&row.head, &all),
            ratio: median_of(&ratios, &all),
            low: ratios[cut],
            high: ratios[n - 1 - cut],
            slow_rounds,
            failed: tail(n, slow_rounds) <= level,
        }
    };
    rows.iter()
        .filter(|row| !row.base.is_empty())
        .map(compare)
        .collect()
}

/// Rounds that it takes for a row to fail at all, among so many rows.
pub fn least_rounds(rows: usize) -> usize {
    let level = ERROR / rows.max(1) as f64;
    (1..)
        .find(|n| tail(*n, *n) <= level)
        .expect("it falls to zero")
}

/// P(at least `k` of `n` fair coins are heads), which is that of at most n - k.
fn tail(n: usize, k: usize) -> f64 {
    binomial_cdf(n - k, n, 0.5)
}

/// Values at either end of `n` sorted ones that an interval for their median can do without, at this error on each side.
fn outside(n: usize, error: f64) -> usize {
    let below = |cut: usize| tail(n, n - cut) <= error;
    (0..n / 2).take_while(|cut| below(*cut)).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::{ERROR, Rounds, least_rounds, outside, paired, tail};

    #[test]
    fn coins_by_hand() {
        assert_eq!(tail(3, 0), 1.0);
        assert!((tail(3, 3) - 0.125).abs() < 1e-12);
        assert!((tail(4, 3) - 5.0 / 16.0).abs() < 1e-12);
        // 2^-10 is below .01 / 10, 2^-9 is not.
        assert_eq!(least_rounds(10), 10);
        assert_eq!(least_rounds(1), 7);
    }

    /// The table of intervals for a median: of 11 the second to the tenth (98.8 %), of 20 the sixth to the fifteenth (95.9 %); of fewer
    /// than six no interval has 95 %, and all of them are what is left.
    #[test]
    fn intervals_of_a_median() {
        assert_eq!(outside(11, 0.025), 1);
        assert_eq!(outside(20, 0.025), 5);
        assert_eq!(outside(6, 0.025), 0);
        assert_eq!(outside(3, 0.025), 0);
    }

    /// The share of comparisons of so many rounds that fail. They are drawn with replacement from forty of an unchanged
    /// program (`bench --against` itself --filter train, 2026-11-27, Mesa 22.3.6, two cores that ten other processes
    /// wanted: the ratios lie between .14 and 7), with the head's speeds multiplied by `factor`. Every other comparison
    /// calls the head the base.
    fn failing(rounds: usize, factor: f64) -> f64 {
        const DRAWS: usize = 2000;
        let recorded: Vec<Rounds> =
            serde_json::from_str(include_str!("../../tests/fixtures/busy_rounds.json")).unwrap();
        let mut rng = Pcg64::seed_from_u64(1);
        let failing = (0..DRAWS).filter(|draw| {
            let all = recorded[0].base.len();
            let drawn: Vec<usize> = (0..rounds).map(|_| rng.random_range(0..all)).collect();
            let pick = |values: &[f64], factor: f64| -> Vec<f64> {
                drawn.iter().map(|at| values[*at] * factor).collect()
            };
            let rows: Vec<_> = recorded
                .iter()
                .map(|row| {
                    let [base, head] = match draw % 2 {
                        0 => [&row.base, &row.head],
                        _ => [&row.head, &row.base],
                    };
                    Rounds {
                        base: pick(base, 1.0),
                        head: pick(head, factor),
                        ..row.clone()
                    }
                })
                .collect();
            paired(&rows, 0.95).iter().any(|row| row.failed)
        });
        failing.count() as f64 / DRAWS as f64
    }

    #[test]
    fn noise_on_a_busy_machine_fails_no_comparison() {
        assert!(failing(11, 1.0) < ERROR);
        assert!(failing(31, 1.0) < ERROR);
    }

    #[test]
    fn a_program_that_lost_a_fifth_is_found_out_on_a_busy_machine() {
        assert!(failing(31, 0.8) > 0.5);
    }
}
