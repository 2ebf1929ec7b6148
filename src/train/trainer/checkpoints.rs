//! Checkpoints, and how a run goes on from them.

use std::ops::ControlFlow;

use super::Trainer;
use crate::formats::Checkpoint;
use crate::predict::Samples;
use crate::train::TrainError;
use crate::train::checkpoint::{Origin, from_tensors, to_tensors};
use crate::train::kept::{Kept, tempered_nll};

impl Trainer {
    /// Everything that a resumed run needs.
    ///
    /// # Errors
    /// The GPU fails, or the last epoch did not come to its end.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        self.check_whole()?;
        let state = self.trainable.read(&self.gpu)?;
        let kernels = self.network.kernels.describe();
        let mut tensors = to_tensors(&state);
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
                .chain(self.gpu.in_use().used())
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
        let state = from_tensors(&checkpoint.tensors, fresh, resnet)?;
        let has_kept = self.config.patience.is_some() && checkpoint.epoch > 0;
        let load = || Kept::load(&checkpoint.tensors, &checkpoint.extra, fresh, resnet);
        self.kept = has_kept.then(load).transpose()?;
        // The run's own kernels, even if this device would choose others now.
        self.gpu.in_use().give(&checkpoint.kernels);
        self.replace(&state)?;
        self.epoch = checkpoint.epoch;
        self.is_between = false;
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
