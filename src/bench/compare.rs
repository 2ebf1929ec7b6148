//! A report against an older one.

use serde::Serialize;

use super::measure::{Better, Kind, Row};
use super::{Report, SCHEMA};

/// Why two reports say nothing about each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    #[error("its schema is {found}, this program's is {SCHEMA}; measure the baseline anew")]
    Schema { found: u32 },
    #[error("it was measured with {what} {baseline:?}, this run with {now:?}")]
    Other {
        what: &'static str,
        baseline: String,
        now: String,
    },
    #[error("it has none of the rows measured now")]
    NothingShared,
}

/// One row of both reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub name: String,
    pub unit: String,
    pub baseline: f64,
    pub now: f64,
    /// Above 1 is better than the baseline, whichever way the unit counts.
    pub ratio: f64,
    pub kind: Kind,
    /// A speed whose ratio is below the bound.
    pub failed: bool,
}

/// What has changed since a baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub baseline_date: String,
    /// The drivers, where they differ.
    pub drivers: Option<[String; 2]>,
    pub fail_below: f64,
    pub rows: Vec<Ratio>,
    /// Rows of the baseline that were not measured now.
    pub missing: usize,
    /// Rows measured now that the baseline lacks.
    pub new: usize,
}

impl Comparison {
    /// Compares by name; a speed fails where its ratio is below `fail_below`.
    ///
    /// # Errors
    /// The reports are of different devices or settings, or share no row.
    pub fn new(baseline: &Report, now: &Report, fail_below: f64) -> Result<Self, Incomparable> {
        comparable(baseline, now)?;
        let rows: Vec<Ratio> = now
            .results
            .iter()
            .filter(|row| row.kind != Kind::Share)
            .filter_map(|row| {
                let old = baseline.results.iter().find(|old| old.name == row.name)?;
                Some(compare(old, row, fail_below))
            })
            .collect();
        if rows.is_empty() {
            return Err(Incomparable::NothingShared);
        }
        let without = |some: &Report, other: &Report| {
            let has = |row: &&Row| !other.results.iter().any(|there| there.name == row.name);
            some.results.iter().filter(has).count()
        };
        let drivers = [baseline, now].map(|report| report.environment("driver_info"));
        Ok(Self {
            baseline_date: baseline.date.clone(),
            drivers: (drivers[0] != drivers[1]).then_some(drivers),
            fail_below,
            rows,
            missing: without(baseline, now),
            new: without(now, baseline),
        })
    }

    /// The rows that are too slow.
    pub fn failures(&self) -> impl Iterator<Item = &Ratio> {
        self.rows.iter().filter(|row| row.failed)
    }
}

fn compare(old: &Row, now: &Row, fail_below: f64) -> Ratio {
    let ratio = match now.better {
        Better::Higher => now.value / old.value,
        Better::Lower => old.value / now.value,
    };
    Ratio {
        name: now.name.clone(),
        unit: now.unit.clone(),
        baseline: old.value,
        now: now.value,
        ratio,
        kind: now.kind,
        failed: now.kind == Kind::Speed && ratio < fail_below,
    }
}

fn comparable(baseline: &Report, now: &Report) -> Result<(), Incomparable> {
    if baseline.schema != SCHEMA {
        return Err(Incomparable::Schema {
            found: baseline.schema,
        });
    }
    let same = |what, of: &dyn Fn(&Report) -> String| {
        let (baseline, now) = (of(baseline), of(now));
        match baseline == now {
            true => Ok(()),
            false => Err(Incomparable::Other {
                what,
                baseline,
                now,
            }),
        }
    };
    same("the adapter", &|report| report.environment("adapter"))?;
    same("the back end", &|report| report.environment("backend"))?;
    if now.environment("type") == "Cpu" {
        // A software adapter is as fast as the cores that it gets.
        same("CPU threads", &|report| report.environment("threads"))?;
    }
    same("--batch", &|report| report.settings.batch.to_string())?;
    same("--size", &|report| report.settings.size.to_string())?;
    same("--rank", &|report| report.settings.rank.to_string())?;
    same("--samples", &|report| report.settings.samples.to_string())?;
    same("--backbone-bits", &|report| {
        report.settings.backbone_bits.to_string()
    })?;
    same("targets", &|report| report.settings.targets.join(","))
}
