//! `calibrate`: what held-out images promise of a run's answers.

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::metrics::{PredictionSets, Predictions, RiskControl, SetOptions};
use bayeslora::low_level::predict::ood::OodScore;
use bayeslora::low_level::predict::{Calibration, Held, Samples, Source, ties};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::context::{Bar, Context};
use super::location::Location;
use super::ood;
use super::output::{self, Unkept};
use super::promised::percent;
use super::run::{Run, RunArgs};
use super::train_options::name;

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct CalibrateArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Find the confidence from which on at most this share of the answers is wrong; `predict` says unsure below it
    #[arg(long, value_name = "R", group = "what")]
    max_risk: Option<f64>,
    /// How sure that is to hold, over the choice of the validation images
    #[arg(long, value_name = "P", default_value_t = 0.95, requires = "max_risk")]
    confidence: f64,
    /// Find sets of classes that hold the right one of at least this share of images
    #[arg(long, value_name = "C", group = "what")]
    coverage: Option<f64>,
    /// Let --coverage hold for the images of each class, not only for all together
    #[arg(long, requires = "coverage")]
    by_class: bool,
    /// Tell images that look like nothing the run was trained on; of familiar ones at most this share is taken for such
    #[arg(long, value_name = "A", group = "what")]
    false_alarms: Option<f64>,
    /// What tells them: the Mahalanobis distance or the distance to the nearest training images, of features
    #[arg(long, value_parser = name::<OodScore>, value_name = "mahalanobis|neighbours")]
    #[arg(default_value = "mahalanobis", requires = "false_alarms")]
    ood_score: OodScore,
    /// Monte Carlo samples of the gates, the same for every image, as `predict` takes them; 0 uses the mean weights
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the run's images are now [default: where they were during training]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    calibration: Calibration,
    /// On the images that it was made by.
    validation: Held,
    #[serde(skip_serializing_if = "Option::is_none")]
    ood: Option<ood::Fitted>,
}

pub fn run(context: &Context, args: &CalibrateArgs) -> Result<()> {
    let run = args.run.open()?;
    let writer = run.lock()?;
    let place = || Ok(args.data.as_ref().unwrap_or(&run.inputs.data));
    let images = run.validation("calibrate", place, &Bar::default())?;
    refuse_few(args, images.len())?;
    if let Some(false_alarms) = args.false_alarms {
        ood::check(&run, false_alarms, images.len())?;
    }
    warn_of_choices(&run);
    let samples = run.samples(Samples {
        shared: true,
        ..Samples::new(args.samples, args.seed)
    });
    let gpu = context.gpu()?;
    let source = Source::images(images, run.adapter.resolution);
    let (bar, total) = (Bar::default(), source.dataset.len());
    let mut progress = |done| bar.show("calibrating", done, total);
    let evaluated = run.evaluate(&gpu, &source, samples, &mut progress)?;
    let (dataset, classes) = (&source.dataset, run.adapter.classes.len());
    let probabilities: Vec<f32> = evaluated.log_probs.iter().map(|log| log.exp()).collect();
    let predictions = Predictions::new(&probabilities, &dataset.labels, classes)?;
    let ties = ties(dataset)?;
    let (dir, adapter) = (run.fitted_dir(), run.sha256()?);
    let kept = Calibration::load(&dir, &adapter, (samples.count, args.seed), classes);
    // What cannot be read, or was made for another adapter, is about to be made again.
    let kept = kept.ok().flatten();
    let mut calibration = Calibration {
        samples: samples.count,
        seed: args.seed,
        risk_control: kept.as_ref().and_then(|kept| kept.risk_control),
        prediction_sets: kept.and_then(|kept| kept.prediction_sets),
    };
    if let Some(max_risk) = args.max_risk {
        calibration.risk_control = Some(control(args, &predictions, max_risk)?);
    }
    if let Some(coverage) = args.coverage {
        let options = SetOptions {
            coverage,
            by_class: args.by_class,
        };
        let sets = PredictionSets::fit(&probabilities, &dataset.labels, &ties, classes, options)?;
        warn_of_rare(&sets, &run.adapter.classes);
        calibration.prediction_sets = Some(sets);
    }
    let unfamiliar = match args.false_alarms {
        None => None,
        Some(false_alarms) => {
            let how = (args.ood_score, false_alarms);
            Some(ood::fit(&run, &gpu, place()?, &source, how, &bar)?)
        }
    };
    let saved = writer.and_then(|_lock| {
        if let Some((detector, _)) = &unfamiliar {
            detector.save(&dir, &adapter)?;
        }
        match calibration.risk_control.is_some() || calibration.prediction_sets.is_some() {
            true => calibration.save(&dir, &adapter),
            false => Ok(()),
        }
    });
    let report = Report {
        validation: calibration.held(&predictions, &ties),
        calibration,
        ood: unfamiliar.map(|(_, fitted)| fitted),
    };
    match args.json {
        true => output::json(&report)?,
        false => output::text(&describe(&report))?,
    }
    saved.context(Unkept("the calibration could not be kept".into()))
}

