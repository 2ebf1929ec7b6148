//! `bayeslora train`: adapters for a set of labelled images.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::data::{Dataset, Splits};
use bayeslora::formats::{RunDir, read_regular};
use bayeslora::gpu::{Gpu, Precision};
use bayeslora::model::PLAIN_VIEW;
use bayeslora::predict::{Budget, Evaluated, Samples, Source};
use bayeslora::train::{self, EpochOutcome, EpochReport, Method, Progress, TrainConfig, Trainer};
use clap::Args;
use serde::Serialize;
use toml::Table;

use super::context::{self, Context};
use super::output::{self, Unkept};
use super::train_options::{Inputs, Options, config_text, parse_config};
use super::{ensemble, environment, failure};

/// Gate samples of the closing evaluation.
const SAMPLES: usize = 8;

/// Bytes that a file of options may have.
const CONFIG_LIMIT: u64 = 1 << 20;

#[derive(Args)]
pub struct TrainArgs {
    /// The run directory to write
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Options from a TOML file, by their long names; flags win
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Go on from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// One JSON object an epoch, then one for the test set
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

pub fn run(context: &Context, args: &TrainArgs) -> Result<()> {
    let flags = Table::try_from(&args.options)?;
    let (run, inputs, mut config) = match args.resume {
        true => resumed(args, &flags)?,
        false => fresh(args, flags)?,
    };
    config.precision = precision(context, args, &config)?;
    // All that can be said before images are read.
    config.check()?;
    let gpu = context.tuned_gpu_at(config.precision)?;
    let backbone = context::backbone(&inputs.backbone)?;
    train::check_fit(&gpu, &backbone, &config)?;
    let bar = context::Bar::default();
    let splits = inputs.open(config.resolution, &|done, total| {
        bar.show("reading images", done, total)
    })?;
    context::report_skipped(&splits.train);
    context::report_skipped(&splits.test);
    let (train, validation) = split(&splits.train, &config)?;
    if !args.json {
        output::text(&format!("adapter   {}", environment::adapter_line(&gpu)))?;
        output::text(&format!(
            "{}",
            data_line(&splits, &train, validation.as_ref())
        ))?;
        if let Some(note) = &splits.note {
            output::text(&format!("          {note}"))?;
        }
    }
    if config.method == Method::Ensemble {
        let config = config.resolve(train.len())?;
        let task = ensemble::Task {
            gpu: &gpu,
            backbone: &backbone,
            inputs: &inputs,
            config: &config,
            json: args.json,
        };
        return ensemble::train(
            context,
            &task,
            run,
            &args.out,
            (train, validation),
            splits.test,
        );
    }
    let mut observe = context.observer();
    let mut trainer = Trainer::new(&gpu, &backbone, config, train, validation, &mut observe)?;
    let run = match run {
        Some(run) => {
            restore(&run, &gpu, &mut trainer)?;
            run
        }
        None => start(&args.out, &inputs, &gpu, &trainer)?,
    };
    if !args.json {
        output::text(&format!("{}", method_line(&trainer)))?;
    }
    run_epochs(context, &run, &mut trainer, tell(args.json)?)?;
    if context.interrupted() {
        output::note(&format!(
            "stopped after epoch {} of {}; `bayeslora train --resume --out {}` goes on",
            trainer.epochs_done(),
            trainer.config().epochs,
            run.path().display()
        ));
        return Ok(());
    }
    close(&run, &gpu, &trainer, splits.test, args.json, &mut observe)
}

/// What is multiplied; a run that goes on keeps to what it was started with.
fn precision(context: &Context, args: &TrainArgs, config: &TrainConfig) -> Result<Precision> {
    let started = config.precision;
    let given = context.precision().unwrap_or(started);
    ensure!(
        !args.resume || given == started,
        "--precision is {given}, the run was started with {started}; leave it out to go on"
    );
    Ok(given)
}

/// A new run: defaults, then the config file, then the flags.
fn fresh(args: &TrainArgs, flags: Table) -> Result<(Option<RunDir>, Inputs, TrainConfig)> {
    let mut table = Table::new();
    let mut source = "the options".to_owned();
    if let Some(path) = &args.config {
        source = path.display().to_string();
        let option = || format!("--config {source}");
        let bytes = read_regular(path, CONFIG_LIMIT).with_context(option)?;
        let text = String::from_utf8(bytes).with_context(option)?;
        table = text.parse().with_context(option)?;
    }
    table.extend(flags);
    let (inputs, config) = parse_config(table, &source)?;
    ensure!(
        !inputs.data.is_empty(),
        "--data is missing: `sample`, a CIFAR or MNIST directory, or a folder of class folders"
    );
    // Before anything long starts; the directory itself is made when everything else is sound.
    RunDir::require_new(&args.out).context("--out")?;
    Ok((None, inputs, config))
}

/// The run in --out; flags may repeat what it was started with, not change it.
fn resumed(args: &TrainArgs, flags: &Table) -> Result<(Option<RunDir>, Inputs, TrainConfig)> {
    ensure!(
        args.config.is_none(),
        "--config has no place beside --resume: the run has its own"
    );
    let run = RunDir::open(&args.out)?.lock()?;
    let source = args.out.join("config.toml").display().to_string();
    let table: Table = run.read_config()?.parse().with_context(|| source.clone())?;
    for (key, value) in flags {
        let started = table.get(key);
        if started != Some(value) {
            let started = started.map_or("its default".into(), ToString::to_string);
            bail!("--{key} is {value}, the run was started with {started}; leave it out to go on");
        }
    }
    let (inputs, config) = parse_config(table, &source)?;
    Ok((Some(run), inputs, config))
}

/// A new run, which has a checkpoint from its start on: one without has lost it.
pub fn start(place: &Path, inputs: &Inputs, gpu: &Gpu, trainer: &Trainer) -> Result<RunDir> {
    let text = config_text(inputs, trainer.config())?;
    RunDir::create(place, &text, |run| {
        let checkpoint = trainer.checkpoint()?;
        run.write_environment(&environment::describe(gpu))
            .and_then(|()| run.write_checkpoint(&checkpoint))
            .context(Unkept("the run could not be started".into()))
    })
}

/// Goes on from the newest sound checkpoint of a run.
fn restore(run: &RunDir, gpu: &Gpu, trainer: &mut Trainer) -> Result<()> {
    let (checkpoint, damaged) = run.read_checkpoint()?;
    if let Some(kernels) = trainer.restore(&checkpoint)? {
        output::note(&format!(
            "warning: the checkpoint was made with other kernels ({kernels}); results will agree \
             only to rounding"
        ));
    }
    if let Some(error) = damaged {
        output::note(&format!(
            "warning: {error}; the run goes on from the checkpoint before, of epoch {}",
            checkpoint.epoch
        ));
        run.drop_newest_checkpoint()?;
    } else if checkpoint.epoch == 0 {
        output::note("the run was stopped in its first epoch: it starts from the beginning");
    }
    run.truncate_metrics(checkpoint.epoch)?;
    Ok(run.write_environment(&environment::describe(gpu))?)
}

/// The training set proper and the validation split.
pub fn split(train: &Dataset, config: &TrainConfig) -> Result<(Dataset, Option<Dataset>)> {
    if config.validation == 0.0 {
        return Ok((train.clone(), None));
    }
    let (train, validation) = train
        .split_validation(config.validation, config.split_seed.unwrap_or(config.seed))
        .with_context(|| format!("--validation {}", config.validation))?;
    Ok((train, Some(validation)))
}

/// A new run in `place`, or what is there of the same one; `trainer` is new.
pub fn begin(place: &Path, inputs: &Inputs, gpu: &Gpu, trainer: &mut Trainer) -> Result<RunDir> {
    if !place.join("config.toml").exists() {
        return start(place, inputs, gpu, trainer).context("--out");
    }
    let run = RunDir::open(place)
        .and_then(RunDir::lock)
        .context("--out")?;
    ensure!(
        run.read_config()? == config_text(inputs, trainer.config())?,
        "{} holds a run with other options; give another directory with --out",
        place.display()
    );
    restore(&run, gpu, trainer)?;
    Ok(run)
}

/// Prints each epoch as a line of a table, whose head is printed now, or as a JSON object.
pub fn tell(json: bool) -> Result<impl FnMut(&EpochReport, &TrainConfig) -> Result<()>> {
    if !json {
        output::text(&format!("\n{HEADER}"))?;
    }
    Ok(
        move |report: &EpochReport, config: &TrainConfig| match json {
            true => output::json(report),
            false => print_epoch(report, config.epochs),
        },
    )
}

/// Trains to the end, or until a signal stops it, leaving metrics, adapter and checkpoint after each epoch.
pub fn run_epochs(
    context: &Context,
    run: &RunDir,
    trainer: &mut Trainer,
    mut tell: impl FnMut(&EpochReport, &TrainConfig) -> Result<()>,
) -> Result<()> {
    let _graceful = context.stop_gracefully();
    let mut observe = context.observer();
    while let EpochOutcome::Done(report) = trainer
        .next_epoch(&mut observe)
        .map_err(|error| saved(run, trainer, error.into()))?
    {
        keep_epoch(run, trainer, &report).with_context(|| {
            Unkept(format!(
                "epoch {} could not be kept; once there is a place for it, `bayeslora train --resume \
                 --out {}` trains it again",
                report.epoch,
                run.path().display()
            ))
        })?;
        tell(&report, trainer.config())?;
    }
    ensure!(
        trainer.network().is_unchanged()?,
        "the frozen backbone changed: a bug, please report it"
    );
    Ok(())
}

/// The checkpoint comes last: what is there before it is written again where it is missing.
fn keep_epoch(run: &RunDir, trainer: &Trainer, report: &EpochReport) -> Result<()> {
    run.append_metrics(report)?;
    run.write_adapter(&trainer.adapter()?)?;
    Ok(run.write_checkpoint(&trainer.checkpoint()?)?)
}

/// What is left of a run whose device is lost.
fn saved(run: &RunDir, trainer: &Trainer, error: anyhow::Error) -> anyhow::Error {
    if !failure::is_device_lost(&error) {
        return error;
    }
    let path = run.path().display();
    match trainer.epochs_done() {
        0 => error.context(format!("{path} has no finished epoch; start it again")),
        epochs => error.context(format!(
            "{path} is saved as it was after epoch {epochs} of {}; the same command goes on from there, \
             `train` with --resume",
            trainer.config().epochs
        )),
    }
}

const HEADER: &str =
    "epoch      loss   train acc |    acc     NLL     ECE | ranks   soft |  images/s  GPU busy";

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
        let cost = match (&event.before, &event.after) {
            (Some(before), Some(after)) => format!(
                "; accuracy {:.4} -> {:.4}, NLL {:.4} -> {:.4}",
                before.accuracy, after.accuracy, before.nll, after.nll
            ),
            _ => String::new(),
        };
        output::text(&format!(
            "       pruned {} -> {} ranks{cost}",
            event.ranks_before, event.ranks_after
        ))?;
    }
    Ok(())
}

