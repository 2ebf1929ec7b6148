//! Does the runs of a study one after the other.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bayeslora::data::Dataset;
use bayeslora::formats::RunDir;
use bayeslora::gpu::Gpu;
use bayeslora::model::{Backbone, PLAIN_VIEW};
use bayeslora::predict::laplace::LaplaceStructure;
use bayeslora::predict::{Budget, Predictor, Samples, Source};
use bayeslora::report::Study;
use bayeslora::study::{Ask, Images, Place, RunSpec, Settings, Stored};
use bayeslora::train::{Prepared, TrainConfig, Trainer, prepare};

use super::options::{Named, Options, Shard};
use super::sets::{Part, Sets};
use super::{cuts, laplace, sets};
use crate::cli::context::{self, Bar, Context};
use crate::cli::train::{begin, run_epochs, split};

/// Host memory for the features of all sets, in bytes.
const FEATURES: u64 = 6 << 30;

/// The device, the images, and what has been computed of them once for all runs.
pub struct Workshop<'a> {
    context: &'a Context,
    options: Options,
    settings: Settings,
    gpu: Gpu,
    backbone: Backbone,
    sets: Sets,
    prepared: [Option<Prepared>; 2],
    sources: HashMap<String, Source>,
    budget: Budget,
}

impl<'a> Workshop<'a> {
    pub fn open(context: &'a Context, options: Options, settings: Settings) -> Result<Self> {
        let gpu = context.tuned_gpu()?;
        let backbone = context::backbone(&options.backbone)?;
        let sets = Sets::open(&options, &settings)?;
        Ok(Self {
            context,
            options,
            settings,
            gpu,
            backbone,
            sets,
            prepared: [None, None],
            sources: HashMap::new(),
            budget: Budget {
                features: FEATURES,
                images: 0,
            },
        })
    }

