//! A run from its start, or from its checkpoint, through its epochs.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{Claim, DataManifest, RunDir};
use bayeslora::low_level::predict::Evaluated;
use bayeslora::low_level::train::{EpochReport, TrainConfig, Trainer};
use serde_json::Value;
use toml::Table;

use super::context::Context;
use super::live::Live;
use super::output::{self, Unkept};
use super::tensorboard::Events;
use super::train_options::{Inputs, config_text, parse_config};
use super::{environment, failure, run_images};

/// Keys of what a run recognises by content and not by name.
pub const PLACES: [&str; 2] = ["data", "backbone"];

/// What a run is trained on, as it keeps it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub inputs: &'a Inputs,
    pub data: &'a DataManifest,
    /// Whether the images may be others than those that its checkpoint was made with.
    pub other_images: bool,
}

/// A new run. It has a checkpoint from its start on, so that one without has lost it.
pub fn start(claim: Claim, subject: Subject, trainer: &Trainer) -> Result<RunDir> {
    let text = config_text(subject.inputs, trainer.config())?;
    RunDir::create_in(claim, &text, |run| {
        let checkpoint = trainer.checkpoint()?;
        run.write_data(subject.data)
            .and_then(|()| run.write_environment(&describe(trainer)))
            .and_then(|()| run.write_checkpoint(&checkpoint))
            .context(Unkept("the run could not be started".into()))
    })
}

/// Goes on from the newest sound checkpoint of a run.
pub fn restore(run: &RunDir, subject: Subject, trainer: &mut Trainer) -> Result<()> {
    let resumed = trainer.resume(run, subject.other_images)?;
    if let Some(kernels) = resumed.other_kernels {
        output::note(&format!(
            "warning: the checkpoint was made with other kernels ({kernels}); results will agree \
             only to rounding"
        ));
    }
    if let Some(error) = resumed.damaged {
        output::note(&format!(
            "warning: {error}; the run goes on from the checkpoint before, of epoch {}",
            resumed.epoch
        ));
    } else if resumed.epoch == 0 {
        output::note("the run was stopped in its first epoch: it starts from the beginning");
    }
    Ok(run.write_environment(&describe(trainer))?)
}

fn describe(trainer: &Trainer) -> Value {
    environment::describe(&trainer.network().gpu)
}

/// A new run in `place`, or what is there of the same one; `trainer` is new.
pub fn begin(place: &Path, subject: Subject, trainer: &mut Trainer) -> Result<RunDir> {
    if !place.join("config.toml").exists() {
        let claim = Claim::take(place).context("--out")?;
        return start(claim, subject, trainer).context("--out");
    }
    let run = RunDir::open(place)
        .and_then(RunDir::lock)
        .context("--out")?;
    let text = config_text(subject.inputs, trainer.config())?;
    let before = run.read_config()?;
    ensure!(
        beside_places(&before)? == beside_places(&text)?,
        "{} holds a run with other options; give another directory with --out",
        place.display()
    );
    let recorded = run.read_data().context("--out")?;
    let recorded = run_images::required(recorded.as_ref(), place).context("--out")?;
    ensure!(
        run_images::is_same(recorded, subject.data),
        "{} holds a run on other images or another backbone; give another directory with --out",
        place.display()
    );
    if before != text {
        run.replace_config(&text)?;
    }
    restore(&run, subject, trainer)?;
    Ok(run)
}

/// A configuration without the places of images and backbone; what an earlier version did not know has its default.
fn beside_places(text: &str) -> Result<(Inputs, TrainConfig)> {
    let mut table: Table = text.parse()?;
    table.retain(|key, _| !PLACES.contains(&key));
    parse_config(table, "config.toml")
}

/// Prints each epoch as a line of a table, whose head is printed now, or as a JSON object, and adds it to the events.
pub fn tell(
    json: bool,
    mut events: Option<Events>,
) -> Result<impl FnMut(&Trainer, &EpochReport) -> Result<()>> {
    if !json {
        output::text(&format!("\n{HEADER}"))?;
    }
    Ok(move |trainer: &Trainer, report: &EpochReport| {
        match json {
            true => output::json(report)?,
            false => print_epoch(report, trainer.config().epochs)?,
        }
        events
            .as_mut()
            .map_or(Ok(()), |events| events.epoch(report))
    })
}