fn data_line(splits: &Splits, train: &Dataset, validation: Option<&Dataset>) -> String {
    let held_out = validation.map_or(String::new(), |set| format!(", {} validation", set.len()));
    format!(
        "data      {}: {} classes, {} training{held_out}, {} test images",
        splits.name,
        splits.train.classes.len(),
        train.len(),
        splits.test.len()
    )
}

fn method_line(trainer: &Trainer) -> String {
    let config = trainer.config();
    let mut method = config.method.title().to_owned();
    if let Some(p) = config.dropout {
        method += &format!(" of ranks with p = {p}");
    }
    let train = trainer.training_set();
    let cached = match (train.is_cached(), train.is_resident()) {
        (true, _) => "frozen layers computed once",
        (_, true) => "frozen layers computed every step, images on the GPU",
        _ if train.dataset.is_in_memory() => {
            "frozen layers computed every step, images uploaded with it"
        }
        _ => "frozen layers computed every step, images decoded every epoch",
    };
    format!(
        "method    {method}, rank {} on {}, batch {}, {} epochs; {cached}",
        config.rank,
        config.targets.join(", "),
        config.batch_size.unwrap_or_default(),
        config.epochs
    )
}

/// Scores the finished adapter on the test set, once.
fn close(
    run: &RunDir,
    gpu: &Gpu,
    trainer: &Trainer,
    test: Dataset,
    json: bool,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let test = test_source(trainer, test, observe)?;
    let results = test_results(trainer, &test, observe)?;
    if json {
        output::json(&results)?;
        return results.keep(run);
    }
    let mut rows = vec![("mean weights", &results.mean)];
    rows.extend(results.samples_8.as_ref().map(|row| ("8 samples", row)));
    print_test_rows(&rows)?;
    results.keep(run)?;
    let adapter = trainer.predictor();
    let layout = adapter.layout();
    output::text(&format!(
        "\n{} ranks, {} adapter parameters; run written to {} ({})",
        layout.total_rank(),
        layout.adapter_parameters(),
        run.path().display(),
        gpu.info().name
    ))
}

