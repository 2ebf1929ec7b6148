//! What the engine is meant to reach on a software adapter at the default settings.

use serde::Serialize;

use super::measure::{Better, Row};

/// A goal for one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    pub name: &'static str,
    pub floor: f64,
    pub aim: Option<f64>,
    pub value: f64,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    AimMet,
    FloorMet,
    BelowFloor,
}

/// Name, floor, aim; in the rows' units. Set for two CPU cores.
const TARGETS: [(&str, f64, Option<f64>); 8] = [
    ("forward", 250.0, Some(500.0)),
    ("train", 150.0, Some(400.0)),
    ("train-cached", 220.0, Some(600.0)),
    ("predictive", 60.0, Some(150.0)),
    ("kernels/median", 60.0, Some(90.0)),
    ("start/predict", 2.0, Some(0.7)),
    ("memory/train, plan", 300.0, Some(120.0)),
    ("pruned/given back", 80.0, None),
];

/// The goals of those rows that have one.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let of = |(name, floor, aim): (&'static str, f64, Option<f64>)| {
        let row = rows.iter().find(|row| row.name == name)?;
        let met = |goal: f64| match row.better {
            Better::Higher => row.value >= goal,
            Better::Lower => row.value <= goal,
        };
        let verdict = match (met(floor), aim.is_some_and(met)) {
            (_, true) => Verdict::AimMet,
            (true, _) => Verdict::FloorMet,
            _ => Verdict::BelowFloor,
        };
        let value = row.value;
        Some(Target {
            name,
            floor,
            aim,
            value,
            verdict,
        })
    };
    TARGETS.into_iter().filter_map(of).collect()
}
