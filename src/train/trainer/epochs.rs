//! All epochs of a run: trained, kept, gone on with.

use super::Trainer;
use crate::formats::{FormatError, RunDir};
use crate::train::{EpochOutcome, EpochReport, Observer, TrainError};

/// What a run was gone on from.
#[derive(Debug)]
pub struct Resumed {
    /// Epochs that were done.
    pub epoch: usize,
    /// The kernels that the checkpoint was made with, where this device has others: results then agree only to rounding.
    pub other_kernels: Option<String>,
    /// Why that was not the newest checkpoint.
    pub damaged: Option<FormatError>,
}

impl Trainer {
    /// Trains to the end, or until it is stopped as [`next_epoch`](Self::next_epoch) says. `keep` is called after each epoch,
    /// when [`adapter`](Self::adapter) and [`checkpoint`](Self::checkpoint) are those of its end. Returns whether training
    /// came to the end.
    ///
    /// # Errors
    /// The loss is not finite, the GPU fails, and what `keep` says.
    pub fn train<E: From<TrainError>>(
        &mut self,
        observe: Observer,
        mut keep: impl FnMut(&Self, EpochReport) -> Result<(), E>,
    ) -> Result<bool, E> {
        loop {
            match self.next_epoch(observe)? {
                EpochOutcome::Done(report) => keep(self, *report)?,
                EpochOutcome::Interrupted => return Ok(false),
                EpochOutcome::Finished => break,
            }
        }
        match self.network.is_unchanged().map_err(TrainError::from) {
            Ok(false) => Err(TrainError::BackboneChanged.into()),
            Err(error) if !error.is_stop() => Err(error.into()),
            looked => Ok(looked.is_ok()),
        }
    }

    /// The same with each epoch kept in the directory of the run: its metrics, the adapter and a checkpoint. `tell` is
    /// called once they are.
    ///
    /// # Errors
    /// As [`train`](Self::train); an epoch cannot be written.
    pub fn train_in<E: From<TrainError>>(
        &mut self,
        run: &RunDir,
        observe: Observer,
        mut tell: impl FnMut(&Self, &EpochReport) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.train(observe, |trainer, report| {
            let (adapter, checkpoint) = (trainer.adapter()?, trainer.checkpoint()?);
            // The checkpoint comes last: what is there before it is written again where it is missing.
            run.append_metrics(&report)
                .and_then(|()| run.write_adapter(&adapter))
                .and_then(|()| run.write_checkpoint(&checkpoint))
                .map_err(|source| TrainError::Unkept {
                    epoch: report.epoch,
                    run: run.path().to_owned(),
                    source: source.into(),
                })?;
            tell(trainer, &report)
        })
    }

    /// Goes on from the newest sound checkpoint of a run, which from then on is its newest; `other_images` as in
    /// [`restore_over_other_images`](Self::restore_over_other_images).
    ///
    /// # Errors
    /// There is no sound checkpoint, it is of another run, or the directory cannot be written.
    pub fn resume(&mut self, run: &RunDir, other_images: bool) -> Result<Resumed, TrainError> {
        let (checkpoint, damaged) = run.read_checkpoint()?;
        let other_kernels = match other_images {
            true => self.restore_over_other_images(&checkpoint)?,
            false => self.restore(&checkpoint)?,
        };
        if damaged.is_some() {
            run.drop_newest_checkpoint()?;
        }
        run.truncate_metrics(checkpoint.epoch)?;
        Ok(Resumed {
            epoch: checkpoint.epoch,
            other_kernels,
            damaged,
        })
    }
}
