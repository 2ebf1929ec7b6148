//! `tune`: a run again with other KL multiplicities, compared on its validation split.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::metrics::{Predictions, nll_each};
use bayeslora::low_level::predict::{Evaluated, Samples};
use bayeslora::low_level::study::{KAPPA_FACTORS, candidates, fewest_ranks, lowest};
use bayeslora::low_level::train::kl::KlMultiplicity;
use bayeslora::low_level::train::{
    Prepared, Progress, TrainConfig, Trainer, default_kappa, prepare,
};
use clap::Args;
use serde::Serialize;

use super::context::{Bar, Context};
use super::epochs::{Subject, begin, run_epochs, tell};
use super::location::Location;
use super::run::RunArgs;
use super::run_images::record;
use super::{output, tables};

#[derive(Args)]
pub struct TuneArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Where the run's images are now [default: where it was trained on them]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// Go on even if training or validation images were removed, added or changed, with those still there
    #[arg(long)]
    with_changed_data: bool,
    /// The values to try, separated by commas [default: unit, and 0.1, 0.3, 1 and 3 times the default
    /// of `train`]
    #[arg(long, value_name = "unit|params|NUMBER", value_delimiter = ',')]
    kl_multiplicity: Vec<KlMultiplicity>,
    /// Monte Carlo samples of the gates
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Where to write a run for each value; runs that are there already are continued [default: `tune`
    /// in the run's directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object per epoch, then one with the curve
    #[arg(long)]
    json: bool,
}

/// The curve, with its names in JSON.
#[derive(Serialize)]
struct Report {
    validation_images: usize,
    samples: usize,
    points: Vec<Point>,
    /// The run with the lowest validation NLL of the samples.
    lowest_nll: Location,
    /// The run with the fewest ranks among those whose NLL is within a standard error (of the paired
    /// difference) of the lowest.
    fewest_ranks: Location,
}

/// One value of the sweep.
#[derive(Serialize)]
struct Point {
    kl_multiplicity: KlMultiplicity,
    run: Location,
    rank_count: usize,
    /// z = 1.
    mean: Evaluated,
    /// The predictive of the samples.
    sampled: Evaluated,
    /// Its NLL of each validation image.
    #[serde(skip)]
    nll_each: Vec<f64>,
}

pub fn run(context: &Context, args: &TuneArgs) -> Result<()> {
    let run = args.run.open()?;
    run.refuse_ensemble("`tune`")?;
    let config = run.dir.path().join("config.toml").display().to_string();
    ensure!(
        run.config.method.learns_noise(),
        "--run {}: its method is {}, which has no KL; tune a run of --method bayeslora",
        run.dir.path().display(),
        run.config.method.name()
    );
    ensure!(
        run.config.validation > 0.0,
        "{config} says validation = 0, so there are no held-out images to compare on; train the run \
         with --validation 0.1"
    );
    let inputs = run.inputs_at(args.data.as_ref())?;
    let own = run.own(&inputs.data, args.with_changed_data.into())?;
    let [train, validation] = own.open([Part::Train, Part::Validation], &Bar::default())?;
    let recorded = own.recorded;
    let sets = (&train, Some(&validation));
    let mut data = record(&recorded.name, sets, &inputs, &run.backbone);
    data.test = recorded.test.clone();
    data.skipped = recorded.skipped.clone();
    let subject = Subject {
        inputs: &inputs,
        data: &data,
        other_images: false,
    };
    let base = TrainConfig {
        precision: context.precision().unwrap_or(run.config.precision),
        ..run.config.clone()
    };
    let gpu = context.tuned_gpu_at(base.precision)?;
    let values = match args.kl_multiplicity.is_empty() {
        true => candidates(default_kappa(train.len()), &KAPPA_FACTORS),
        false => args.kl_multiplicity.clone(),
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| run.dir.path().join("tune"));
    let mut observe = context.observer();
    // Once for all values: they differ in nothing that lies below the adapters.
    let prepared = prepare(
        &gpu,
        &run.backbone,
        &base,
        train,
        Some(validation),
        &mut observe,
    )?;
    let mut points = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if !args.json {
            output::text(&format!(
                "\nkl-multiplicity {value} ({} of {})",
                index + 1,
                values.len()
            ))?;
        }
        let place = out.join(value.to_string());
        let config = TrainConfig {
            kl_multiplicity: Some(*value),
            ..base.clone()
        };
        let mut trainer = Trainer::over(prepared.clone(), &run.backbone, config)?;
        let dir = begin(&place, subject, &mut trainer)?;
        run_epochs(context, &dir, &mut trainer, tell(args.json, None)?)?;
        if context.interrupted() {
            output::note(&format!(
                "stopped; the same command goes on from {}",
                place.display()
            ));
            return Ok(());
        }
        points.push(score(
            &trainer,
            &prepared,
            args.samples,
            *value,
            place,
            &mut observe,
        )?);
    }
    let report = report(points, &prepared, args.samples);
    match args.json {
        true => output::json(&report),
        false => output::text(&describe(&report)),
    }
}

