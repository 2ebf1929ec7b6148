//! `bayeslora train`: adapters for a set of labelled images.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Claim, RunDir, read_regular};
use bayeslora::low_level::gpu::{Gpu, Precision};
use bayeslora::low_level::model::{BackboneBits, PLAIN_VIEW};
use bayeslora::low_level::predict::{Budget, Evaluated, Predictive as _, Samples, Source};
use bayeslora::low_level::train::{self, Method, Progress, Sampler, TrainConfig, Trainer, prepare};
use clap::Args;
use serde::Serialize;
use toml::{Table, Value};

use super::chosen::{self, Open, Place};
use super::context::{self, Context};
use super::earlier::Earlier;
use super::epochs::{
    PLACES, Subject, print_kept, print_test_rows, restore, run_epochs, start, tell,
};
use super::output::{self, Unkept};
use super::run_images::{self, RunImages};
use super::tensorboard::Events;
use super::train_options::{Inputs, Options, config_text, parse_config, parse_table};
use super::{class_balance, ensemble, environment, lr_range, report};

/// Gate samples of the closing evaluation.
const SAMPLES: usize = 8;

/// Bytes that a file of options may have.
const CONFIG_LIMIT: u64 = 1 << 20;

#[derive(Args)]
pub struct TrainArgs {
    /// The run directory to write [default: runs/NAME, named after --data]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Options from a TOML file, by their long names; flags override them
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Go on from the adapter of a run, or of a PEFT directory, with a fresh optimiser: layers, ranks and scale are its own,
    /// and so are its gates and the head's weights of the classes that the images have too
    #[arg(long, value_name = "RUN|PEFT_DIR", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Continue from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// With --resume: go on even if training, validation or test images were removed, added or changed, with those
    /// that are still there
    #[arg(long, requires = "resume")]
    with_changed_data: bool,
    /// Find the learning rate of A, B and the head first, by a short range test that leaves no trace in the training: up to 100
    /// steps with rates from 1e-5 to 1, of which the one is taken where the loss falls fastest
    #[arg(long, conflicts_with = "resume")]
    find_lr: bool,
    /// Also write the epochs to RUN/tensorboard for TensorBoard (`tensorboard --logdir runs`)
    #[arg(long)]
    tensorboard: bool,
    /// Print one JSON object per epoch, then one for the test set; with --find-lr, one for its test first
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

pub fn run(context: &Context, args: &TrainArgs) -> Result<()> {
    let flags = Table::try_from(&args.options)?;
    let Started {
        place,
        inputs,
        mut config,
        moved,
        from,
        mut open,
    } = match args.resume {
        true => resumed(args, &flags)?,
        false => fresh(args, flags)?,
    };
    if let Place::New(claim) = &place {
        context.on_stop(Some(claim.undo()));
    }
    let recorded = match &place {
        Place::Run(run) => run.read_data()?,
        Place::New(_) => None,
    };
    config.precision = precision(context, args, &config)?;
    // All that can be said before images are read.
    config.check()?;
    let gpu = context.tuned_gpu_at(config.precision)?;
    let backbone = context::backbone(&inputs.backbone)?.in_bits(config.backbone_bits);
    open.set_resolution(&mut config, &backbone);
    train::check_fit(&gpu, &backbone, &config)?;
    if let Some(from) = &from {
        from.check(&backbone)?;
    }
    let bar = context::Bar::default();
    let (images, data) = match &place {
        Place::New(_) => {
            let before = from.as_ref().and_then(Earlier::record_of);
            let images = RunImages::draw(&inputs, &config, before, &bar)?;
            open.set_epochs(&mut config, images.train.len());
            let mut data = images.record(&inputs, &backbone);
            if let Some(from) = &from {
                from.record(&mut data)?;
            }
            (images, data)
        }
        Place::Run(run) => {
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
        if config.sampler == Sampler::Balanced {
            output::text(&class_balance::sampler_line(&images.train))?;
        }
        if let Some(chosen) = open.in_words() {
            output::text(&chosen)?;
        }
        if let Some(note) = class_balance::few_note(&images.train, &config) {
            output::note(&note);
        }
    }
    let mut observe = context.observer();
    let RunImages {
        train,
        validation,
        test,
        ..
    } = images;
    let images = train.len();
    let prepared = prepare(&gpu, &backbone, &config, train, validation, &mut observe)?;
    let found = match args.find_lr {
        false => None,
        true => {
            let from = from.as_ref();
            match lr_range::find(context, &prepared, &backbone, &config, from, args.json)? {
                None => return Ok(()),
                found => found,
            }
        }
    };
    if let Some(found) = &found {
        config.lr = found.lr;
    }
    // From here on there is a run, or the start of one.
    context.on_stop(None);
    if config.method == Method::Ensemble {
        let config = config.resolve(images)?;
        let task = ensemble::Task {
            gpu: &gpu,
            backbone: &backbone,
            subject,
            config: &config,
            found: found.as_ref(),
            json: args.json,
            tensorboard: args.tensorboard,
        };
        return ensemble::train(context, &task, place, &prepared, test);
    }
    let mut trainer = Trainer::over(prepared, &backbone, config)?;
    let run = match place {
        Place::Run(run) => {
            restore(&run, subject, &mut trainer)?;
            if trainer.is_finished() {
                let (done, epochs) = (trainer.epochs_done(), trainer.config().epochs);
                output::note(&format!(
                    "note: this run is finished ({done}/{epochs} epochs); nothing is trained, the test images are scored again"
                ));
            }
            run
        }
        Place::New(claim) => {
            if let Some(from) = &from {
                from.give(&mut trainer)?;
            }
            let run = start(claim, subject, &trainer)?;
            if let Some(found) = &found {
                found.keep(&run)?;
            }
            run
        }
    };
    if !args.json {
        output::text(&method_line(&trainer))?;
    }
    let events = args.tensorboard.then(|| Events::create(&run)).transpose()?;
    run_epochs(context, &run, &mut trainer, tell(args.json, events)?)?;
    if context.interrupted() {
        output::note(&format!(
            "stopped after epoch {} of {}; `bayeslora train --resume --out {}` goes on",
            trainer.epochs_done(),
            trainer.config().epochs,
            run.path().display()
        ));
        return Ok(());
    }
    // Pictures that somebody may want to look at.
    let are_files = test.has_files();
    close(&run, &gpu, &trainer, test, args.json, &mut observe)?;
    if are_files && !args.json {
        drop(trainer);
        output::text("")?;
        report::after_training(context, run.path())?;
    }
    Ok(())
}

/// The precision of what is multiplied; a resumed run keeps the one it was started with.
fn precision(context: &Context, args: &TrainArgs, config: &TrainConfig) -> Result<Precision> {
    let started = config.precision;
    let given = context.precision().unwrap_or(started);
    ensure!(
        !args.resume || given == started,
        "--precision is {given}, the run was started with {started}; leave it out to go on"
    );
    Ok(given)
}

/// What the options and the files say of a run.
struct Started {
    place: Place,
    inputs: Inputs,
    config: TrainConfig,
    /// The images or the backbone are not where the run found them.
    moved: bool,
    /// What a new one begins with.
    from: Option<Earlier>,
    /// What was not said of a new one.
    open: Open,
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
        table = parse_table(&text).with_context(option)?;
    }
    table.extend(flags);
    let from = match &args.from {
        None => None,
        Some(path) => Some(Earlier::open(path, &mut table)?),
    };
    ensure!(
        !(args.find_lr && table.contains_key("lr")),
        "--find-lr is to find what --lr gives already; leave out one of them"
    );
    let mut open = Open::of(&table);
    let (inputs, config) = parse_config(table, &source)?;
    ensure!(
        !inputs.data.is_empty(),
        "--data is missing: `sample`, a CIFAR or MNIST directory, or a folder of class folders"
    );
    // Before anything long starts, and before another process chooses the same.
    let claim = match &args.out {
        Some(place) => Claim::take(place).context("--out")?,
        None => {
            let claim = chosen::place(&inputs.data)?;
            open.set_place(claim.path());
            claim
        }
    };
    Ok(Started {
        place: Place::New(claim),
        inputs: inputs.absolute()?,
        config,
        moved: false,
        from,
        open,
    })
}

/// The run in --out. Flags may repeat what it was started with but not change it, except for the places of images and
/// backbone, which are recognised by their content.
fn resumed(args: &TrainArgs, flags: &Table) -> Result<Started> {
    ensure!(
        args.config.is_none(),
        "--config cannot be used with --resume: the run has its own options"
    );
    let place = args.out.clone();
    let place = place.context("--out is missing: with --resume it names the run to go on with")?;
    let run = RunDir::open(&place)?.lock()?;
    let source = place.join("config.toml").display().to_string();
    let mut table: Table = run.read_config()?.parse().with_context(|| source.clone())?;
    let places = Table::try_from(places(flags)?.absolute()?)?;
    let mut moved = false;
    // Written down only where they are others.
    let bits = Value::try_from(BackboneBits::default())?;
    for (key, value) in flags {
        let started = table.get(key);
        let started = started.or((key == "backbone-bits").then_some(&bits));
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
        place: Place::Run(run),
        inputs,
        config,
        moved,
        from: None,
        open: Open::nothing(),
    })
}

