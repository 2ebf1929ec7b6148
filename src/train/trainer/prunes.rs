//! Prunes between epochs.

use super::Trainer;
use crate::model::AdapterLayout;
use crate::predict::{Evaluated, Predictor, Samples, evaluate};
use crate::train::prune::{PruneEvent, farthest, kept_ranks, kept_without, weakest};
use crate::train::setup::build_step;
use crate::train::turned::{AUTO_NLL_INCREASE, Turned};
use crate::train::{Observer, Progress, PruneGauge, TrainError, Trainable, TrainableState};

impl Trainer {
    /// Cuts the ranks over the threshold, or as many as the held-out NLL lets go, in the basis that was asked for; no event
    /// when there is none. Also the scores after it.
    pub(super) fn prune(
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
    pub(super) fn replace(
        &mut self,
        layout: AdapterLayout,
        state: &TrainableState,
    ) -> Result<(), TrainError> {
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
}
