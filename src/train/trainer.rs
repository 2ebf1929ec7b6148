//! The training loop.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::checkpoint::Origin;
use super::init::{INITIAL_LOG_VARIANCE, initial_state};
use super::kept::{Kept, tempered_nll};
use super::kl::soft_effective_rank;
use super::prune::{HeldOut, PruneEvent, farthest, kept_ranks, kept_without, weakest};
use super::report::{EpochOutcome, EpochReport, Observer, Progress, TrainError};
use super::setup::{Prepared, build_step, prepare};
use super::turned::{AUTO_NLL_INCREASE, Turned};
use super::{
    Adam, Augment, Look, Method, PruneGauge, Schedule, TrainConfig, TrainStep, Trainable,
    TrainableState, Unsound,
};
use crate::data::{Dataset, EpochOrder, prefetch};
use crate::formats::{Adapter, Checkpoint};
use crate::gpu::{Gpu, GpuError, IdleMeter};
use crate::model::{
    AdapterLayout, AdapterState, Backbone, FrozenNetwork, GateMode, PLAIN_VIEW, Purpose,
    StepValues, View, exchange,
};
use crate::predict::{Evaluated, PredictError, Predictor, Samples, Source, evaluate};

/// Trains the adapters of one backbone on one data set.
pub struct Trainer {
    gpu: Gpu,
    network: Arc<FrozenNetwork>,
    backbone: (String, String),
    config: TrainConfig,
    schedule: Schedule,
    trainable: Trainable,
    step: TrainStep,
    train: Source,
    validation: Option<Source>,
    epoch: usize,
    /// Of the epochs so far, with early stopping.
    kept: Option<Kept>,
}

/// Mean cross-entropy in nats that no run comes back from.
const DIVERGED: f32 = 1e3;

/// How long the GPU had nothing to do in an epoch.
struct Idle {
    in_all: Duration,
    /// While the next batch was not ready.
    for_input: Duration,
}

/// Mean cross-entropy of a step's statistics, in nats.
fn mean_loss([sum, _, _, count]: &[f32; 4]) -> f32 {
    sum / count
}

/// Steps between looks at the loss and at the soundness of all numbers.
const LOOK_EVERY: usize = 8;

/// Refuses labels that have no output: shaders would read past the end with them.
fn check_set(set: &'static str, images: &Dataset, classes: usize) -> Result<(), TrainError> {
    if images.is_empty() {
        return Err(TrainError::Empty { set });
    }
    let wrong = |(_, label): &(usize, &u32)| **label as usize >= classes;
    match images.labels.iter().enumerate().find(wrong) {
        None => Ok(()),
        Some((image, label)) => Err(TrainError::Label {
            set,
            image,
            label: *label,
            classes,
        }),
    }
}

