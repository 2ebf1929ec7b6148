//! `bayeslora train`: adapters for a set of labelled images.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::data::Dataset;
use bayeslora::formats::{DataManifest, RunDir, read_regular};
use bayeslora::gpu::{Gpu, Precision};
use bayeslora::model::PLAIN_VIEW;
use bayeslora::predict::{Budget, Evaluated, Samples, Source};
use bayeslora::train::{
    self, EpochOutcome, EpochReport, Method, Progress, TrainConfig, TrainError, Trainer,
};
use clap::Args;
use serde::Serialize;
use toml::Table;

use super::context::{self, Context};
use super::output::{self, Unkept};
use super::run_images::{self, RunImages};
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
    /// Beside --resume: go on though training, validation or test images were removed, added or changed, with those
    /// that are still there
    #[arg(long, requires = "resume")]
    with_changed_data: bool,
    /// One JSON object an epoch, then one for the test set
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

pub fn run(context: &Context, args: &TrainArgs) -> Result<()> {
    let flags = Table::try_from(&args.options)?;
    let Started {
        run,
        inputs,
        mut config,
        moved,
    } = match args.resume {
        true => resumed(args, &flags)?,
        false => fresh(args, flags)?,
    };
    let recorded = match &run {
        Some(run) => run.read_data()?,
        None => None,
    };
    config.precision = precision(context, args, &config)?;
    // All that can be said before images are read.
    config.check()?;
    let gpu = context.tuned_gpu_at(config.precision)?;
    let backbone = context::backbone(&inputs.backbone)?;
    train::check_fit(&gpu, &backbone, &config)?;
    let bar = context::Bar::default();
    let (images, data) = match &run {
        None => {
            let images = RunImages::draw(&inputs, &config, &bar)?;
            let data = images.record(&inputs, &backbone);
            (images, data)
        }
        Some(run) => {
            let data = run_images::required(recorded.as_ref(), run.path()).context("--resume")?;
            run_images::check_backbone(data, &backbone)?;
            let changed = args.with_changed_data.into();
            let images = RunImages::again(data, &inputs, &config, changed, &bar)?;
            if moved {
                run.replace_config(&config_text(&inputs, &config)?)?;
            }
            (images, data.clone())
        }
    };
    let subject = Subject {
        inputs: &inputs,
        data: &data,
        other_images: args.with_changed_data,
    };
    if !args.json {
        output::text(&format!("adapter   {}", environment::adapter_line(&gpu)))?;
        output::text(&data_line(&images))?;
        if let Some(note) = &images.note {
            output::text(&format!("          {note}"))?;
        }
    }
    if config.method == Method::Ensemble {
        let config = config.resolve(images.train.len())?;
        let task = ensemble::Task {
            gpu: &gpu,
            backbone: &backbone,
            subject,
            config: &config,
            json: args.json,
        };
        return ensemble::train(context, &task, run, &args.out, images);
    }
    let mut observe = context.observer();
    let RunImages {
        train,
        validation,
        test,
        ..
    } = images;
    let mut trainer = Trainer::new(&gpu, &backbone, config, train, validation, &mut observe)?;
    let run = match run {
        Some(run) => {
            restore(&run, subject, &gpu, &mut trainer)?;
            run
        }
        None => start(&args.out, subject, &gpu, &trainer)?,
    };
    if !args.json {
        output::text(&method_line(&trainer))?;
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
    close(&run, &gpu, &trainer, test, args.json, &mut observe)
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

/// What a run is trained on, as it keeps it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub inputs: &'a Inputs,
    pub data: &'a DataManifest,
    /// Whether the images may be others than those that its checkpoint was made with.
    pub other_images: bool,
}

/// What the options and the files say of a run.
struct Started {
    /// Where there is one to go on with.
    run: Option<RunDir>,
    inputs: Inputs,
    config: TrainConfig,
    /// The images or the backbone are not where the run has found them.
    moved: bool,
}

/// A new run: defaults, then the config file, then the flags.
fn fresh(args: &TrainArgs, flags: Table) -> Result<Started> {
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
    Ok(Started {
        run: None,
        inputs: inputs.absolute()?,
        config,
        moved: false,
    })
}

/// The run in --out; flags may repeat what it was started with, not change it, but for the places of images and
/// backbone, which are the same by their content.
fn resumed(args: &TrainArgs, flags: &Table) -> Result<Started> {
    ensure!(
        args.config.is_none(),
        "--config has no place beside --resume: the run has its own"
    );
    let run = RunDir::open(&args.out)?.lock()?;
    let source = args.out.join("config.toml").display().to_string();
    let mut table: Table = run.read_config()?.parse().with_context(|| source.clone())?;
    let places = Table::try_from(places(flags)?.absolute()?)?;
    let mut moved = false;
    for (key, value) in flags {
        let started = table.get(key);
        if PLACES.contains(&&**key) {
            let now = places[key].clone();
            moved |= started != Some(&now);
            table.insert(key.clone(), now);
        } else if started != Some(value) {
            let started = started.map_or("its default".into(), ToString::to_string);
            bail!("--{key} is {value}, the run was started with {started}; leave it out to go on");
        }
    }
    let (inputs, config) = parse_config(table, &source)?;
    if config.method != Method::Ensemble {
        // Before any work: a run without a sound one cannot go on.
        run.read_checkpoint()?;
    }
    Ok(Started {
        run: Some(run),
        inputs,
        config,
        moved,
    })
}

/// Keys of what a run is told by its content and not by its name.
const PLACES: [&str; 2] = ["data", "backbone"];

fn places(flags: &Table) -> Result<Inputs> {
    let named = flags.iter().filter(|(key, _)| PLACES.contains(&&***key));
    let named: Table = named
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(named.try_into()?)
}

/// A new run, which has a checkpoint from its start on: one without has lost it.
pub fn start(place: &Path, subject: Subject, gpu: &Gpu, trainer: &Trainer) -> Result<RunDir> {
    let text = config_text(subject.inputs, trainer.config())?;
    RunDir::create(place, &text, |run| {
        let checkpoint = trainer.checkpoint()?;
        run.write_data(subject.data)
            .and_then(|()| run.write_environment(&environment::describe(gpu)))
            .and_then(|()| run.write_checkpoint(&checkpoint))
            .context(Unkept("the run could not be started".into()))
    })
}

/// Goes on from the newest sound checkpoint of a run.
fn restore(run: &RunDir, subject: Subject, gpu: &Gpu, trainer: &mut Trainer) -> Result<()> {
    let (checkpoint, damaged) = run.read_checkpoint()?;
    let kernels = match subject.other_images {
        true => trainer.restore_over_other_images(&checkpoint)?,
        false => trainer.restore(&checkpoint)?,
    };
    if let Some(kernels) = kernels {
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

/// A new run in `place`, or what is there of the same one; `trainer` is new.
pub fn begin(place: &Path, subject: Subject, gpu: &Gpu, trainer: &mut Trainer) -> Result<RunDir> {
    if !place.join("config.toml").exists() {
        return start(place, subject, gpu, trainer).context("--out");
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
    restore(&run, subject, gpu, trainer)?;
    Ok(run)
}

/// All of a configuration but where images and backbone are.
fn beside_places(text: &str) -> Result<Table> {
    let mut table: Table = text.parse()?;
    table.retain(|key, _| !PLACES.contains(&key));
    Ok(table)
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
    loop {
        let kept = trainer.epochs_done();
        let lost = |error: TrainError| saved(run, kept, error.into());
        let EpochOutcome::Done(report) = trainer.next_epoch(&mut observe).map_err(lost)? else {
            break;
        };
        let adapter = trainer.adapter().map_err(lost)?;
        let checkpoint = trainer.checkpoint().map_err(lost)?;
        // The checkpoint comes last: what is there before it is written again where it is missing.
        run.append_metrics(&report)
            .and_then(|()| run.write_adapter(&adapter))
            .and_then(|()| run.write_checkpoint(&checkpoint))
            .with_context(|| {
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

/// What is left of a run, of which so many epochs are kept, when its device is lost.
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

fn data_line(images: &RunImages) -> String {
    let held_out = images.validation.as_ref();
    let held_out = held_out.map_or(String::new(), |set| format!(", {} validation", set.len()));
    format!(
        "data      {}: {} classes, {} training{held_out}, {} test images",
        images.name,
        images.train.classes.len(),
        images.train.len(),
        images.test.len()
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
        (true, true) => "frozen layers computed once, features on the GPU",
        (true, false) => "frozen layers computed once, features uploaded with each step",
        (_, true) => "frozen layers computed every step, images on the GPU",
        _ if train.dataset.is_in_memory() => {
            "frozen layers computed every step, images uploaded with it"
        }
        _ => "frozen layers computed every step, images decoded every epoch",
    };
    format!(
        "method    {method}, rank {} on {}, batch {}, {} epochs; {cached}",
        match config.auto_rank {
            true => format!("{} and fewer", config.rank),
            false => config.rank.to_string(),
        },
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
    output::text("\ntest set           acc     NLL     ECE   Brier    AURC")?;
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
        resident: 0,
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
