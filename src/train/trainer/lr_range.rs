//! A learning rate range test from where a run starts.

use rand_pcg::Pcg64;

use super::Trainer;
use crate::gpu::GpuError;
use crate::model::{GateMode, StepValues, View};
use crate::predict::PredictError;
use crate::train::lr_range::{LrRangeTest, STEPS, has_diverged, learning_rate};
use crate::train::sampler::gate_keys;
use crate::train::{Observer, Progress, TrainError};

impl Trainer {
    /// Trains up to a hundred steps from the parameters as they are, each with a larger learning rate, from 1e-5 to 1, until the
    /// loss diverges (Smith 2017, arXiv:1506.01186). Batches and views are those that the first epochs have; gates are drawn, as
    /// after the warm-up, and neither they nor the KL are trained. The same trainer always finds the same. `None` where the
    /// observer has stopped it.
    ///
    /// The trainer is used up, as its parameters then are those of no run: another one is made with the learning rate found.
    ///
    /// # Errors
    /// The GPU fails, or an image file has changed since the set was opened.
    pub fn find_lr(self, observe: Observer) -> Result<Option<LrRangeTest>, TrainError> {
        match self.rising_losses(observe) {
            Ok(losses) => Ok(losses.map(LrRangeTest::new)),
            Err(error) if error.is_stop() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The losses until they diverge; `None` where the observer has stopped.
    fn rising_losses(&self, observe: Observer) -> Result<Option<Vec<f64>>, TrainError> {
        let mut losses: Vec<f64> = Vec::new();
        let batches = (0..).flat_map(|epoch| self.whole_batches(epoch));
        for (step, (batch, views)) in batches.take(STEPS).enumerate() {
            let progress = Progress::FindingLr {
                done: step,
                total: STEPS,
                loss: losses.last().copied().unwrap_or(f64::NAN) as f32,
            };
            if observe(progress).is_break() {
                return Ok(None);
            }
            if has_diverged(&losses) {
                break;
            }
            let inputs = self.train.fetch(&batch, Some(&views));
            inputs.map_err(PredictError::from)?.write(&self.step.batch);
            losses.push(self.step_at(learning_rate(step), step, &batch)?);
        }
        // The end, however early.
        let _ = observe(Progress::FindingLr {
            done: STEPS,
            total: STEPS,
            loss: losses.last().copied().unwrap_or(f64::NAN) as f32,
        });
        Ok(Some(losses))
    }

    /// Batches of an epoch and their views, without a last one that is smaller and so noisier.
    fn whole_batches(&self, epoch: u64) -> Vec<(Vec<usize>, Vec<View>)> {
        let config = &self.config;
        let labels = &self.train.dataset.labels;
        let order = config.sampler.order(labels, config.seed, epoch);
        let mut random = Pcg64::new(u128::from(config.seed), u128::from(epoch));
        let batches = order.indices().chunks_exact(config.batch_size);
        batches
            .map(|batch| {
                let views = batch.iter().map(|_| self.view(&mut random)).collect();
                (batch.to_vec(), views)
            })
            .collect()
    }

    /// The loss before the step.
    fn step_at(&self, rate: f64, step: usize, batch: &[usize]) -> Result<f64, GpuError> {
        let dataset = &self.train.dataset;
        let labels: Vec<u32> = batch.iter().map(|image| dataset.labels[*image]).collect();
        let values = StepValues {
            gates: match self.config.method.gates() {
                Some(_) => self.config.gates.into(),
                None => GateMode::Mean,
            },
            learning_rate: rate as f32,
            log_alpha_learning_rate: 0.0,
            kl_weight: 0.0,
            ..self.step_values(step, 0, batch.len())
        };
        let keys = gate_keys(batch, dataset.len());
        self.step.run(&labels, &keys, &values);
        let [sum, _, _, count] = self.step.statistics(1)?[0];
        Ok(f64::from(sum) / f64::from(count))
    }
}