/// Scores on the test set, a line each.
pub fn print_test_rows(rows: &[(&str, &Evaluated)]) -> Result<()> {
    output::text(&format!(
        "\ntest set           acc     NLL     ECE   Brier    AURC"
    ))?;
    for (name, Evaluated { scores, .. }) in rows {
        output::text(&format!(
            "{name:<15} {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}",
            scores.accuracy, scores.nll, scores.ece, scores.brier, scores.aurc
        ))?;
    }
    Ok(())
}

/// The test set, with its features where they fit the budget.
pub fn test_source(
    trainer: &Trainer,
    test: Dataset,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Source> {
    let (cut, total) = (trainer.predictor().cut(), test.len());
    // Gone through at most twice: not worth a place on the GPU.
    let mut budget = Budget {
        images: 0,
        ..trainer.config().budget()
    };
    let size = trainer.config().resolution;
    let progress = |done| {
        let _ = observe(Progress::Caching { done, total });
    };
    let network = trainer.network();
    Ok(Source::within(
        &mut budget,
        network,
        cut,
        test,
        size,
        &[PLAIN_VIEW],
        progress,
    )?)
}

/// Scores on the test set, as results.json has them.
#[derive(Serialize)]
pub struct TestResults {
    /// z = 1.
    pub mean: Evaluated,
    /// The predictive, where there are gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_8: Option<Evaluated>,
}

impl TestResults {
    /// Writes results.json, once the scores are printed: they are not lost where that fails.
    pub fn keep(&self, run: &RunDir) -> Result<()> {
        let kept = run.write_results(self);
        kept.with_context(|| Unkept("the scores could not be kept".into()))
    }
}

/// Scores a finished adapter on the test set.
pub fn test_results(
    trainer: &Trainer,
    test: &Source,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<TestResults> {
    let mean = trainer.evaluate(test, Samples::MEAN, observe)?;
    let samples_8 = match trainer.config().method.gates() {
        None => None,
        Some(_) => {
            let samples = Samples::new(SAMPLES, trainer.config().seed);
            Some(trainer.evaluate(test, samples, observe)?)
        }
    };
    Ok(TestResults { mean, samples_8 })
}
