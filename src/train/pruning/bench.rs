//! A backbone on the GPU with held-out images, and what the GPU says about them.

use std::sync::Arc;

use super::PruneError;
use crate::data::Dataset;
use crate::formats::Adapter;
use crate::gpu::Gpu;
use crate::model::{AdapterParams, Backbone, FrozenNetwork, PLAIN_VIEW};
use crate::predict::{
    Evaluated, GateFactors, Labels, PredictError, Predictor, Samples, Source, evaluate, fitted,
};
use crate::train::gauge::{EVIDENCE_IMAGES, Evidence};
use crate::train::{Progress, TrainConfig, upload};

/// Told how far a prune is.
pub type Tell<'a> = &'a mut dyn FnMut(Progress);

/// Scores adapters on the held-out images, with the mean weights.
pub struct Bench {
    network: Arc<FrozenNetwork>,
    held_out: Source,
    size: usize,
}

impl Bench {
    pub fn new(
        gpu: &Gpu,
        (backbone, adapter, config): (&Backbone, &Adapter, &TrainConfig),
        held_out: Dataset,
        tell: Tell,
    ) -> Result<Self, PredictError> {
        let network = upload(gpu, backbone);
        let convs: Vec<_> = fitted(backbone, adapter)?
            .layout
            .layers
            .iter()
            .filter_map(|layer| layer.conv)
            .collect();
        let (cut, size) = (network.resnet.cut(&convs), adapter.resolution);
        let (mut budget, total) = (config.budget(), held_out.len());
        // Every attempt goes through the same frozen layers.
        let progress = |done| tell(Progress::Caching { done, total });
        let views = &[PLAIN_VIEW];
        let held_out = Source::within(&mut budget, &network, cut, held_out, size, views, progress)?;
        Ok(Self {
            network,
            held_out,
            size,
        })
    }

    /// The held-out images' own.
    pub fn labels(&self) -> &[u32] {
        &self.held_out.dataset.labels
    }

    fn predictor(&self, params: &AdapterParams) -> Predictor {
        Predictor::with_params(self.network.clone(), params.clone(), self.size)
    }

    pub fn score(&self, params: &AdapterParams, tell: Tell) -> Result<Evaluated, PredictError> {
        let total = self.held_out.dataset.len();
        let mut progress = |done| tell(Progress::Evaluating { done, total });
        let predictor = self.predictor(params);
        evaluate(
            &predictor,
            &self.held_out,
            Samples::MEAN,
            0.0,
            &mut progress,
        )
    }

    /// Asks training images, `wanted` of them or the usual number, with labels drawn from the model, and as many held-out
    /// images with their own.
    pub fn evidence(
        &self,
        params: &AdapterParams,
        train: Dataset,
        wanted: Option<usize>,
        seed: u64,
        tell: Tell,
    ) -> Result<Evidence, PruneError> {
        let labels = Labels::Drawn { seed };
        let most = GateFactors::most_images(&params.layout, labels);
        if wanted.is_some_and(|images| images.min(train.len()) > most) {
            return Err(PruneError::Memory {
                ranks: params.layout.total_rank(),
                most,
            });
        }
        let images = wanted.unwrap_or(EVIDENCE_IMAGES.min(most));
        let predictor = self.predictor(params);
        let train = Source::images(train, self.size);
        let mut progress = |done, total| tell(Progress::Weighing { done, total });
        Ok(Evidence::gather(
            &predictor,
            &train,
            &self.held_out,
            images,
            labels,
            &mut progress,
        )?)
    }
}
