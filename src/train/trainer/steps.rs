//! The steps of an epoch.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::Trainer;
use crate::data::prefetch;
use crate::gpu::IdleMeter;
use crate::model::{GateMode, PLAIN_VIEW, Purpose, StepValues, View};
use crate::predict::PredictError;
use crate::train::sampler::gate_keys;
use crate::train::{Adam, Augment, Look, Observer, Progress, TrainError, Unsound};

/// Mean cross-entropy in nats that no run comes back from.
const DIVERGED: f32 = 1e3;

/// Steps between looks at the loss and at the soundness of all numbers.
const LOOK_EVERY: usize = 8;

/// How long the GPU had nothing to do in an epoch.
pub(super) struct Idle {
    pub in_all: Duration,
    /// While the next batch was not ready.
    pub for_input: Duration,
}

/// Mean cross-entropy of a step's statistics, in nats.
fn mean_loss([sum, _, _, count]: &[f32; 4]) -> f32 {
    sum / count
}

impl Trainer {
    /// All steps of an epoch; `None` when the observer stops them.
    pub(super) fn run_steps(&self, observe: Observer) -> Result<Option<Idle>, TrainError> {
        let (config, epoch) = (&self.config, self.epoch);
        let rows = config.batch_size;
        let steps = self.schedule.steps_per_epoch;
        let mut meter = IdleMeter::new(&self.gpu);
        let labels = &self.train.dataset.labels;
        let order = config.sampler.order(labels, config.seed, epoch as u64);
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
                let examples = gate_keys(indices, source.dataset.len());
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

    pub(super) fn view(&self, random: &mut Pcg64) -> View {
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

    pub(super) fn step_values(&self, step: usize, slot: usize, count: usize) -> StepValues {
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

    pub(super) fn check_sound(&self, look: Look) -> Result<(), TrainError> {
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
    pub(super) fn check_loss(
        &self,
        first: usize,
        statistics: &[[f32; 4]],
    ) -> Result<(), TrainError> {
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
}