/// Before anything long starts.
fn refuse_few(args: &CalibrateArgs, images: usize) -> Result<()> {
    if let Some(max_risk) = args.max_risk {
        let least = RiskControl::least_risk(images, args.confidence);
        ensure!(
            max_risk >= least,
            "--max-risk {max_risk}: {images} validation images can promise no less than {least:.3}, were all of them right; \
             take that or more, a lower --confidence, or train with a larger --validation"
        );
    }
    if let Some(coverage) = args.coverage {
        let least = PredictionSets::least_images(coverage);
        ensure!(
            images >= least,
            "--coverage {coverage} needs {least} validation images at least, and the run has {images}; take a lower one, or \
             train with a larger --validation"
        );
    }
    Ok(())
}

fn warn_of_choices(run: &Run) {
    let choice = match (run.config.patience, run.config.auto_rank) {
        (Some(_), _) => "epoch (--patience)",
        (None, true) => "ranks (--rank auto)",
        (None, false) => return,
    };
    output::note(&format!(
        "warning: the run's {choice} was chosen by the same validation images, which makes what they promise a little too good"
    ));
}

fn control(args: &CalibrateArgs, predictions: &Predictions, max_risk: f64) -> Result<RiskControl> {
    let (confidences, correct) = (predictions.confidence(), predictions.correct());
    let found = RiskControl::fit(&confidences, &correct, max_risk, args.confidence);
    let wrong = correct.iter().filter(|correct| !**correct).count();
    found.with_context(|| {
        format!(
            "--max-risk {max_risk}: at no confidence do the {} validation images promise that ({wrong} are answered wrong); take \
             a higher one or a lower --confidence, or train a better adapter",
            correct.len()
        )
    })
}

/// Of classes that are in every set.
fn warn_of_rare(sets: &PredictionSets, names: &[String]) {
    let rare = sets.limits.iter().zip(names);
    let rare: Vec<_> = rare
        .filter(|(limit, _)| limit.is_none())
        .map(|(_, name)| printable(name))
        .collect();
    if !rare.is_empty() {
        output::note(&format!(
            "warning: --by-class: so few validation images show {} that every set holds it: {} of each class are needed",
            rare.join(", "),
            PredictionSets::least_images(sets.coverage)
        ));
    }
}

fn describe(report: &Report) -> String {
    let Calibration {
        risk_control,
        prediction_sets,
        ..
    } = &report.calibration;
    let held = &report.validation;
    let mut lines = Vec::new();
    if let Some(control) = risk_control {
        lines.push(format!(
            "answers from a confidence of {:.3} on: at most {} of them wrong, {} sure\n  {} of {} validation images are \
             answered, {} of them wrong",
            control.threshold,
            percent(control.max_risk),
            percent(control.confidence),
            control.answered,
            control.images,
            control.wrong,
        ));
    }
    if let Some(sets) = prediction_sets {
        let each = match sets.limits.len() {
            1 => "",
            _ => " of each class",
        };
        lines.push(format!(
            "sets of classes that hold the right one of at least {} of images{each}\n  {:.2} classes on average over {} \
             validation images",
            percent(sets.coverage),
            held.mean_set_size.unwrap_or_default(),
            sets.images,
        ));
    }
    if risk_control.is_some() || prediction_sets.is_some() {
        lines.push("kept for `predict` and `eval` with the same --samples and --seed".into());
    }
    if let Some(ood) = &report.ood {
        lines.push(ood.in_words());
        lines.push("kept for `predict` and `eval`".into());
    }
    lines.join("\n")
}