fn places(flags: &Table) -> Result<Inputs> {
    let named = flags.iter().filter(|(key, _)| PLACES.contains(&&***key));
    let named: Table = named
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(named.try_into()?)
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
    if !config.backbone_bits.is_full() {
        method += &format!(" over weights of {} bits", config.backbone_bits);
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
        config.batch_size,
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
    print_kept(trainer)?;
    let mut rows = vec![("mean weights", &results.mean)];
    rows.extend(results.samples_8.as_ref().map(|row| ("8 samples", row)));
    print_test_rows(&rows)?;
    results.keep(run)?;
    let adapter = trainer.predictor();
    let (layout, config) = (adapter.layout(), trainer.config());
    let uncut = layout
        .layers
        .iter()
        .all(|layer| layer.rank() == config.rank);
    output::text(&format!(
        "\n{} ranks{}, {} adapter parameters; run written to {} ({})",
        layout.total_rank(),
        match config.auto_rank && uncut {
            true => " (--rank auto has cut none: see --prune-from and --prune-every)",
            false => "",
        },
        adapter.adapter_parameters(),
        run.path().display(),
        gpu.info().name
    ))
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
    /// Whose scores they are, [`Adapter::sha256`](bayeslora::Adapter::sha256).
    pub adapter_sha256: String,
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
    Ok(TestResults {
        adapter_sha256: trainer.adapter()?.sha256()?,
        mean,
        samples_8,
    })
}
