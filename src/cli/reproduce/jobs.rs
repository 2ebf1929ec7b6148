//! Does the runs of a study one after the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bayeslora::low_level::formats::RunDir;
use bayeslora::low_level::predict::{Predictor, Samples};
use bayeslora::low_level::study::{
    Ask, CutTo, Fit, Images, Place, RunSpec, SAMPLES, Stored, final_epoch, is_trained,
};
use bayeslora::low_level::train::{Method, TrainConfig, Trainer};

use super::workshop::Workshop;
use super::{cuts, laplace};
use crate::cli::context::Bar;
use crate::cli::epochs::{Subject, begin, run_epochs};
use crate::cli::live::time_left;
use crate::cli::output;
use crate::cli::run_images::record;
use crate::cli::shard::Shard;

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
            output::text(&format!(
                "\n{} of {total}: {}, seed {seed}{}",
                done_before + number + 1,
                spec.title,
                remaining(start.elapsed(), number, left.len())
            ))?;
            if !self.do_run(spec, *seed)? {
                output::note(&format!(
                    "stopped; `bayeslora reproduce --out {}` goes on",
                    self.whole().display()
                ));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_done(&self, spec: &RunSpec, seed: u64) -> bool {
        let place = Place::new(self.out(), &spec.name, seed);
        let epochs = RunDir::open(&place.run).and_then(|run| run.read_metrics());
        epochs.is_ok_and(|epochs| is_trained(&spec.config, &epochs))
            && self.missing(spec, seed, &place).is_empty()
            && self.looks_left(spec, seed, &place).is_empty()
            && (seed > spec.cuts || place.has_cuts())
            && cuts_left(spec, &place).is_empty()
            && (seed > spec.laplace || self.laplace_left(spec, &place).is_empty())
    }

    /// The predictions of a run that are not on the disk yet.
    fn missing(&self, spec: &RunSpec, seed: u64, place: &Place) -> Vec<Wanted> {
        let asks = spec.asks.iter().filter(|ask| seed <= ask.seeds);
        let all = asks.flat_map(|ask| self.wanted(spec, ask));
        all.filter(|wanted| !wanted.is_in(place)).collect()
    }

    fn wanted(&self, spec: &RunSpec, ask: &Ask) -> Vec<Wanted> {
        // Only where unfamiliar images are told by it.
        let traced =
            spec.config.method == Method::BayesLora && (spec.is_headline || spec.without_classes);
        let sets = self.sets_of(spec, ask.of).into_iter();
        sets.map(|(set, source)| Wanted {
            set,
            source,
            images: match ask.of {
                Images::Corrupted => None,
                _ => ask.images,
            },
            samples: ask.samples,
            trace: traced && !matches!(ask.of, Images::Validation | Images::Corrupted),
        })
        .collect()
    }

    /// What the answers on such images are called, and the name that the workshop keeps the images under.
    pub fn sets_of(&self, spec: &RunSpec, images: Images) -> Vec<(String, String)> {
        let one = |set: &str, source: &str| vec![(set.to_owned(), source.to_owned())];
        match images {
            Images::Validation => one("validation", "validation"),
            Images::Test if spec.without_classes => one("test", "known-test"),
            Images::Test => one("test", "test"),
            Images::HeldOutClasses => one("held-out-classes", "held-out-classes"),
            Images::Unfamiliar => {
                let sets = self.sets().unfamiliar.iter();
                sets.map(|(name, _)| (name.clone(), name.clone())).collect()
            }
            Images::Corrupted => one("corrupted", "corrupted"),
        }
    }

    /// Trains one run, or goes on with it, and predicts what is missing.
    fn do_run(&mut self, spec: &RunSpec, seed: u64) -> Result<bool> {
        let prepared = self.prepared(spec)?;
        let config = TrainConfig {
            seed,
            ..spec.config.clone()
        };
        let place = Place::new(self.out(), &spec.name, seed);
        let mut trainer = Trainer::over(prepared, self.backbone(), config)?;
        let part = self.part(spec);
        let sets = (
            &*trainer.training_set().dataset,
            trainer.validation_set().map(|source| &*source.dataset),
        );
        let mut data = record(&part.name, sets, &part.inputs, self.backbone());
        data.test = part.test.listed();
        let subject = Subject {
            inputs: &part.inputs,
            data: &data,
            other_images: false,
        };
        let run = begin(&place.run, subject, &mut trainer)?;
        let start = Instant::now();
        let was_trained = trainer.is_finished();
        run_epochs(self.context(), &run, &mut trainer, |_, _| Ok(()))?;
        if self.context().interrupted() {
            return Ok(false);
        }
        if !was_trained {
            output::text(&format!(
                "  {}",
                self.trained_line(&place, start.elapsed())?
            ))?;
        }
        let predictor = trainer.predictor();
        for wanted in self.missing(spec, seed, &place) {
            let start = Instant::now();
            self.predict(&predictor, &wanted, seed, &place)?;
            let count = wanted.samples;
            output::text(&format!(
                "  {} ({count} samples) in {:.0?}",
                wanted.set,
                start.elapsed()
            ))?;
            if self.context().interrupted() {
                return Ok(false);
            }
        }
        let looks = self.looks_left(spec, seed, &place);
        if !looks.is_empty() {
            let start = Instant::now();
            self.look(&trainer, &predictor, &looks, &place)?;
            output::text(&format!("  scores of features in {:.0?}", start.elapsed()))?;
        }
        if seed <= spec.cuts && !place.has_cuts() {
            let start = Instant::now();
            let test = self.source(&predictor, "test")?;
            let test = test.first(self.settings().test_images);
            let shares = self.settings().cut_shares;
            cuts::try_cuts(&trainer, self.backbone(), &test, shares, &place)?;
            output::text(&format!("  cuts of ranks in {:.0?}", start.elapsed()))?;
        }
        let left = cuts_left(spec, &place);
        if !left.is_empty() {
            let start = Instant::now();
            let test = self.source(&predictor, "test")?;
            let test = test.first(self.settings().test_images);
            cuts::cut_to(&trainer, self.backbone(), &test, &left, &place)?;
            output::text(&format!("  cuts to fewer ranks in {:.0?}", start.elapsed()))?;
        }
        if seed <= spec.laplace {
            let test = self.source(&predictor, "test")?;
            let test = test.first(self.settings().test_images);
            for fit in self.laplace_left(spec, &place) {
                let start = Instant::now();
                laplace::answer(&trainer, &predictor, fit, &test, &place)?;
                output::text(&format!("  {} in {:.0?}", fit.way(), start.elapsed()))?;
                if self.context().interrupted() {
                    return Ok(false);
                }
            }
        }
        Ok(!self.context().interrupted())
    }

    /// Posteriors whose answers are not there yet.
    fn laplace_left(&self, spec: &RunSpec, place: &Place) -> Vec<Fit> {
        let is_missing = |fit: &Fit, set: &str| !place.has(&Stored::laplace(set, *fit));
        let mut all = spec.posteriors(self.settings());
        all.retain(|fit| fit.sets().iter().any(|set| is_missing(fit, set)));
        all
    }

    fn trained_line(&self, place: &Place, time: Duration) -> Result<String> {
        let epochs = RunDir::open(&place.run)?.read_metrics()?;
        let last = final_epoch(&epochs).context("no epoch was trained")?;
        let score = |name: &str| last[name].as_f64().unwrap_or(f64::NAN);
        Ok(format!(
            "trained in {}, {} ranks after epoch {}; validation accuracy {:.4}, NLL {:.4}, ECE {:.4}",
            humantime::format_duration(Duration::from_secs(time.as_secs())),
            last["rank"],
            last["epoch"],
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
}

/// Cuts with rows of their own that are not all answered yet.
fn cuts_left(spec: &RunSpec, place: &Place) -> Vec<CutTo> {
    let samples = match spec.config.method.gates() {
        None => &[0][..],
        Some(_) => &[0, SAMPLES],
    };
    let is_left = |cut: &CutTo| {
        let mut answers = ["validation", "test"].into_iter().flat_map(|set| {
            samples
                .iter()
                .map(move |count| Stored::cut_to(set, *cut, *count))
        });
        answers.any(|stored| !place.has(&stored))
    };
    spec.cut_to.iter().copied().filter(is_left).collect()
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

/// What is left at the pace so far.
fn remaining(elapsed: Duration, done: usize, all: usize) -> String {
    let left = time_left(elapsed, done as f64 / all.max(1) as f64);
    left.map_or_else(String::new, |left| format!(" (about {left} left)"))
}
