//! Several adapters over one backbone that answer together (Lakshminarayanan et al. 2017).

use std::sync::Arc;

use super::predictor::{Predictive, as_trained};
use super::{Budget, PredictError, Prediction, Predictor, Samples, Source};
use crate::data::Dataset;
use crate::formats::Adapter;
use crate::gpu::Gpu;
use crate::model::{Backbone, FrozenNetwork, KernelChoice, PLAIN_VIEW};

/// Host memory for the frozen layers' features of a set, in bytes.
const FEATURES: u64 = 2 << 30;

/// The members' predictives count as samples of one.
pub struct Ensemble {
    /// At least one.
    members: Vec<Predictor>,
}

impl Ensemble {
    /// Uploads a backbone once, in the bits that the first adapter was trained over, and each adapter that was trained on it.
    ///
    /// # Errors
    /// There is no adapter, or one does not fit the backbone; the GPU fails.
    pub fn new(gpu: &Gpu, backbone: &Backbone, adapters: &[Adapter]) -> Result<Self, PredictError> {
        let first = adapters.first().ok_or(PredictError::NoMembers)?;
        let backbone = &as_trained(backbone, first);
        let network = FrozenNetwork::new(gpu, KernelChoice::for_gpu(gpu), backbone);
        let network = Arc::new(network);
        let members = adapters
            .iter()
            .map(|adapter| Predictor::on(network.clone(), backbone, adapter));
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
        })
    }

    /// As [`Predictor::predict`]. The covariance trace is the members' mean.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn predict(
        &self,
        dataset: Dataset,
        samples: Samples,
        trace: bool,
    ) -> Result<Prediction, PredictError> {
        let source = self.cached(
            &Source::images(dataset, self.members[0].size()),
            &mut |_| (),
        )?;
        Prediction::by(self, &source, samples, trace)
    }

    /// The same images with what lies below all adapters computed once for all members.
    fn cached(
        &self,
        source: &Source,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Source, PredictError> {
        let first = &self.members[0];
        let cut = first.cut();
        let agree = self.members.iter().all(|member| member.cut() == cut);
        if source.is_cached() || self.members.len() == 1 || !agree {
            return Ok(source.clone());
        }
        let mut budget = Budget {
            features: Some(FEATURES),
            resident: 0,
        };
        Source::within(
            &mut budget,
            first.network(),
            cut,
            (*source.dataset).clone(),
            first.size(),
            &[PLAIN_VIEW],
            progress,
        )
    }
}

impl Predictive for Ensemble {
    fn log_probs(
        &self,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        let source = self.cached(source, &mut |_| ())?;
        let (n, members) = (source.dataset.len(), self.members.len());
        let mut all = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let mut advance = |done| progress((number * n + done) / members);
            all.extend(member.log_probs(&source, samples, &mut advance)?);
        }
        Ok(all)
    }

    fn covariance_trace(&self, source: &Source) -> Result<Vec<f32>, PredictError> {
        let count = self.members.len() as f32;
        let mut mean = vec![0.0; source.dataset.len()];
        for member in &self.members {
            let of_member = member.covariance_trace(source)?;
            let pairs = mean.iter_mut().zip(of_member);
            pairs.for_each(|(sum, value)| *sum += value / count);
        }
        Ok(mean)
    }

    fn draws(&self, samples: Samples) -> usize {
        self.members.len() * samples.count.max(1)
    }

    fn classes(&self) -> usize {
        self.members[0].classes()
    }

    fn rank_count(&self) -> usize {
        self.members.iter().map(Predictive::rank_count).sum()
    }

    fn adapter_parameters(&self) -> usize {
        let counts = self.members.iter().map(Predictive::adapter_parameters);
        counts.sum()
    }
}
