//! What the adapter answers, while it is trained and afterwards.

use super::Trainer;
use crate::formats::{Adapter, ClassBalance};
use crate::gpu::GpuError;
use crate::model::{AdapterLayout, AdapterParams, AdapterState, exchange};
use crate::predict::{Evaluated, Predictor, Samples, Source, evaluate};
use crate::train::kl::soft_effective_rank;
use crate::train::{Observer, Progress, TrainError};

impl Trainer {
    pub(super) fn held_out(&self, observe: Observer) -> Result<Option<Evaluated>, TrainError> {
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
        let params = self.answering()?;
        let rank = self.effective_rank(&params.layout, &params.state);
        score(&self.predictor(), rank, source, samples, observe)
    }

    /// A predictor over the run's adapter: that of the epoch that is kept, with early stopping, else the parameters as they
    /// are now.
    pub fn predictor(&self) -> Predictor {
        match &self.kept {
            None => self.current(),
            Some(kept) => Predictor::with_params(
                self.network.clone(),
                self.params(kept.layout.clone(), kept.values.clone()),
                self.config.resolution,
            ),
        }
    }

    /// Parameters of this run.
    pub(super) fn params(&self, layout: AdapterLayout, state: AdapterState) -> AdapterParams {
        AdapterParams {
            layout,
            state,
            scale: self.config.scale(),
            gates: self.config.method.gates(),
        }
    }

    /// What [`predictor`](Self::predictor) is over.
    fn answering(&self) -> Result<AdapterParams, GpuError> {
        let (layout, state) = match &self.kept {
            Some(kept) => (&kept.layout, kept.values.clone()),
            None => {
                let values = self.trainable.read_values(&self.gpu)?;
                (&self.trainable.layout, values)
            }
        };
        Ok(self.params(layout.clone(), state))
    }

    /// A predictor over the parameters as they are now.
    pub(super) fn current(&self) -> Predictor {
        Predictor::over(
            self.network.clone(),
            self.trainable.layout.clone(),
            self.trainable.values.clone(),
            self.config.scale(),
            self.config.method.gates(),
            self.config.resolution,
        )
    }

    pub(super) fn effective_rank(&self, layout: &AdapterLayout, state: &AdapterState) -> f64 {
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
        let params = self.answering()?;
        let (layers, head) = exchange::to_file(&params);
        let (base_name, backbone_sha256) = self.backbone.clone();
        let images = self.train.dataset.class_counts();
        Ok(Adapter {
            layers,
            head,
            classes: self.train.dataset.classes.to_vec(),
            class_balance: Some(ClassBalance {
                prior: self.config.class_prior(&images),
                images,
            }),
            // A file of adapters has at least one, PEFT's too; the head alone is one whose every rank was cut.
            initial_rank: self.config.rank.max(1),
            lora_alpha: params.scale * self.config.rank.max(1) as f32,
            backbone_sha256,
            base_name,
            resolution: self.config.resolution,
            seed: self.config.seed,
            method: self.config.method.name().into(),
            gates: params.gates.unwrap_or_default(),
        })
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