impl Trainer {
    /// Sets up a run: uploads the backbone, caches features where they fit the budget, builds the
    /// plan of a step. `config` need not be resolved.
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
        check_set("training", &train, train.classes.len())?;
        if let Some(validation) = &validation {
            check_set("validation", validation, train.classes.len())?;
        }
        let prepared = prepare(gpu, backbone, &config, train, validation, observe)?;
        Self::over(prepared, backbone, config)
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
        let mut config = config.resolve(train.dataset.len())?;
        config.precision = network.gpu.options().precision;
        if config.method == Method::Ensemble {
            return Err(TrainError::Members);
        }
        let classes = train.dataset.classes.len();
        check_set("training", &train.dataset, classes)?;
        match &validation {
            Some(validation) => check_set("validation", &validation.dataset, classes)?,
            None if config.auto_rank || config.patience.is_some() => {
                return Err(TrainError::Empty { set: "validation" });
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
        let state = TrainableState::new(&layout, values);
        let batch = config.batch_size.expect("resolved above");
        let schedule = Schedule::new(&config, train.dataset.len().div_ceil(batch));
        let trainable = Trainable::upload(&network.gpu, layout, &state);
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
            kept: None,
        })
    }

    /// The configuration with every value in force.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    pub fn network(&self) -> &Arc<FrozenNetwork> {
        &self.network
    }

    /// The training set, cached or not.
    pub fn training_set(&self) -> &Source {
        &self.train
    }

    pub fn validation_set(&self) -> Option<&Source> {
        self.validation.as_ref()
    }

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

    /// Trains one more epoch, prunes if it is time, evaluates on the validation split.
    ///
    /// # Errors
    /// The loss is not finite, or the GPU fails.
    pub fn next_epoch(&mut self, observe: Observer) -> Result<EpochOutcome, TrainError> {
        if self.is_finished() {
            return Ok(EpochOutcome::Finished);
        }
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

    /// All steps of an epoch; `None` when the observer stops them.
    fn run_steps(&self, observe: Observer) -> Result<Option<Idle>, TrainError> {
        let (config, epoch) = (&self.config, self.epoch);
        let rows = config.batch_size.expect("resolved");
        let steps = self.schedule.steps_per_epoch;
        let mut meter = IdleMeter::new(&self.gpu);
        let order = EpochOrder::new(self.train.dataset.len(), config.seed, epoch as u64);
        let mut random = Pcg64::new(u128::from(config.seed), epoch as u128);
        let mut view = |_: &usize| self.view(&mut random);
        let batches: Vec<(&[usize], Vec<View>)> = order
            .batches(rows)
            .map(|indices| (indices, indices.iter().map(&mut view).collect()))
            .collect();
        let source = &self.train;
        let fetch = |number: usize| {
            let (indices, views) = &batches[number];
            source.fetch(indices, Some(views))
        };
        prefetch(batches.len(), fetch, |ahead| {
            let mut for_input = Duration::ZERO;
            let (mut in_flight, mut look) = (None, None);
            let mut loss = f32::NAN;
            for (number, (indices, _)) in batches.iter().enumerate() {
                let progress = Progress::Training {
                    epoch: epoch + 1,
                    step: number,
                    steps,
                    images: number * rows,
                    loss,
                };
                if observe(progress).is_break() {
                    return Ok(None);
                }
                let mut empty = None;
                let inputs = ahead.next(|| {
                    if meter.look() {
                        empty.get_or_insert_with(Instant::now);
                    }
                });
                for_input += empty.map_or(Duration::ZERO, |since| since.elapsed());
                let inputs = inputs.expect("as many as there are batches");
                inputs.map_err(PredictError::from)?.write(&self.step.batch);
                let labels: Vec<u32> = indices
                    .iter()
                    .map(|index| source.dataset.labels[*index])
                    .collect();
                let examples: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
                let values = self.step_values(epoch * steps + number, number, indices.len());
                meter.submitting();
                let submission = self.step.run(&labels, &examples, &values);
                // One step ahead of the GPU is enough to hide the host's part.
                if let Some(previous) = in_flight.replace(submission) {
                    self.gpu.wait_for(previous)?;
                    meter.look();
                }
                if number % LOOK_EVERY == LOOK_EVERY - 1 {
                    let unsound = self.trainable.look(&self.gpu);
                    look = Some((number, self.step.statistic(number), unsound));
                } else if number % LOOK_EVERY == 1
                    && let Some((number, statistic, unsound)) = look.take()
                {
                    // The previous step, which came after the copies, is done by now: there is no wait.
                    self.check_sound(unsound)?;
                    let statistic = statistic.wait()?;
                    self.check_loss(number, &statistic)?;
                    loss = mean_loss(&statistic[0]);
                }
            }
            Ok(Some(Idle {
                in_all: meter.idle(),
                for_input,
            }))
        })
    }

    fn view(&self, random: &mut Pcg64) -> View {
        if self.config.augment == Augment::None {
            return PLAIN_VIEW;
        }
        let flip = i32::from(random.random_bool(0.5));
        let reach = match self.config.augment {
            Augment::Standard => self.train.dataset.side as i32 / 8,
            _ => 0,
        };
        let mut shift = || random.random_range(-reach..=reach);
        [shift(), shift(), flip, 0]
    }

    fn step_values(&self, step: usize, slot: usize, count: usize) -> StepValues {
        let rates = self.schedule.at(step);
        let gated = self.config.method.gates().is_some();
        let learnt = self.config.method.learns_noise();
        let (correction1, correction2) = Adam::default().corrections(step as u64 + 1);
        let images = self.train.dataset.len() as f64;
        StepValues {
            seed: self.config.seed,
            purpose: Purpose::Train,
            draw: step as u32,
            gates: match gated && rates.sampling {
                true => self.config.gates.into(),
                false => GateMode::Mean,
            },
            count,
            slot,
            learning_rate: rates.learning_rate as f32,
            log_alpha_learning_rate: match learnt {
                true => rates.log_alpha_learning_rate as f32,
                false => 0.0,
            },
            weight_decay: self.config.weight_decay as f32,
            correction1,
            correction2,
            kl_weight: (rates.beta * self.config.kl_scale / images) as f32,
        }
    }

    fn check_sound(&self, look: Look) -> Result<(), TrainError> {
        match look.wait()? {
            None => Ok(()),
            Some(Unsound { step, what }) => Err(TrainError::NotFinite {
                step,
                what,
                lr: self.config.lr,
            }),
        }
    }

    /// `statistics` are those of the epoch's steps from `first` on.
    fn check_loss(&self, first: usize, statistics: &[[f32; 4]]) -> Result<(), TrainError> {
        // NaN is not below it either.
        let sound = |row: &[f32; 4]| mean_loss(row) < DIVERGED;
        match statistics.iter().position(|row| !sound(row)) {
            None => Ok(()),
            Some(slot) => Err(TrainError::Diverged {
                step: (self.epoch * self.schedule.steps_per_epoch + first + slot) as u64,
                loss: mean_loss(&statistics[slot]),
                lr: self.config.lr,
            }),
        }
    }

    /// Cuts the ranks over the threshold, or as many as the held-out NLL lets go, in the basis that was asked for; no event
    /// when there is none. Also the scores after it.
    fn prune(
        &mut self,
        before: Option<Evaluated>,
        observe: Observer,
    ) -> Result<(Option<PruneEvent>, Option<Evaluated>), TrainError> {
        let state = self.trainable.read(&self.gpu)?;
        let ranks_before = self.trainable.layout.total_rank();
        let (layout, mut state, kept) = match self.config.prune_gauge() {
            PruneGauge::None => {
                let distribution = self.config.method.gates().unwrap_or_default();
                let ranked = state.values.with_log_alpha(distribution);
                let kept = kept_ranks(&ranked, self.config.threshold, self.config.min_rank);
                (self.trainable.layout.clone(), state, kept)
            }
            _ => {
                let turned = self.turned(state, observe)?;
                let kept = match self.config.auto_rank {
                    true => self.kept_by_nll(&turned, before.as_ref())?,
                    false => kept_ranks(
                        &turned.state.values,
                        self.config.threshold,
                        self.config.min_rank,
                    ),
                };
                (turned.layout, turned.state, kept)
            }
        };
        if kept.iter().map(Vec::len).sum::<usize>() == ranks_before {
            return Ok((None, before));
        }
        state.keep(&layout, &kept);
        let layout = layout.keep(&self.network.resnet, &kept);
        self.replace(layout, &state)?;
        let after = self.held_out(observe)?;
        let ranks_after = self.trainable.layout.total_rank();
        let event = PruneEvent::new(ranks_before, ranks_after, before.as_ref(), after.as_ref());
        Ok((Some(event), after))
    }

    fn turned(&self, state: TrainableState, observe: Observer) -> Result<Turned, TrainError> {
        let mut progress = |done, total| {
            // As short as an evaluation.
            let _ = observe(Progress::Evaluating { done, total });
        };
        Turned::new(
            &self.current(),
            &self.network.resnet,
            &self.config,
            &self.train,
            state,
            &mut progress,
        )
    }

    /// What is left of a turned adapter when as many ranks go, those with the least evidence first, as the held-out NLL
    /// hardly notices.
    fn kept_by_nll(
        &self,
        turned: &Turned,
        before: Option<&Evaluated>,
    ) -> Result<Vec<Vec<usize>>, TrainError> {
        let validation = self.validation.as_ref().zip(before);
        let (validation, before) = validation.expect("checked when the trainer was made");
        let order = weakest(&turned.evidence, self.config.min_rank);
        let kept = |count: usize| kept_without(&turned.state.values, &order[..count]);
        let count = farthest(order.len(), |count| -> Result<bool, TrainError> {
            let kept = kept(count);
            let mut values = turned.state.values.clone();
            values.keep(&turned.layout, &kept);
            let predictor = Predictor::with_state(
                self.network.clone(),
                turned.layout.keep(&self.network.resnet, &kept),
                &values,
                self.config.scale(),
                self.config.method.gates(),
                self.config.resolution,
            );
            let cut = evaluate(&predictor, validation, Samples::MEAN, 0.0, &mut |_| ())?;
            Ok(cut.scores.nll <= before.scores.nll + AUTO_NLL_INCREASE)
        })?;
        Ok(kept(count))
    }

    /// New parameters: new buffers and a new plan.
    fn replace(&mut self, layout: AdapterLayout, state: &TrainableState) -> Result<(), TrainError> {
        self.trainable = Trainable::upload(&self.gpu, layout, state);
        self.step = build_step(
            &self.network,
            &self.trainable,
            &self.config,
            &self.train,
            self.schedule.steps_per_epoch,
        )?;
        Ok(())
    }

    fn held_out(&self, observe: Observer) -> Result<Option<Evaluated>, TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let state = self.trainable.read_values(&self.gpu)?;
        let rank = self.effective_rank(&self.trainable.layout, &state);
        let evaluated = score(&self.current(), rank, validation, Samples::MEAN, observe)?;
        Ok(Some(evaluated))
    }

    /// Scores the run's adapter.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn evaluate(
        &self,
        source: &Source,
        samples: Samples,
        observe: Observer,
    ) -> Result<Evaluated, TrainError> {
        let (layout, state) = self.answering()?;
        let rank = self.effective_rank(&layout, &state);
        score(&self.predictor(), rank, source, samples, observe)
    }

    /// A predictor over the run's adapter: that of the epoch that is kept, with early stopping, else the parameters as they
    /// are now.
    pub fn predictor(&self) -> Predictor {
        match &self.kept {
            None => self.current(),
            Some(kept) => Predictor::with_state(
                self.network.clone(),
                kept.layout.clone(),
                &kept.values,
                self.config.scale(),
                self.config.method.gates(),
                self.config.resolution,
            ),
        }
    }

    /// What [`predictor`](Self::predictor) is over.
    fn answering(&self) -> Result<(Cow<'_, AdapterLayout>, Cow<'_, AdapterState>), GpuError> {
        Ok(match &self.kept {
            Some(kept) => (Cow::Borrowed(&kept.layout), Cow::Borrowed(&kept.values)),
            None => (
                Cow::Borrowed(&self.trainable.layout),
                Cow::Owned(self.trainable.read_values(&self.gpu)?),
            ),
        })
    }

    /// A predictor over the parameters as they are now.
    fn current(&self) -> Predictor {
        Predictor::over(
            self.network.clone(),
            self.trainable.layout.clone(),
            self.trainable.values.clone(),
            self.config.scale(),
            self.config.method.gates(),
            self.config.resolution,
        )
    }

    fn effective_rank(&self, layout: &AdapterLayout, state: &AdapterState) -> f64 {
        let Some(distribution) = self.config.method.gates() else {
            return layout.total_rank() as f64;
        };
        let ranked = state.with_log_alpha(distribution);
        let all = ranked.layers.iter().flat_map(|layer| &layer.log_alpha);
        soft_effective_rank(&all.map(|t| f64::from(*t)).collect::<Vec<_>>())
    }

    /// The run's adapter: as it is now, or with early stopping that of the epoch that is kept.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn adapter(&self) -> Result<Adapter, TrainError> {
        let (layout, state) = self.answering()?;
        let gates = self.config.method.gates();
        let (layers, head) = exchange::to_file(&layout, &state, gates.is_some());
        let (base_name, backbone_sha256) = self.backbone.clone();
        Ok(Adapter {
            layers,
            head,
            classes: self.train.dataset.classes.to_vec(),
            initial_rank: self.config.rank,
            lora_alpha: self.config.scale() * self.config.rank as f32,
            backbone_sha256,
            base_name,
            resolution: self.config.resolution,
            seed: self.config.seed,
            method: self.config.method.name().into(),
            gates: gates.unwrap_or_default(),
        })
    }

    /// Everything that a resumed run needs.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        let state = self.trainable.read(&self.gpu)?;
        let kernels = self.network.kernels.describe();
        let mut tensors = super::checkpoint::to_tensors(&self.trainable.layout, &state);
        let mut extra = Origin::new(&self.config, self.train.dataset.len()).to_json();
        if let Some(kept) = &self.kept {
            kept.save(&mut tensors, &mut extra);
        }
        Ok(Checkpoint {
            epoch: self.epoch,
            step: (self.epoch * self.schedule.steps_per_epoch) as u64,
            seed: self.config.seed,
            tensors,
            kernels: kernels
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .chain(self.gpu.choices().used())
                .collect(),
            extra,
        })
    }

    /// Goes on from a checkpoint of the same run. Returns the kernels that the checkpoint was made
    /// with where this device has others: results then agree only to rounding.
    ///
    /// # Errors
    /// The checkpoint is of another run, or holds what no training leaves.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<Option<String>, TrainError> {
        self.check_origin(checkpoint)
            .map_err(TrainError::Checkpoint)?;
        let (fresh, resnet) = (&self.trainable.layout, &self.network.resnet);
        let (layout, state) = super::checkpoint::from_tensors(&checkpoint.tensors, fresh, resnet)?;
        let has_kept = self.config.patience.is_some() && checkpoint.epoch > 0;
        let load = || Kept::load(&checkpoint.tensors, &checkpoint.extra, fresh, resnet);
        self.kept = has_kept.then(load).transpose()?;
        // The run's own kernels, even if this device would choose others now.
        self.gpu.choices().give(&checkpoint.kernels);
        self.replace(layout, &state)?;
        self.epoch = checkpoint.epoch;
        let here = self.network.kernels.describe();
        let differ = here
            .iter()
            .any(|(name, value)| checkpoint.kernels.get(*name) != Some(value));
        let there = here.map(|(name, _)| checkpoint.kernels.get(name).cloned().unwrap_or_default());
        Ok(differ.then(|| there.join("; ")))
    }

    /// The same where the training images are not those that the checkpoint was made with, so that an epoch may have
    /// another number of steps.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), images and steps aside.
    pub fn restore_over_other_images(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> Result<Option<String>, TrainError> {
        let mut checkpoint = checkpoint.clone();
        checkpoint.step = (checkpoint.epoch * self.schedule.steps_per_epoch) as u64;
        Origin::forget_images(&mut checkpoint.extra);
        let kernels = self.restore(&checkpoint)?;
        // Epochs to come are compared with it on the images that there are now.
        if let (Some(validation), Some(_)) = (&self.validation, &self.kept) {
            let held_out =
                self.evaluate(
                    validation,
                    Samples::MEAN,
                    &mut |_| ControlFlow::Continue(()),
                )?;
            let nll = tempered_nll(&held_out, &validation.dataset.labels)?;
            self.kept.as_mut().expect("just seen").tempered_nll = nll;
        }
        Ok(kernels)
    }

    /// What in a checkpoint contradicts this run.
    fn check_origin(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let (epochs, steps) = (self.config.epochs, self.schedule.steps_per_epoch);
        if checkpoint.seed != self.config.seed {
            return Err(format!(
                "its seed is {}, not {}",
                checkpoint.seed, self.config.seed
            ));
        }
        if checkpoint.epoch > epochs {
            return Err(format!(
                "it was made after epoch {}, and the run has {epochs}",
                checkpoint.epoch
            ));
        }
        if checkpoint.step != (checkpoint.epoch * steps) as u64 {
            return Err(format!(
                "it was made after {} steps in {} epochs, and an epoch has {steps} steps",
                checkpoint.step, checkpoint.epoch
            ));
        }
        Origin::new(&self.config, self.train.dataset.len()).check(&checkpoint.extra)
    }
}

/// Scores a predictor; an evaluation is short and has no state to lose, so it is not interrupted.
fn score(
    predictor: &Predictor,
    rank: f64,
    source: &Source,
    samples: Samples,
    observe: Observer,
) -> Result<Evaluated, TrainError> {
    let total = source.dataset.len();
    let mut progress = |done| {
        let _ = observe(Progress::Evaluating { done, total });
    };
    Ok(evaluate(predictor, source, samples, rank, &mut progress)?)
}