    pub fn out(&self) -> &Path {
        &self.options.out
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The head of the report.
    pub fn study(&self, validation_images: usize) -> Study {
        let Options {
            scale,
            data,
            backbone,
            unfamiliar,
            ..
        } = &self.options;
        let mut command = format!(
            "bayeslora reproduce --out DIR --scale {} --data {data}",
            scale.name()
        );
        if backbone != "embedded" {
            command += &format!(" --backbone {backbone}");
        }
        for Named { name, data } in unfamiliar {
            command += &format!(" --unfamiliar {name}={data}");
        }
        let all = &self.sets.all;
        Study {
            scale: scale.name().into(),
            commands: vec![command, "bayeslora report DIR".into()],
            program: format!("bayeslora {}", env!("CARGO_PKG_VERSION")),
            environments: Vec::new(),
            date: today(),
            backbone: backbone.clone(),
            data: data.clone(),
            classes: all.train.classes.to_vec(),
            train_images: self.train_images(),
            validation_images,
            test_images: all.test.len(),
            resolution: self.settings.resolution,
            epochs: self.settings.epochs,
            resamples: self.settings.resamples,
            seconds: 0.0,
        }
    }
}

impl Workshop<'_> {
    /// Does what is not done yet of the runs that the shard has. False where Ctrl-C stopped it.
    pub fn work_through(&mut self, specs: &[RunSpec], shard: Shard) -> Result<bool> {
        let jobs = in_order(specs);
        let mine = (0..jobs.len()).filter(|job| shard.has(*job));
        let mut left: Vec<_> = mine.map(|job| jobs[job]).collect();
        let total = left.len();
        left.retain(|(spec, seed)| !self.is_done(spec, *seed));
        let (start, done_before) = (Instant::now(), total - left.len());
        for (number, (spec, seed)) in left.iter().enumerate() {
            println!(
                "\n{} of {total}: {}, seed {seed}{}",
                done_before + number + 1,
                spec.title,
                remaining(start.elapsed(), number, left.len())
            );
            if !self.do_run(spec, *seed)? {
                eprintln!(
                    "stopped; `bayeslora reproduce --out {}` goes on",
                    self.options.out.display()
                );
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_done(&self, spec: &RunSpec, seed: u64) -> bool {
        let place = Place::new(&self.options.out, &spec.name, seed);
        let epochs = RunDir::open(&place.run).and_then(|run| run.read_metrics());
        epochs.is_ok_and(|epochs| epochs.len() == spec.config.epochs)
            && self.missing(spec, seed, &place).is_empty()
            && (seed > spec.cuts || place.criteria().exists())
            && (seed > spec.laplace || laplace_left(&place).is_empty())
    }

    /// The predictions of a run that are not on the disk yet.
    fn missing(&self, spec: &RunSpec, seed: u64, place: &Place) -> Vec<Wanted> {
        let asks = spec.asks.iter().filter(|ask| seed <= ask.seeds);
        let all = asks.flat_map(|ask| self.wanted(spec, ask));
        all.filter(|wanted| !wanted.is_in(place)).collect()
    }

    fn wanted(&self, spec: &RunSpec, ask: &Ask) -> Vec<Wanted> {
        let gated = spec.config.method.gates().is_some();
        let one = |set: &str, source: &str| Wanted {
            set: set.into(),
            source: source.into(),
            images: ask.images,
            samples: ask.samples,
            trace: gated && !matches!(ask.of, Images::Validation | Images::Corrupted),
        };
        match ask.of {
            Images::Validation => vec![one("validation", "validation")],
            Images::Test if spec.without_classes => vec![one("test", "known-test")],
            Images::Test => vec![one("test", "test")],
            Images::HeldOutClasses => vec![one("held-out-classes", "held-out-classes")],
            Images::Unfamiliar => {
                let sets = self.sets.unfamiliar.iter();
                sets.map(|(name, _)| one(name, name)).collect()
            }
            Images::Corrupted => vec![Wanted {
                images: None,
                ..one("corrupted", "corrupted")
            }],
        }
    }

    /// Trains one run, or goes on with it, and predicts what is missing.
    fn do_run(&mut self, spec: &RunSpec, seed: u64) -> Result<bool> {
        let prepared = self.prepared(spec)?;
        let config = TrainConfig {
            seed,
            ..spec.config.clone()
        };
        let place = Place::new(&self.options.out, &spec.name, seed);
        let mut trainer = Trainer::over(prepared, &self.backbone, config)?;
        let inputs = &self.part(spec).inputs;
        let run = begin(&place.run, inputs, &self.gpu, &mut trainer)?;
        let start = Instant::now();
        let epochs_left = trainer.config().epochs - trainer.epochs_done();
        let mut observe = self.context.observer();
        run_epochs(&run, &mut trainer, &mut observe, |_, _| Ok(()))?;
        if self.context.interrupted() {
            return Ok(false);
        }
        if epochs_left > 0 {
            println!("  {}", self.trained_line(&place, start.elapsed())?);
        }
        let predictor = trainer.predictor();
        for wanted in self.missing(spec, seed, &place) {
            let start = Instant::now();
            self.predict(&predictor, &wanted, seed, &place)?;
            let count = wanted.samples;
            println!(
                "  {} ({count} samples) in {:.0?}",
                wanted.set,
                start.elapsed()
            );
            if self.context.interrupted() {
                return Ok(false);
            }
        }
        if seed <= spec.cuts && !place.criteria().exists() {
            cuts::try_cuts(&trainer, seed, &place.criteria())?;
        }
        if seed <= spec.laplace {
            let test = self.source(&predictor, "test")?;
            let test = test.first(self.settings.test_images);
            for structure in laplace_left(&place) {
                let start = Instant::now();
                laplace::answer(&trainer, &predictor, structure, &test, &place)?;
                println!("  Laplace {} in {:.0?}", structure.name(), start.elapsed());
                if self.context.interrupted() {
                    return Ok(false);
                }
            }
        }
        Ok(!self.context.interrupted())
    }

    fn trained_line(&self, place: &Place, time: Duration) -> Result<String> {
        let epochs = RunDir::open(&place.run)?.read_metrics()?;
        let last = epochs.last().context("no epoch was trained")?;
        let score = |name: &str| last[name].as_f64().unwrap_or(f64::NAN);
        Ok(format!(
            "trained in {}, {} ranks; validation accuracy {:.4}, NLL {:.4}, ECE {:.4}",
            humantime::format_duration(Duration::from_secs(time.as_secs())),
            last["rank"],
            score("accuracy"),
            score("nll"),
            score("ece"),
        ))
    }

    fn predict(
        &mut self,
        predictor: &Predictor,
        wanted: &Wanted,
        seed: u64,
        place: &Place,
    ) -> Result<()> {
        let source = self.source(predictor, &wanted.source)?;
        let n = source.dataset.len();
        let source = source.first(wanted.images.unwrap_or(n).min(n));
        let (bar, n) = (Bar::default(), source.dataset.len());
        let mut progress = |done| bar.show(&format!("predicting {}", wanted.set), done, n);
        let samples = match wanted.samples {
            0 => Samples::MEAN,
            count => Samples::new(count, seed),
        };
        if wanted.trace && !place.has_trace(&wanted.set) {
            let trace = predictor.covariance_trace(&source)?;
            place.write_trace(&wanted.set, &trace)?;
        }
        let log_probs = predictor.log_probs(&source, samples, &mut progress)?;
        let classes = predictor.layout().classes;
        let stored = wanted.stored();
        Ok(place.write(&stored, &log_probs, wanted.samples.max(1), classes)?)
    }

    fn part(&self, spec: &RunSpec) -> &Part {
        match spec.without_classes {
            true => &self.sets.without,
            false => &self.sets.all,
        }
    }

    /// The training set of a run with its features, computed once for all runs.
    pub fn prepared(&mut self, spec: &RunSpec) -> Result<Prepared> {
        let slot = usize::from(spec.without_classes);
        if let Some(prepared) = &self.prepared[slot] {
            return Ok(prepared.clone());
        }
        let (train, validation) = split(&self.part(spec).train, &spec.config)?;
        let mut observe = self.context.observer();
        let prepared = prepare(
            &self.gpu,
            &self.backbone,
            &spec.config,
            train,
            validation,
            &mut observe,
        )?;
        Ok(self.prepared[slot].insert(prepared).clone())
    }

    /// A set with its features, computed once for all runs.
    fn source(&mut self, predictor: &Predictor, name: &str) -> Result<Source> {
        if let Some(source) = self.sources.get(name) {
            return Ok(source.clone());
        }
        let dataset: Dataset = match name {
            "validation" => {
                let prepared = self.prepared[0].as_ref();
                let validation = prepared.and_then(|prepared| prepared.validation.clone());
                return validation.context("the study has no validation images");
            }
            "test" => self.sets.all.test.clone(),
            "known-test" => self.sets.without.test.clone(),
            "held-out-classes" => self.sets.held_out.clone(),
            "corrupted" => {
                let images = self.settings.corrupted_images;
                sets::corrupted(&self.gpu, &self.sets.all.test, images)?
            }
            _ => {
                let mut sets = self.sets.unfamiliar.iter();
                let found = sets.find(|(known, _)| known == name);
                found.expect("asked for by its name").1.clone()
            }
        };
        let (bar, total) = (Bar::default(), dataset.len());
        let progress = |done| bar.show(&format!("caching {name}"), done, total);
        let source = Source::within(
            &mut self.budget,
            predictor.network(),
            predictor.cut(),
            dataset,
            self.settings.resolution,
            &[PLAIN_VIEW],
            progress,
        )?;
        self.sources.insert(name.to_owned(), source.clone());
        Ok(source)
    }

    /// Training images, validation taken off.
    pub fn train_images(&self) -> usize {
        let images = self.sets.all.train.len() as f64;
        (images * (1.0 - self.settings.validation)).round() as usize
    }

    /// Of the images that choices are made on.
    pub fn validation_labels(&self, spec: &RunSpec) -> Result<Vec<u32>> {
        let (_, validation) = split(&self.part(spec).train, &spec.config)?;
        let validation = validation.context("the study has no validation images")?;
        Ok(validation.labels)
    }
}

/// The date in UTC, `2026-11-24`.
fn today() -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    now[..10].to_owned()
}

/// A file of predictions, and what it takes to make it.
struct Wanted {
    set: String,
    /// The images, by the name that the workshop keeps them under.
    source: String,
    images: Option<usize>,
    samples: usize,
    /// The trace of equation (16) too.
    trace: bool,
}

impl Wanted {
    fn stored(&self) -> Stored {
        Stored::samples(&self.set, self.samples)
    }

    fn is_in(&self, place: &Place) -> bool {
        place.has(&self.stored()) && (!self.trace || place.has_trace(&self.set))
    }
}

/// What the claims are about with all seeds first, then the first seed of everything else, and so on: a
/// study that is stopped early has something of every row.
fn in_order(specs: &[RunSpec]) -> Vec<(&RunSpec, u64)> {
    let seeds = specs
        .iter()
        .flat_map(|spec| (1..=spec.seeds).map(move |seed| (spec, seed)));
    let mut jobs: Vec<_> = seeds.collect();
    jobs.sort_by_key(|(spec, seed)| if spec.is_headline { 0 } else { *seed });
    jobs
}

/// Structures whose answers are not there yet.
fn laplace_left(place: &Place) -> Vec<LaplaceStructure> {
    let all = LaplaceStructure::ALL.into_iter();
    all.filter(|structure| !place.has(&Stored::laplace(*structure)))
        .collect()
}

/// What is left at the pace so far.
fn remaining(elapsed: Duration, done: usize, all: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let left = elapsed.as_secs() * (all - done) as u64 / done as u64;
    let minutes = Duration::from_secs(left / 60 * 60);
    format!(" (about {} left)", humantime::format_duration(minutes))
}