fn score(
    trainer: &Trainer,
    prepared: &Prepared,
    samples: usize,
    kl_multiplicity: KlMultiplicity,
    run: PathBuf,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Point> {
    let validation = prepared.validation.as_ref().expect("checked before");
    let samples = Samples::new(samples, trainer.config().seed);
    let mean = trainer.evaluate(validation, Samples::MEAN, observe)?;
    let sampled = trainer.evaluate(validation, samples, observe)?;
    let (labels, classes) = (&validation.dataset.labels, validation.dataset.classes.len());
    let predictions = Predictions::from_log_probs(&sampled.log_probs, labels, classes)?;
    Ok(Point {
        kl_multiplicity,
        run: run.into(),
        rank_count: sampled.rank_count,
        nll_each: nll_each(&predictions),
        mean,
        sampled,
    })
}

fn report(points: Vec<Point>, prepared: &Prepared, samples: usize) -> Report {
    let each: Vec<&[f64]> = points.iter().map(|point| &*point.nll_each).collect();
    let ranks: Vec<usize> = points.iter().map(|point| point.rank_count).collect();
    let run = |place: usize| points[place].run.clone();
    let validation = prepared.validation.as_ref().expect("checked before");
    Report {
        validation_images: validation.dataset.len(),
        samples,
        lowest_nll: run(lowest(&each)),
        fewest_ranks: run(fewest_ranks(&ranks, &each)),
        points,
    }
}

fn describe(report: &Report) -> String {
    let sampled = format!("NLL, {} samples", report.samples);
    let header = [
        "kl-multiplicity",
        "ranks",
        "eff. rank",
        "parameters",
        "accuracy",
        "NLL",
        &sampled,
        "ECE",
        "",
    ];
    let mut table = tables::new(&header, &[0, 1, 2, 3, 4, 5, 6, 7]);
    for point in &report.points {
        let Evaluated { scores, .. } = &point.sampled;
        let is = |run: &Location, text| if *run == point.run { text } else { "" };
        let marks = [
            is(&report.lowest_nll, "lowest NLL"),
            is(&report.fewest_ranks, "fewest ranks"),
        ];
        let marks: Vec<_> = marks.into_iter().filter(|mark| !mark.is_empty()).collect();
        table.add_row([
            point.kl_multiplicity.to_string(),
            point.rank_count.to_string(),
            format!("{:.1}", point.sampled.effective_rank),
            point.sampled.adapter_parameters.to_string(),
            format!("{:.4}", scores.accuracy),
            format!("{:.4}", point.mean.scores.nll),
            format!("{:.4}", scores.nll),
            format!("{:.4}", scores.ece),
            marks.join(", "),
        ]);
    }
    format!(
        "\n{} validation images; the test set was not looked at\n{}\nNLL is that of the mean weights; \
         accuracy and ECE are those of the samples; fewest ranks: of those whose NLL is within a \
         standard error of the lowest\n\neach value has a run of its own: bayeslora eval --run {}",
        report.validation_images,
        table.trim_fmt(),
        report.fewest_ranks
    )
}
