//! `bayeslora train`: adapters for a set of labelled images.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::data::{self, Dataset, OpenOptions, Splits};
use bayeslora::formats::RunDir;
use bayeslora::gpu::Gpu;
use bayeslora::model::PLAIN_VIEW;
use bayeslora::predict::{Evaluated, Samples, Source};
use bayeslora::train::kl::{KlMultiplicity, KlPrior};
use bayeslora::train::{
    Augment, EpochOutcome, EpochReport, Gates, LrSchedule, Method, Progress, Span, TrainConfig,
    Trainer,
};
use clap::Args;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::context::{self, Context};
use super::environment;

/// Gate samples of the closing evaluation.
const SAMPLES: usize = 8;

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

/// Every option that config.toml holds too; what is not given is not serialised.
#[derive(Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Options {
    /// `sample`, a directory in CIFAR-10's or CIFAR-100's binary layout, or a folder of class folders
    #[arg(long, value_name = "D")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// ResNet-18 weights in safetensors, torchvision's or timm's names [default: embedded]
    #[arg(long, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone: Option<String>,
    /// Plain adapters, or adapters with Gaussian gates [default: bayeslora]
    #[arg(long, value_parser = name::<Method>, value_name = "lora|bayeslora")]
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    /// Side of the network's input in pixels [default: 64]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<usize>,
    /// [default: 5]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<usize>,
    /// [default: 32 below 5,000 images, 64 below 20,000, else 128]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<usize>,
    /// Learning rate of A, B and the head [default: 0.002]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr: Option<f64>,
    /// Learning rate of log alpha [default: 24 / steps, so that it can cross its range]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_log_alpha: Option<f64>,
    /// [default: cosine]
    #[arg(long, value_parser = name::<LrSchedule>, value_name = "cosine|constant")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_schedule: Option<LrSchedule>,
    /// On A and B [default: 0.01]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_decay: Option<f64>,
    /// Ranks of every adapter at the start [default: 8]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    /// The adapters' scale is this over --rank, whatever is pruned [default: twice the rank]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<f64>,
    /// Layers to adapt: names, stages or globs, with commas between [default: layer3,layer4]
    #[arg(long, value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<String>>,
    /// Prior of the gates [default: molchanov]
    #[arg(long, value_name = "molchanov|eb|gaussian[:VARIANCE]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_prior: Option<KlPrior>,
    /// Weight of the KL; other than 1 tempers the posterior [default: 1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_scale: Option<f64>,
    /// KL of a rank: 1, its number of parameters, or NUMBER times that [default: 5e-7 a training image]
    #[arg(long, value_name = "unit|params|NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_multiplicity: Option<KlMultiplicity>,
    /// No KL for so many epochs, or this fraction of the run [default: 0.1]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_freeze: Option<Span>,
    /// Then the KL's weight rises for so long [default: 0.2]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_warmup: Option<Span>,
    /// Gates stay at 1 for so long [default: 0.1]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_warmup: Option<Span>,
    /// When ranks are cut first, at the end of an epoch [default: 0.5]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_from: Option<Span>,
    /// And how often from then on, but not after the last epoch [default: 0.1]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_every: Option<Span>,
    /// Ranks with log alpha at or above it are cut [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    /// Ranks that every layer keeps [default: 0]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_rank: Option<usize>,
    /// A gate draw an example, or one for the batch [default: per-example]
    #[arg(long, value_parser = name::<Gates>, value_name = "per-example|shared")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gates: Option<Gates>,
    /// Share of the training images set aside for choices, 0 for none [default: 0.1]
    #[arg(long, value_name = "FRACTION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<f64>,
    /// Use so many training images, as many of each class
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_train: Option<usize>,
    /// Use so many test images
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_test: Option<usize>,
    /// Random views of the training images [default: flip]
    #[arg(long, value_parser = name::<Augment>, value_name = "none|flip|standard")]
    #[serde(skip_serializing_if = "Option::is_none")]
    augment: Option<Augment>,
    /// Host memory for the frozen layers' features, as in 500MB or 2GiB; 0 for none [default: 2GiB]
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_cache: Option<u64>,
    /// [default: 1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Leave out images that do not decode instead of stopping
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skip_bad_images: bool,
}

/// Reads a value by the name that config files use.
fn name<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, NameError> {
    let deserializer: StrDeserializer<NameError> = text.into_deserializer();
    T::deserialize(deserializer)
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64())
}

/// What a run reads, beside how it trains; both make up config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Inputs {
    pub data: String,
    pub backbone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_test: Option<usize>,
    pub skip_bad_images: bool,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            data: String::new(),
            backbone: "embedded".into(),
            limit_train: None,
            limit_test: None,
            skip_bad_images: false,
        }
    }
}