/// Trains to the end, or until a signal stops it, leaving metrics, adapter and checkpoint after each epoch.
pub fn run_epochs(
    context: &Context,
    run: &RunDir,
    trainer: &mut Trainer,
    mut tell: impl FnMut(&Trainer, &EpochReport) -> Result<()>,
) -> Result<()> {
    let _graceful = context.stop_gracefully();
    let mut kept = trainer.epochs_done();
    let live = RefCell::new(Live::new(trainer));
    let mut observe = context.live_observer(&live);
    let trained = trainer.train_in(run, &mut observe, |trainer, report| {
        kept = report.epoch;
        live.borrow_mut().epoch(report);
        tell(trainer, report)
    });
    trained.map_err(|error| saved(run, kept, error))?;
    Ok(())
}

/// What is left of a run when its device is lost, given the number of epochs kept.
fn saved(run: &RunDir, epochs: usize, error: anyhow::Error) -> anyhow::Error {
    match failure::is_device_lost(&error) {
        false => error,
        true => error.context(format!(
            "{} is saved as it was after epoch {epochs}; the same command goes on from there, `train` with \
             --resume",
            run.path().display()
        )),
    }
}

const HEADER: &str =
    "epoch      loss   train acc |    acc     NLL     ECE | ranks   soft |  images/s      busy";

fn print_epoch(report: &EpochReport, epochs: usize) -> Result<()> {
    let score = |value: Option<f64>| value.map_or("     -".into(), |value| format!("{value:.4}"));
    output::text(&format!(
        "{:>2}/{epochs:<3} {:>8.4} {:>11.4} | {:>6}  {:>6}  {:>6} | {:>5} {:>6.1} | {:>9.0} {:>7.0} %",
        report.epoch,
        report.loss,
        report.train_accuracy,
        score(report.accuracy),
        score(report.nll),
        score(report.ece),
        report.rank,
        report.soft_rank,
        report.images_per_second,
        100.0 * report.utilisation,
    ))?;
    if let Some(event) = &report.prune {
        let mut cost = match (&event.before, &event.after) {
            (Some(before), Some(after)) => format!(
                "; accuracy {:.4} -> {:.4}, NLL {:.4} -> {:.4}",
                before.accuracy, after.accuracy, before.nll, after.nll
            ),
            _ => String::new(),
        };
        if let Some(change) = &event.tempered_nll_change {
            cost += &format!(
                "; with a temperature {:+.4} ± {:.4}",
                change.mean, change.standard_error
            );
        }
        output::text(&format!(
            "       pruned {} -> {} ranks{cost}",
            event.ranks_before, event.ranks_after
        ))?;
    }
    Ok(())
}

/// Says which epoch a run with early stopping has kept.
pub fn print_kept(trainer: &Trainer) -> Result<()> {
    let Some((epoch, nll)) = trainer.kept_epoch() else {
        return Ok(());
    };
    let (done, all) = (trainer.epochs_done(), trainer.config().epochs);
    let stopped = match done < all {
        true => format!("; training stopped after epoch {done}"),
        false => String::new(),
    };
    output::text(&format!(
        "\nepoch {epoch} of {all} kept: lowest tempered validation NLL ({nll:.4}){stopped}"
    ))
}

/// Scores on the test set, a line each.
pub fn print_test_rows(rows: &[(&str, &Evaluated)]) -> Result<()> {
    output::text("\ntest set           acc     NLL     ECE   Brier    AURC")?;
    for (name, Evaluated { scores, .. }) in rows {
        output::text(&format!(
            "{name:<15} {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}",
            scores.accuracy, scores.nll, scores.ece, scores.brier, scores.aurc
        ))?;
    }
    Ok(())
}
