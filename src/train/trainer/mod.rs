//! The training loop: one epoch here; all of them, steps, prunes, answers and checkpoints each in a file of its own.

mod answers;
mod checkpoints;
mod epochs;
mod from;
mod lr_range;
mod prunes;
mod steps;

pub use epochs::Resumed;

use std::sync::Arc;
use std::time::Instant;

use super::init::{INITIAL_LOG_VARIANCE, initial_state};
use super::kept::{Kept, tempered_nll};
use super::prune::HeldOut;
use super::report::{EpochOutcome, EpochReport, Observer, TrainError};
use super::sets::{SetError, check_set};
use super::setup::{Prepared, build_step, prepare};
use super::{
    ConfigError, Method, ResolvedConfig, Schedule, TrainConfig, TrainStep, Trainable,
    TrainableState,
};
use crate::data::Dataset;
use crate::gpu::Gpu;
use crate::model::{AdapterLayout, AdapterState, Backbone, BackboneBits, FrozenNetwork};
use crate::predict::{Evaluated, Source};

/// Trains the adapters of one backbone on one data set.
pub struct Trainer {
    gpu: Gpu,
    network: Arc<FrozenNetwork>,
    backbone: (String, String),
    config: ResolvedConfig,
    schedule: Schedule,
    trainable: Trainable,
    step: TrainStep,
    train: Source,
    validation: Option<Source>,
    epoch: usize,
    /// Whether the last epoch was stopped on its way or failed, so that the parameters belong to no epoch.
    is_between: bool,
    /// Of the epochs so far, with early stopping.
    kept: Option<Kept>,
}

impl Trainer {
    /// Sets up a run: uploads the backbone in the configuration's bits, caches features where they fit the budget, builds the
    /// plan of a step.
    ///
    /// # Errors
    /// An option is wrong, a batch does not fit the device, the GPU fails.
    pub fn new(
        gpu: &Gpu,
        backbone: &Backbone,
        config: TrainConfig,
        train: Dataset,
        validation: Option<Dataset>,
        observe: Observer,
    ) -> Result<Self, TrainError> {
        let config = config.resolve(train.len())?;
        let prepared = prepare(gpu, backbone, &config, train, validation, observe)?;
        Self::over(prepared, backbone, config.into())
    }

    /// Sets up a run over what another has [prepared](prepare).
    ///
    /// # Errors
    /// An option is wrong, a batch does not fit the device, the GPU fails.
    pub fn over(
        prepared: Prepared,
        backbone: &Backbone,
        config: TrainConfig,
    ) -> Result<Self, TrainError> {
        let Prepared {
            network,
            train,
            validation,
        } = prepared;
        // Features and answers are those of the network on the device, so that is what the run says of itself.
        let backbone = backbone.in_bits(network.bits);
        let asked = [config.backbone_bits, backbone.bits()];
        if network.bits.is_full() && asked.iter().any(|bits| !bits.is_full()) {
            return Err(TrainError::Config(ConfigError {
                option: "backbone-bits",
                found: BackboneBits::Int8.to_string(),
                expected: format!("{}, which what was prepared has", network.bits),
            }));
        }
        let config = TrainConfig {
            precision: network.gpu.options().precision,
            backbone_bits: network.bits,
            ..config
        };
        let config = config.resolve(train.dataset.len())?;
        if config.method == Method::Ensemble {
            return Err(TrainError::Members);
        }
        let classes = train.dataset.classes.len();
        check_set("training", &train.dataset, classes)?;
        match &validation {
            Some(validation) => check_set("validation", &validation.dataset, classes)?,
            None if config.auto_rank || config.patience.is_some() => {
                return Err(SetError::Empty { set: "validation" }.into());
            }
            None => {}
        }
        let resnet = &network.resnet;
        let (convs, head) = resnet
            .select(&config.targets)
            .map_err(TrainError::Targets)?;
        let layers = convs.len() + usize::from(head);
        let ids = vec![(0..config.rank as u32).collect::<Vec<_>>(); layers];
        let layout = AdapterLayout::new(resnet, &convs, head, classes, &ids);
        let mut values = initial_state(&layout, config.seed);
        let start = match (config.method, config.dropout) {
            (_, Some(p)) => Some((p / (1.0 - p)).ln() as f32),
            (Method::WeightNoise, _) => Some(INITIAL_LOG_VARIANCE),
            _ => None,
        };
        if let Some(start) = start {
            let layers = values.layers.iter_mut();
            layers.for_each(|layer| layer.log_alpha.fill(start));
        }
        let state = TrainableState::new(layout, values);
        let schedule = Schedule::new(&config, train.dataset.len().div_ceil(config.batch_size));
        let trainable = Trainable::upload(&network.gpu, &state);
        let step = build_step(
            &network,
            &trainable,
            &config,
            &train,
            schedule.steps_per_epoch,
        )?;
        Ok(Self {
            gpu: network.gpu.clone(),
            network,
            backbone: (backbone.name.clone(), backbone.sha256.clone()),
            config,
            schedule,
            trainable,
            step,
            train,
            validation,
            epoch: 0,
            is_between: false,
            kept: None,
        })
    }

    /// The configuration with every value in force.
    pub fn config(&self) -> &ResolvedConfig {
        &self.config
    }

    /// The backbone on the device.
    pub fn network(&self) -> &Arc<FrozenNetwork> {
        &self.network
    }

    /// The training set, cached or not.
    pub fn training_set(&self) -> &Source {
        &self.train
    }

