//! `train --find-lr`: a learning rate from a short range test.

use anyhow::{Context as _, Result, bail};
use bayeslora::low_level::formats::{RunDir, write_atomic};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::train::{LrRangeTest, Prepared, TrainConfig, Trainer};
use serde::Serialize;

use super::context::Context;
use super::earlier::Earlier;
use super::output::{self, Unkept};
use super::tables;

/// Lines of the table that is printed, at most.
const LINES: usize = 14;

/// Characters of its bars at the first loss.
const BAR: usize = 40;

/// In the run's directory.
const FILE: &str = "lr-range.csv";

/// A learning rate, and how it was found.
pub struct Found {
    pub lr: f64,
    test: LrRangeTest,
}

/// The object that --json prints.
#[derive(Serialize)]
struct Report<'a> {
    lr_range_test: &'a LrRangeTest,
}

/// Tests learning rates on a trainer that is not used afterwards, says what it has found; `None` where it was stopped.
pub fn find(
    context: &Context,
    prepared: &Prepared,
    backbone: &Backbone,
    config: &TrainConfig,
    from: Option<&Earlier>,
    json: bool,
) -> Result<Option<Found>> {
    let config: TrainConfig = config.clone().resolve(prepared.train.dataset.len())?.into();
    // Every member of an ensemble is trained with what suits the first.
    let first = config.members().swap_remove(0);
    let mut trainer = Trainer::over(prepared.clone(), backbone, first)?;
    if let Some(from) = from {
        from.give(&mut trainer)?;
    }
    let Some(test) = trainer.find_lr(&mut context.observer())? else {
        return Ok(None);
    };
    match json {
        true => output::json(&Report {
            lr_range_test: &test,
        })?,
        false => output::text(&in_words(&test))?,
    }
    let Some(lr) = test.suggestion else {
        bail!(
            "--find-lr: the loss falls at no learning rate that was tried, so none is suggested; look at the images and their \
             labels, or give one with --lr"
        );
    };
    Ok(Some(Found { lr, test }))
}

impl Found {
    /// Writes the curve into the directory of the run that is trained with it.
    pub fn keep(&self, run: &RunDir) -> Result<()> {
        let mut table = csv::Writer::from_writer(Vec::new());
        for point in &self.test.points {
            table.serialize(point)?;
        }
        let path = run.path().join(FILE);
        let kept = write_atomic(&path, &table.into_inner()?);
        kept.context(Unkept("the learning rate test could not be kept".into()))
    }
}

/// A table of some of the steps, and what follows from all.
fn in_words(test: &LrRangeTest) -> String {
    let points = &test.points;
    let most = points.first().map_or(1.0, |point| point.smoothed);
    let every = points.len().div_ceil(LINES).max(1);
    let mut table = tables::new(&["learning rate", "loss", ""], &[0, 1]);
    for point in points.iter().step_by(every) {
        table.add_row([
            format!("{:.1e}", point.learning_rate),
            format!("{:.3}", point.smoothed),
            tables::bar(point.smoothed / most, BAR),
        ]);
    }
    let end = match test.diverged {
        true => ", then it diverged",
        false => "",
    };
    let lowest = test.lowest().map_or(String::new(), |lowest| {
        format!(
            "; lowest, {:.3}, at {:.1e}{end}",
            lowest.smoothed, lowest.learning_rate
        )
    });
    let found = test.suggestion.map_or(String::new(), |lr| {
        format!("\nlr        {lr}, where the loss falls fastest{lowest} (--lr {lr} is the same)")
    });
    format!(
        "lr range  {} steps that are thrown away, losses smoothed\n{}{found}",
        points.len(),
        table.trim_fmt()
    )
}