impl Inputs {
    const KEYS: [&str; 5] = [
        "data",
        "backbone",
        "limit-train",
        "limit-test",
        "skip-bad-images",
    ];

    /// Opens the images, at the size that folders are resized to.
    pub fn open(&self, side: usize, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Splits> {
        let options = OpenOptions {
            side,
            skip_bad_images: self.skip_bad_images,
            limit_train: self.limit_train,
            limit_test: self.limit_test,
            progress: Some(progress),
        };
        data::open(&self.data, &options).with_context(|| format!("--data {}", self.data))
    }
}

/// Splits the table of a config file into what a run reads and how it trains.
pub fn parse_config(mut table: Table, source: &str) -> Result<(Inputs, TrainConfig)> {
    let mut inputs = Table::new();
    for key in Inputs::KEYS {
        inputs.extend(table.remove_entry(key));
    }
    let inputs = inputs.try_into().with_context(|| source.to_owned())?;
    Ok((inputs, table.try_into().with_context(|| source.to_owned())?))
}

/// The text of config.toml.
pub fn config_text(inputs: &Inputs, config: &TrainConfig) -> Result<String> {
    let mut table = Table::try_from(inputs)?;
    table.extend(Table::try_from(config)?);
    Ok(toml::to_string_pretty(&table)?)
}

pub fn run(context: &Context, args: &TrainArgs) -> Result<()> {
    let flags = Table::try_from(&args.options)?;
    let (run, inputs, config) = match args.resume {
        true => resumed(args, &flags)?,
        false => fresh(args, flags)?,
    };
    let gpu = context.gpu()?;
    context.catch_interrupt()?;
    let backbone = context::backbone(&inputs.backbone)?;
    let bar = context::Bar::default();
    let splits = inputs.open(config.resolution, &|done, total| {
        bar.show("reading images", done, total)
    })?;
    context::report_skipped(&splits.train);
    context::report_skipped(&splits.test);
    let (train, validation) = split(&splits.train, &config)?;
    if !args.json {
        println!("adapter   {}", environment::adapter_line(&gpu));
        println!("{}", data_line(&splits, &train, validation.as_ref()));
        splits
            .note
            .iter()
            .for_each(|note| println!("          {note}"));
    }
    let mut observe = context.observer();
    let mut trainer = Trainer::new(&gpu, &backbone, config, train, validation, &mut observe)?;
    if context.interrupted() {
        return Ok(());
    }
    let run = match run {
        Some(run) => {
            restore(&run, &mut trainer)?;
            run
        }
        None => {
            let run = RunDir::create(&args.out)?;
            run.write_config(&config_text(&inputs, trainer.config())?)?;
            run
        }
    };
    run.write_environment(&environment::describe(&gpu))?;
    if !args.json {
        println!("{}", method_line(&trainer));
    }
    run_epochs(&run, &mut trainer, args.json, &mut observe)?;
    if context.interrupted() {
        eprintln!(
            "stopped after epoch {} of {}; `bayeslora train --resume --out {}` goes on",
            trainer.epochs_done(),
            trainer.config().epochs,
            run.path().display()
        );
        return Ok(());
    }
    close(&run, &gpu, &trainer, splits.test, args.json, &mut observe)
}

/// A new run: defaults, then the config file, then the flags.
fn fresh(args: &TrainArgs, flags: Table) -> Result<(Option<RunDir>, Inputs, TrainConfig)> {
    let mut table = Table::new();
    let mut source = "the options".to_owned();
    if let Some(path) = &args.config {
        source = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("--config {source}"))?;
        table = text.parse().with_context(|| format!("--config {source}"))?;
    }
    table.extend(flags);
    let (inputs, config) = parse_config(table, &source)?;
    ensure!(
        !inputs.data.is_empty(),
        "--data is missing: `sample`, a CIFAR directory, or a folder of class folders"
    );
    refuse_filled(&args.out)?;
    Ok((None, inputs, config))
}

/// Before anything long starts; the directory itself is made when everything else is sound.
fn refuse_filled(out: &Path) -> Result<()> {
    let filled = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !filled,
        "--out {} is not empty; give another directory, or --resume to go on with the run in it",
        out.display()
    );
    Ok(())
}