    /// The images set aside for choices.
    pub fn validation_set(&self) -> Option<&Source> {
        self.validation.as_ref()
    }

    /// The plan of a step.
    pub fn step(&self) -> &TrainStep {
        &self.step
    }

    /// Epochs done.
    pub fn epochs_done(&self) -> usize {
        self.epoch
    }

    /// The epoch whose adapter is the run's, with early stopping, and its tempered NLL on the validation images.
    pub fn kept_epoch(&self) -> Option<(usize, f64)> {
        let kept = self.kept.as_ref()?;
        Some((kept.epoch, kept.tempered_nll))
    }

    /// Whether there is no epoch left.
    pub fn is_finished(&self) -> bool {
        let kept = self.kept.as_ref().map(|kept| kept.epoch);
        self.config.ends_after(self.epoch, kept)
    }

    /// Trains one more epoch, prunes if it is time, evaluates on the validation split. After it was stopped on the way, by
    /// the observer or the [handle](crate::gpu::StopHandle) of the `Gpu`, or has failed, a checkpoint must be restored before
    /// training goes on.
    ///
    /// # Errors
    /// The loss is not finite, the GPU fails, or the last epoch did not come to its end.
    pub fn next_epoch(&mut self, observe: Observer) -> Result<EpochOutcome, TrainError> {
        self.check_whole()?;
        if self.is_finished() {
            return Ok(EpochOutcome::Finished);
        }
        let outcome = match self.one_epoch(observe) {
            Err(error) if error.is_stop() => Ok(EpochOutcome::Interrupted),
            other => other,
        };
        self.is_between = !matches!(outcome, Ok(EpochOutcome::Done(_)));
        outcome
    }

    /// Refuses parameters from the middle of an epoch.
    fn check_whole(&self) -> Result<(), TrainError> {
        // What has happened to the device says more.
        self.gpu.check()?;
        match self.is_between {
            true => Err(TrainError::BetweenEpochs),
            false => Ok(()),
        }
    }

    fn one_epoch(&mut self, observe: Observer) -> Result<EpochOutcome, TrainError> {
        let start = Instant::now();
        let (epoch, steps) = (self.epoch, self.schedule.steps_per_epoch);
        let Some(idle) = self.run_steps(observe)? else {
            return Ok(EpochOutcome::Interrupted);
        };
        let statistics = self.step.statistics(steps)?;
        let training = start.elapsed().as_secs_f64();
        self.check_sound(self.trainable.look(&self.gpu))?;
        self.check_loss(0, &statistics)?;
        let column = |index: usize| statistics.iter().map(move |row| f64::from(row[index]));
        let images = self.train.dataset.len() as f64;
        let kl_weight = self.config.kl_scale / images;
        let first = epoch * steps;
        let penalty = column(2)
            .enumerate()
            .map(|(step, kl)| self.schedule.at(first + step).beta * kl_weight * kl)
            .sum::<f64>();
        let cross_entropy = column(0).sum::<f64>() / images;
        self.epoch += 1;

        let before = self.held_out(observe)?;
        let (prune, held_out) = match self.config.prunes_after(self.epoch) {
            true => self.prune(before, observe)?,
            false => (None, before),
        };
        let scores = held_out.as_ref().map(HeldOut::from);
        let state = self.trainable.read_values(&self.gpu)?;
        let tempered_nll = self.compare(held_out.as_ref(), &state)?;
        let layers = &self.trainable.layout.layers;
        let last = self.schedule.at(first + steps - 1);
        Ok(EpochOutcome::Done(Box::new(EpochReport {
            epoch: self.epoch,
            step: (self.epoch * steps) as u64,
            loss: cross_entropy + penalty / steps as f64,
            cross_entropy,
            kl: column(2).next_back().unwrap_or(0.0),
            beta: last.beta,
            learning_rate: last.learning_rate,
            train_accuracy: column(1).sum::<f64>() / images,
            accuracy: scores.map(|scores| scores.accuracy),
            nll: scores.map(|scores| scores.nll),
            ece: scores.map(|scores| scores.ece),
            tempered_nll,
            kept_epoch: self.kept.as_ref().map(|kept| kept.epoch),
            soft_rank: self.effective_rank(&self.trainable.layout, &state),
            rank: self.trainable.layout.total_rank(),
            ranks: layers
                .iter()
                .map(|layer| (layer.name.clone(), layer.rank()))
                .collect(),
            images_per_second: images / training,
            utilisation: 1.0 - idle.in_all.as_secs_f64() / training,
            input_wait_seconds: idle.for_input.as_secs_f64(),
            seconds: start.elapsed().as_secs_f64(),
            prune,
        })))
    }

    /// Keeps the parameters of the epoch where its tempered NLL is the lowest so far; returns that. Nothing without early
    /// stopping.
    fn compare(
        &mut self,
        held_out: Option<&Evaluated>,
        state: &AdapterState,
    ) -> Result<Option<f64>, TrainError> {
        let (Some(_), Some(held_out), Some(validation)) =
            (self.config.patience, held_out, &self.validation)
        else {
            return Ok(None);
        };
        let tempered_nll = tempered_nll(held_out, &validation.dataset.labels)?;
        let is_lowest = |kept: &Kept| tempered_nll < kept.tempered_nll;
        if self.kept.as_ref().is_none_or(is_lowest) {
            self.kept = Some(Kept {
                epoch: self.epoch,
                tempered_nll,
                layout: self.trainable.layout.clone(),
                values: state.clone(),
            });
        }
        Ok(Some(tempered_nll))
    }
}
