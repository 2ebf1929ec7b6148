//! What predicting and training cost on this machine, measured once at the end of a study.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Result;
use bayeslora::low_level::formats::{Adapter, RunDir, write_atomic};
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::low_level::study::{Cost, Place, RunSpec, StepCost};
use bayeslora::low_level::train::{EpochOutcome, Prepared, TrainConfig, Trainer};

use super::workshop::Workshop;
use crate::cli::context::Bar;

/// Images of a timed prediction.
const IMAGES: usize = 64;
const SAMPLES: [usize; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
/// Steps of a timed epoch.
const STEPS: usize = 8;
const ROUNDS: usize = 5;

/// Times predictions by the number of samples with the finished gated run of the first seed, and steps
/// of every run on all classes. Does nothing where that was done before.
pub fn time(workshop: &mut Workshop, runs: &[RunSpec]) -> Result<()> {
    let path = workshop.out().join(Cost::FILE);
    if path.exists() {
        return Ok(());
    }
    let (images, rounds) = predictions(workshop, &runs[1])?;
    let cost = Cost {
        images,
        samples: SAMPLES.to_vec(),
        rounds,
        steps: steps(workshop, runs)?,
    };
    let text = serde_json::to_string_pretty(&cost)? + "\n";
    Ok(write_atomic(&path, text.as_bytes())?)
}

/// Seconds, `[round][samples]`, and of how many images.
fn predictions(workshop: &Workshop, spec: &RunSpec) -> Result<(usize, Vec<Vec<f64>>)> {
    let place = Place::new(workshop.out(), &spec.name, 1);
    let adapter = Adapter::load_peft(RunDir::open(&place.run)?.adapter_dir())?;
    let predictor = Predictor::new(workshop.gpu(), workshop.backbone(), &adapter)?;
    let test = &workshop.sets().all.test;
    let images = IMAGES.min(workshop.settings().curve_images).min(test.len());
    let indices: Vec<usize> = (0..images).collect();
    let source = Source::images(test.subset(&indices), workshop.settings().resolution);
    let time = |samples: usize| -> Result<f64> {
        let start = Instant::now();
        predictor.log_probs(&source, Samples::new(samples, 1), &mut |_| ())?;
        Ok(start.elapsed().as_secs_f64())
    };
    let bar = Bar::default();
    let mut rounds = Vec::new();
    // The first round compiles.
    for round in 0..=ROUNDS {
        let times = SAMPLES.into_iter().map(time).collect::<Result<Vec<_>>>()?;
        if round > 0 {
            rounds.push(times);
        }
        bar.show("timing predictions", round, ROUNDS);
    }
    Ok((images, rounds))
}

fn steps(workshop: &mut Workshop, runs: &[RunSpec]) -> Result<Vec<StepCost>> {
    let mut timed = Vec::new();
    let complete = |spec: &&RunSpec| !spec.without_classes && !spec.asks.is_empty();
    // What stops, decays or cuts in another way takes the steps of another run.
    let usual = TrainConfig::default();
    let of_its_own = |spec: &&RunSpec| {
        let config = &spec.config;
        let is_shorter = config.patience.is_some() || config.auto_rank;
        !is_shorter && config.weight_decay == usual.weight_decay
    };
    for spec in runs.iter().filter(complete).filter(of_its_own) {
        let prepared = workshop.prepared(spec)?;
        let config = spec.config.clone().resolve(prepared.train.dataset.len())?;
        let prepared = Prepared {
            train: prepared.train.first(STEPS * config.batch_size),
            validation: None,
            ..prepared
        };
        let config = TrainConfig {
            epochs: ROUNDS + 1,
            ..config.into()
        };
        let trainer = Trainer::over(prepared, workshop.backbone(), config)?;
        timed.push((spec, trainer, Vec::new()));
    }
    let (bar, mut observe) = (Bar::default(), |_| ControlFlow::Continue(()));
    // An epoch of each in turn, of which the first compiles.
    for round in 0..=ROUNDS {
        for (_, trainer, times) in &mut timed {
            if let EpochOutcome::Done(epoch) = trainer.next_epoch(&mut observe)?
                && round > 0
            {
                let images = trainer.training_set().dataset.len() as f64;
                let steps = (images / STEPS as f64).max(1.0);
                times.push(1e3 * steps / epoch.images_per_second);
            }
        }
        bar.show("timing training", round, ROUNDS);
    }
    let cost = |(spec, _, milliseconds): (&RunSpec, Trainer, Vec<f64>)| StepCost {
        run: spec.name.clone(),
        milliseconds,
    };
    Ok(timed.into_iter().map(cost).collect())
}