/// The run in --out; flags may repeat what it was started with, not change it.
fn resumed(args: &TrainArgs, flags: &Table) -> Result<(Option<RunDir>, Inputs, TrainConfig)> {
    ensure!(
        args.config.is_none(),
        "--config has no place beside --resume: the run has its own"
    );
    let run = RunDir::open(&args.out)?;
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

/// Goes on from the checkpoint, or from the start where the run did not get that far.
fn restore(run: &RunDir, trainer: &mut Trainer) -> Result<()> {
    let Some(checkpoint) = run.read_checkpoint()? else {
        run.truncate_metrics(0)?;
        return Ok(());
    };
    if let Some(kernels) = trainer.restore(&checkpoint)? {
        eprintln!(
            "warning: the checkpoint was made with other kernels ({kernels}); results will agree \
             only to rounding"
        );
    }
    run.truncate_metrics(checkpoint.epoch)?;
    Ok(())
}

/// The training set proper and the validation split.
pub fn split(train: &Dataset, config: &TrainConfig) -> Result<(Dataset, Option<Dataset>)> {
    if config.validation == 0.0 {
        return Ok((train.clone(), None));
    }
    let (train, validation) = train
        .split_validation(config.validation, config.seed)
        .with_context(|| format!("--validation {}", config.validation))?;
    Ok((train, Some(validation)))
}

/// Trains to the end, or to Ctrl-C, leaving metrics, adapter and checkpoint after each epoch.
pub fn run_epochs(
    run: &RunDir,
    trainer: &mut Trainer,
    json: bool,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let before = trainer.network().sha256()?;
    if !json {
        println!("\n{HEADER}");
    }
    while let EpochOutcome::Done(report) = trainer.next_epoch(observe)? {
        run.append_metrics(&report)?;
        trainer.adapter()?.save_peft(run.adapter_dir())?;
        run.write_checkpoint(&trainer.checkpoint()?)?;
        match json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => print_epoch(&report, trainer.config().epochs),
        }
    }
    ensure!(
        before == trainer.network().sha256()?,
        "the frozen backbone changed: a bug, please report it"
    );
    Ok(())
}

const HEADER: &str =
    "epoch      loss   train acc |    acc     NLL     ECE | ranks   soft |  images/s";

fn print_epoch(report: &EpochReport, epochs: usize) {
    let score = |value: Option<f64>| value.map_or("     -".into(), |value| format!("{value:.4}"));
    println!(
        "{:>2}/{epochs:<3} {:>8.4} {:>11.4} | {:>6}  {:>6}  {:>6} | {:>5} {:>6.1} | {:>9.0}",
        report.epoch,
        report.loss,
        report.train_accuracy,
        score(report.accuracy),
        score(report.nll),
        score(report.ece),
        report.rank,
        report.soft_rank,
        report.images_per_second,
    );
    if let Some(event) = &report.prune {
        let cost = match (&event.before, &event.after) {
            (Some(before), Some(after)) => format!(
                "; accuracy {:.4} -> {:.4}, NLL {:.4} -> {:.4}",
                before.accuracy, after.accuracy, before.nll, after.nll
            ),
            _ => String::new(),
        };
        println!(
            "       pruned {} -> {} ranks{cost}",
            event.ranks_before, event.ranks_after
        );
    }
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
    let method = match config.method {
        Method::Lora => "LoRA",
        Method::BayesLora => "BayesLoRA",
    };
    let cached = match trainer.training_set().is_cached() {
        true => "frozen layers computed once",
        false => "frozen layers computed every step",
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
    let results = test_results(run, trainer, &test, observe)?;
    if json {
        println!("{}", serde_json::to_string(&results)?);
        return Ok(());
    }
    println!("\ntest set           acc     NLL     ECE   Brier    AURC");
    let rows = [
        ("mean weights", Some(&results.mean)),
        ("8 samples", results.samples_8.as_ref()),
    ];
    for (name, Evaluated { scores, .. }) in
        rows.iter().filter_map(|(name, row)| Some((name, (*row)?)))
    {
        println!(
            "{name:<15} {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}  {:>6.4}",
            scores.accuracy, scores.nll, scores.ece, scores.brier, scores.aurc
        );
    }
    let adapter = trainer.predictor();
    let layout = adapter.layout();
    println!(
        "\n{} ranks, {} adapter parameters; run written to {} ({})",
        layout.total_rank(),
        layout.adapter_parameters(),
        run.path().display(),
        gpu.info().name
    );
    Ok(())
}

/// The test set, with its features where they fit the budget.
pub fn test_source(
    trainer: &Trainer,
    test: Dataset,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Source> {
    let (cut, total) = (trainer.predictor().cut(), test.len());
    let mut budget = trainer.config().prefix_cache;
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

/// Scores a finished adapter on the test set and writes results.json.
pub fn test_results(
    run: &RunDir,
    trainer: &Trainer,
    test: &Source,
    observe: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<TestResults> {
    let mean = trainer.evaluate(test, Samples::MEAN, observe)?;
    let samples_8 = match trainer.config().method {
        Method::Lora => None,
        Method::BayesLora => {
            let samples = Samples::new(SAMPLES, trainer.config().seed);
            Some(trainer.evaluate(test, samples, observe)?)
        }
    };
    let results = TestResults { mean, samples_8 };
    let text = serde_json::to_string_pretty(&results)?;
    std::fs::write(run.path().join("results.json"), text + "\n")?;
    Ok(results)
}
