//! Prunes between epochs.

use super::Trainer;
use crate::predict::{Evaluated, Predictor, Samples, evaluate};
use crate::train::auto_rank::TemperedNll;
use crate::train::prune::{PruneEvent, farthest, kept_ranks, kept_without, noisiest, weakest};
use crate::train::setup::build_step;
use crate::train::turned::Turned;
use crate::train::{
    NllChange, Observer, Progress, PruneGauge, TrainError, Trainable, TrainableState,
};

impl Trainer {
    /// Cuts the ranks over the threshold, in the basis that was asked for, or with `auto_rank` as many as the held-out images
    /// vouch for; no event when there is none. Also the scores after it.
    pub(super) fn prune(
        &mut self,
        before: Option<Evaluated>,
        observe: Observer,
    ) -> Result<(Option<PruneEvent>, Option<Evaluated>), TrainError> {
        let state = self.trainable.read(&self.gpu)?;
        let ranks_before = state.layout.total_rank();
        let (mut state, kept) = match self.config.prune_gauge() {
            PruneGauge::None => {
                let distribution = self.config.method.gates().unwrap_or_default();
                let ranked = state.values.with_log_alpha(distribution);
                let kept = kept_ranks(&ranked, self.config.threshold, self.config.min_rank);
                (state, kept)
            }
            _ => {
                let turned = self.turned(state, observe)?;
                let (threshold, min_rank) = (self.config.threshold, self.config.min_rank);
                let gone = match self.config.auto_rank {
                    true => self.gone_by_nll(&turned, before.as_ref())?,
                    false => noisiest(&turned.state.values, threshold, min_rank),
                };
                let kept = kept_without(&turned.state.values, &gone);
                (turned.state, kept)
            }
        };
        if kept.iter().map(Vec::len).sum::<usize>() == ranks_before {
            return Ok((None, before));
        }
        state.keep(&self.network.resnet, &kept);
        if self.config.prune_gauge() != PruneGauge::None && self.config.method.learns_noise() {
            // What `min_rank` or the held-out images keep in spite of its noise. That was set to second order, which so wide a gate
            // is beyond: drawn as it is, it can break the training (figures in docs/ranks.md).
            state.values.limit_log_alpha(self.config.threshold);
        }
        self.replace(&state)?;
        let after = self.held_out(observe)?;
        let ranks_after = self.trainable.layout.total_rank();
        let (before, cut) = (before.as_ref(), after.as_ref());
        let event = PruneEvent {
            tempered_nll_change: self.tempered_nll_change(before, cut)?,
            ..PruneEvent::new(ranks_before, ranks_after, before, cut)
        };
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

    /// As many (layer, place) of a turned adapter as the held-out images vouch for, those with the least evidence first.
    fn gone_by_nll(
        &self,
        turned: &Turned,
        before: Option<&Evaluated>,
    ) -> Result<Vec<(usize, usize)>, TrainError> {
        let validation = self.validation.as_ref().zip(before);
        let (validation, before) = validation.expect("checked when the trainer was made");
        let labels = &validation.dataset.labels;
        let before = TemperedNll::new(before, labels)?;
        let mut gone = weakest(&turned.evidence, self.config.min_rank);
        let count = farthest(gone.len(), |count| -> Result<bool, TrainError> {
            let mut params = self.params(turned.state.layout.clone(), turned.state.values.clone());
            let kept = kept_without(&params.state, &gone[..count]);
            params.keep(&self.network.resnet, &kept);
            let network = self.network.clone();
            let predictor = Predictor::with_params(network, params, self.config.resolution);
            let cut = evaluate(&predictor, validation, Samples::MEAN, 0.0, &mut |_| ())?;
            let change = TemperedNll::new(&cut, labels)?.change(&before);
            Ok(change.is_vouched_for())
        })?;
        gone.truncate(count);
        Ok(gone)
    }

    /// Nothing unless ranks are cut by it.
    fn tempered_nll_change(
        &self,
        before: Option<&Evaluated>,
        after: Option<&Evaluated>,
    ) -> Result<Option<NllChange>, TrainError> {
        let (true, Some(before), Some(after), Some(validation)) =
            (self.config.auto_rank, before, after, &self.validation)
        else {
            return Ok(None);
        };
        let nll = |evaluated| TemperedNll::new(evaluated, &validation.dataset.labels);
        Ok(Some(nll(after)?.change(&nll(before)?)))
    }

    /// New parameters: new buffers and a new plan.
    pub(super) fn replace(&mut self, state: &TrainableState) -> Result<(), TrainError> {
        self.trainable = Trainable::upload(&self.gpu, state);
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
