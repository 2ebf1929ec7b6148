//! A backbone with an adapter, ready to answer.

use std::sync::Arc;

use super::{ClassPriorError, ForwardPlan, ForwardSpec, RunError, Source};
use crate::data::{DataError, Dataset, prefetch};
use crate::errors::ErrorKind;
use crate::formats::{Adapter, GateDistribution, LayerAdapter};
use crate::gpu::{Gpu, GpuError, Reading, largest_that_fits};
use crate::metrics::{
    PredictionsError, SampledProbabilities, entropy, log_mean_exp, tempered_log_probs,
};
use crate::model::exchange::{self, Misfit};
use crate::model::{
    AdaptedNetwork, AdapterLayout, AdapterParams, Backbone, BackboneBits, BatchInput, Cut,
    FrozenNetwork, GateMode, KernelChoice, StepValues,
};

/// Why a prediction failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum PredictError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("there are no images")]
    Empty,
    #[error("an ensemble has at least one member")]
    NoMembers,
    #[error(
        "the adapter does not say at which resolution it was trained; set `Adapter::resolution`"
    )]
    NoResolution,
    #[error("{option} is {found}, expected {expected}")]
    Option {
        option: &'static str,
        found: String,
        expected: String,
    },
    #[error("class_prior")]
    ClassPrior(#[from] ClassPriorError),
    #[error(
        "temperature is fitted to answers for the balance of classes that the run was trained for, and class_prior gives others; \
         leave out one of them"
    )]
    TemperedPrior,
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "{what} take {bytes} bytes of host memory, more than there is; ask for fewer samples or images"
    )]
    HostMemory { what: &'static str, bytes: usize },
    #[error("the predictions are not usable")]
    Predictions(#[from] PredictionsError),
    #[error(
        "the adapter was trained on a backbone with SHA-256 {expected:.12}..., this one has \
         {found:.12}...; give the run's own by `backbone`"
    )]
    Backbone { expected: String, found: String },
    #[error(
        "the adapter was trained over this backbone with weights of {expected} bits, these have {found}; give the run's own \
         bits by `backbone-bits`"
    )]
    BackboneBits {
        expected: BackboneBits,
        found: BackboneBits,
    },
    #[error(
        "the adapter's head was never trained, so its answers would mean nothing: train it first, from this adapter"
    )]
    UntrainedHead,
}

impl PredictError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gpu(error) => error.kind(),
            Self::Data(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::HostMemory { .. } => ErrorKind::System,
            _ => ErrorKind::Input,
        }
    }

    /// Whether it is no fault, but a [stop](crate::gpu::StopHandle) that was asked for.
    pub fn is_stop(&self) -> bool {
        self.kind() == ErrorKind::Stopped
    }
}

/// The backbone in the bits that an adapter was trained over, which the hash that it keeps says; an adapter of another
/// program, which keeps none, takes it as it is.
pub fn as_trained(backbone: &Backbone, adapter: &Adapter) -> Backbone {
    backbone.in_bits(BackboneBits::of_hash(&adapter.backbone_sha256))
}

/// An adapter on the backbone that it was trained on.
///
/// # Errors
/// It was trained on another backbone, or does not fit this one.
pub fn fitted(backbone: &Backbone, adapter: &Adapter) -> Result<AdapterParams, PredictError> {
    let (expected, found) = (&adapter.backbone_sha256, &backbone.sha256);
    if !expected.is_empty() && expected != found {
        let trained = BackboneBits::of_hash(expected);
        if trained.hash_of(found) == *expected {
            return Err(PredictError::BackboneBits {
                expected: trained,
                found: backbone.bits(),
            });
        }
        let (expected, found) = (expected.clone(), found.clone());
        return Err(PredictError::Backbone { expected, found });
    }
    Ok(exchange::from_file(&backbone.resnet, adapter)?)
}

/// Refuses an adapter whose head is still to be trained.
///
/// # Errors
/// It is.
pub fn require_trained(adapter: &Adapter) -> Result<(), PredictError> {
    match adapter.head.trained {
        true => Ok(()),
        false => Err(PredictError::UntrainedHead),
    }
}

/// Monte Carlo samples of the gates, or of the weights where an adapter draws those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// 0 takes the mean weights (z = 1) instead.
    pub count: usize,
    /// The same seed gives the same gates.
    pub seed: u64,
    /// One draw per sample for all images, instead of one for each. Weights are always drawn like this.
    pub shared: bool,
}

impl Samples {
    /// The mean weights.
    pub const MEAN: Self = Self {
        count: 0,
        seed: 0,
        shared: false,
    };

    /// `count` samples with gates of their own for each image.
    pub fn new(count: usize, seed: u64) -> Self {
        Self {
            count,
            seed,
            shared: false,
        }
    }
}

/// The answer for a set of images.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prediction {
    /// Columns of `mean` and `std`.
    pub classes: usize,
    /// The predictive, `[n, classes]`: the mean of the samples' probabilities.
    pub mean: Vec<f32>,
    /// Standard deviation of each class probability over the samples, `[n, classes]`.
    pub std: Vec<f32>,
    /// Entropy of the predictive, in nats, `[n]`.
    pub entropy: Vec<f32>,
    /// Entropy of the predictive minus the mean entropy of the samples, in nats, `[n]`.
    pub mutual_information: Vec<f32>,
    /// Trace of equation (16) summed over adapters and positions, `[n]`; NaN where it does not hold, the weights being
    /// drawn and not the gates; `None` where it was not asked for.
    pub covariance_trace: Option<Vec<f32>>,
}

impl Prediction {
    /// The same with the predictive and its entropy at a temperature; `std` and `mutual_information`
    /// stay those of the samples.
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        let logs: Vec<f32> = self.mean.iter().map(|p| p.ln()).collect();
        let tempered = tempered_log_probs(&logs, self.classes, temperature);
        self.mean = tempered.iter().map(|value| value.exp()).collect();
        let rows = self.mean.chunks_exact(self.classes);
        self.entropy = rows.map(|row| entropy(row) as f32).collect();
        self
    }
}

impl Prediction {
    /// What a predictive says of a set.
    pub(super) fn by(
        predictive: &impl Predictive,
        source: &Source,
        samples: Samples,
        trace: bool,
    ) -> Result<Self, PredictError> {
        let log_probs = predictive.log_probs(source, samples, &mut |_| ())?;
        let answer = Self::new(&log_probs, predictive.draws(samples), predictive.classes())?;
        let trace = trace.then(|| predictive.covariance_trace(source));
        Ok(Self {
            covariance_trace: trace.transpose()?,
            ..answer
        })
    }

    /// From log probabilities of every draw, `[draws, n, classes]`.
    ///
    /// # Errors
    /// A row is not a distribution.
    pub fn new(log_probs: &[f32], draws: usize, classes: usize) -> Result<Self, PredictError> {
        let n = log_probs.len() / (draws * classes).max(1);
        let probs: Vec<f32> = log_probs.iter().map(|value| value.exp()).collect();
        let sampled = SampledProbabilities::new(&probs, draws, n, classes)?;
        let mean = log_mean_exp(log_probs, draws);
        Ok(Self {
            classes,
            mean: mean.iter().map(|value| value.exp()).collect(),
            std: sampled.std(),
            entropy: sampled.predictive_entropy(),
            mutual_information: sampled.mutual_information(),
            covariance_trace: None,
        })
    }
}

/// What answers with samples of log probabilities.
pub trait Predictive {
    /// Log probabilities of every draw, `[draws, n, classes]`. `progress` is called with the number of
    /// images done.
    ///
    /// # Errors
    /// The GPU fails, or a batch does not fit it; an image file has changed since the set was opened.
    fn log_probs(
        &self,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError>;

    /// The trace of equation (16) of every image, `[n]`.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    fn covariance_trace(&self, source: &Source) -> Result<Vec<f32>, PredictError>;

    /// Draws of an answer with this many gate samples.
    fn draws(&self, samples: Samples) -> usize;

    /// Classes of an answer.
    fn classes(&self) -> usize;

    /// Ranks left.
    fn rank_count(&self) -> usize;

    /// Scalars of A, B and log alpha.
    fn adapter_parameters(&self) -> usize;
}

impl Predictive for Predictor {
    fn log_probs(
        &self,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        Predictor::log_probs(self, source, samples, progress)
    }

    fn covariance_trace(&self, source: &Source) -> Result<Vec<f32>, PredictError> {
        Predictor::covariance_trace(self, source)
    }

    fn draws(&self, samples: Samples) -> usize {
        samples.count.max(1)
    }

    fn classes(&self) -> usize {
        self.layout.classes
    }

    fn rank_count(&self) -> usize {
        self.stored.0
    }

    fn adapter_parameters(&self) -> usize {
        self.stored.1
    }
}

/// A batch's log probabilities on their way, its images, and the first of its samples.
type Answer<'a> = (Reading<f32>, &'a [usize], usize);

/// Log probabilities `[draws, n, classes]` as they come in.
pub(super) struct Draws {
    pub log_probs: Vec<f32>,
    draws: usize,
    n: usize,
    classes: usize,
    /// Draws of one pass.
    at_once: usize,
}

impl Draws {
    /// # Errors
    /// There is not as much host memory.
    pub fn new(
        draws: usize,
        n: usize,
        classes: usize,
        at_once: usize,
    ) -> Result<Self, PredictError> {
        let shape = [draws, n, classes].into_iter();
        let len = shape.clone().try_fold(1usize, usize::checked_mul);
        let mut log_probs = Vec::new();
        let Some(len) = len.filter(|len| log_probs.try_reserve_exact(*len).is_ok()) else {
            return Err(PredictError::HostMemory {
                what: "the samples' probabilities",
                bytes: len.unwrap_or(usize::MAX).saturating_mul(4),
            });
        };
        log_probs.resize(len, 0.0);
        Ok(Self {
            log_probs,
            draws,
            n,
            classes,
            at_once,
        })
    }

    /// Takes what a pass over some images found, `[images, draws of a pass, classes]`, from draw `first` on.
    pub fn take(&mut self, found: &[f32], images: &[usize], first: usize) {
        for (row, values) in found.chunks_exact(self.classes).enumerate() {
            let (image, draw) = (images[row / self.at_once], first + row % self.at_once);
            if draw < self.draws {
                let place = (draw * self.n + image) * self.classes;
                self.log_probs[place..place + self.classes].copy_from_slice(values);
            }
        }
    }
}

/// Rows (examples x samples) of a batch: enough to fill a device, few enough for its memory.
const SOFTWARE_ROWS: usize = 128;
const HARDWARE_ROWS: usize = 512;

/// A frozen network with an adapter on a device.
pub struct Predictor {
    pub(super) network: Arc<FrozenNetwork>,
    pub(super) layout: AdapterLayout,
    parameters: wgpu::Buffer,
    scale: f32,
    gates: Option<GateDistribution>,
    size: usize,
    /// Ranks and scalars of the adapter as files hold it.
    stored: (usize, usize),
}

impl Predictor {
    /// Uploads a backbone and an adapter that was trained on it; over weights of 8 bits, if it was trained over such.
    ///
    /// # Errors
    /// The adapter belongs to another backbone or does not fit this one, or its head was never trained; the GPU fails.
    pub fn new(gpu: &Gpu, backbone: &Backbone, adapter: &Adapter) -> Result<Self, PredictError> {
        let backbone = as_trained(backbone, adapter);
        let network = FrozenNetwork::new(gpu, KernelChoice::for_gpu(gpu), &backbone);
        Self::on(network.into(), &backbone, adapter)
    }

    /// Uploads an adapter alone, over its backbone that is on the device.
    ///
    /// # Errors
    /// The adapter belongs to another backbone or does not fit this one, the network has other bits, or the head was never
    /// trained.
    pub fn on(
        network: Arc<FrozenNetwork>,
        backbone: &Backbone,
        adapter: &Adapter,
    ) -> Result<Self, PredictError> {
        require_trained(adapter)?;
        let params = fitted(backbone, adapter)?;
        if network.bits != backbone.bits() {
            return Err(PredictError::BackboneBits {
                expected: backbone.bits(),
                found: network.bits,
            });
        }
        let ranks = adapter.layers.iter().map(LayerAdapter::rank).sum();
        Ok(Self {
            stored: (ranks, adapter.scalars()),
            ..Self::with_params(network, params, adapter.resolution)
        })
    }

    /// Uploads an adapter's parameters alone, over a network that is on the device, for images of `size` pixels.
    pub fn with_params(network: Arc<FrozenNetwork>, params: AdapterParams, size: usize) -> Self {
        let AdapterParams {
            layout,
            state,
            scale,
            gates,
        } = params;
        let parameters = network.gpu.storage_with("parameters", &layout.pack(&state));
        Self::over(network, layout, parameters, scale, gates, size)
    }

    /// Predicts with parameters that lie on the device already, as while training; `gates` is `None` where every gate is 1.
    pub fn over(
        network: Arc<FrozenNetwork>,
        layout: AdapterLayout,
        parameters: wgpu::Buffer,
        scale: f32,
        gates: Option<GateDistribution>,
        size: usize,
    ) -> Self {
        let learnt = gates.is_some_and(GateDistribution::is_learnt);
        let stored = (layout.total_rank(), layout.adapter_parameters(learnt));
        Self {
            network,
            stored,
            layout,
            parameters,
            scale,
            gates,
            size,
        }
    }

    /// The backbone on the device.
    pub fn network(&self) -> &Arc<FrozenNetwork> {
        &self.network
    }

    /// Where the adapted part begins.
    pub fn cut(&self) -> Cut {
        self.layout.cut(&self.network.resnet)
    }

    /// Which layers are adapted, and their ranks.
    pub fn layout(&self) -> &AdapterLayout {
        &self.layout
    }

    pub(super) fn adapted(&self) -> AdaptedNetwork<'_> {
        AdaptedNetwork {
            network: &self.network,
            layout: &self.layout,
            parameters: &self.parameters,
            scale: self.scale,
        }
    }

    /// The parameters as they are now, laid out as [`Predictor::layout`] says.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn parameters(&self) -> Result<Vec<f32>, GpuError> {
        let bytes = 4 * self.layout.len as u64;
        self.network.gpu.read(&self.parameters, 0, bytes)
    }

    /// Side of the network's input in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The plan of a batch, to look at.
    ///
    /// # Errors
    /// A tensor does not fit the device.
    pub fn plan(&self, spec: ForwardSpec) -> Result<ForwardPlan, GpuError> {
        ForwardPlan::new(self.adapted(), spec)
    }

    /// A spec for batches of `source` with `samples` gate samples per example.
    pub fn spec(&self, source: &Source, examples: usize, samples: usize) -> ForwardSpec {
        self.spec_of(source.input(), examples, samples)
    }

    pub(super) fn spec_of(
        &self,
        input: BatchInput,
        examples: usize,
        samples: usize,
    ) -> ForwardSpec {
        ForwardSpec {
            input,
            examples,
            samples,
            distribution: self.gates.unwrap_or_default(),
            trace: false,
            features: false,
            last_map: false,
        }
    }

    /// Rows (examples x samples) of a batch.
    fn rows(&self) -> usize {
        match self.network.gpu.is_software() {
            true => SOFTWARE_ROWS,
            false => HARDWARE_ROWS,
        }
    }

    /// Draws of `count` that one pass computes.
    pub(super) fn draws_at_once(&self, count: usize) -> usize {
        match self.gates {
            Some(GateDistribution::Weights) => 1,
            _ => count.clamp(1, self.rows()),
        }
    }

    /// Log probabilities of every sample, `[max(samples, 1), n, classes]`. `progress` is called
    /// with the number of images done.
    ///
    /// # Errors
    /// The GPU fails, or a batch does not fit it; an image file has changed since the set was opened.
    pub fn log_probs(
        &self,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        let (n, classes) = (source.dataset.len(), self.layout.classes);
        if n == 0 {
            return Err(PredictError::Empty);
        }
        let count = samples.count.max(1);
        let at_once = self.draws_at_once(count);
        let mut draws = Draws::new(count, n, classes, at_once)?;
        let most = (self.rows() / at_once).clamp(1, n);
        let plan = |examples| self.plan(self.spec(source, examples, at_once));
        let (examples, plan) = largest_that_fits(most, plan)?;
        let gates = match (self.gates, samples.count, samples.shared) {
            (None, ..) | (_, 0, _) => GateMode::Mean,
            (_, _, true) => GateMode::Shared,
            (_, _, false) => GateMode::PerExample,
        };
        let indices: Vec<usize> = (0..n).collect();
        let batches: Vec<&[usize]> = indices.chunks(examples).collect();
        let mut collect = |(reading, batch, first): Answer| -> Result<(), GpuError> {
            draws.take(&reading.wait()?, batch, first);
            if first + at_once >= count {
                progress(batch[batch.len() - 1] + 1);
            }
            Ok(())
        };
        let fetch = |number: usize| source.fetch(batches[number], None);
        prefetch(batches.len(), fetch, |ahead| {
            // One answer is on its way while the GPU computes the next.
            let mut last: Option<Answer> = None;
            for batch in &batches {
                let inputs = ahead.next(|| ()).expect("as many as there are batches")?;
                inputs.write(&plan.batch);
                let ids: Vec<u32> = batch.iter().map(|index| *index as u32).collect();
                for first in (0..count).step_by(at_once) {
                    let values = StepValues::prediction(samples.seed, first as u32, gates);
                    let reading = plan.submit(&ids, &values);
                    last.replace((reading, batch, first))
                        .map_or(Ok(()), &mut collect)?;
                }
            }
            last.map_or(Ok(()), &mut collect)?;
            Ok::<_, PredictError>(())
        })?;
        Ok(draws.log_probs)
    }

    /// The predictive and its uncertainty for square u8 images of any side (`dataset.side`); the trace of equation (16) too
    /// where it is asked for, which takes about as long as one sample.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn predict(
        &self,
        dataset: Dataset,
        samples: Samples,
        trace: bool,
    ) -> Result<Prediction, PredictError> {
        Prediction::by(self, &Source::images(dataset, self.size), samples, trace)
    }

    /// The trace of equation (16) of every image, `[n]`: how much the adapters' outputs vary. 0 without gates; NaN where weights are
    /// drawn: (16) is the covariance of gates, and noise on weights has more terms.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    pub fn covariance_trace(&self, source: &Source) -> Result<Vec<f32>, PredictError> {
        let n = source.dataset.len();
        match self.gates {
            _ if n == 0 => return Err(PredictError::Empty),
            None => return Ok(vec![0.0; n]),
            Some(GateDistribution::Weights) => return Ok(vec![f32::NAN; n]),
            Some(_) => {}
        }
        let spec = |spec| ForwardSpec {
            trace: true,
            ..spec
        };
        let all: Vec<usize> = (0..n).collect();
        self.at_the_mean(source, &all, spec, &mut |_| (), |plan, batch| {
            plan.trace(batch).wait()
        })
    }

    /// Inputs of the head under the mean weights, `[n, features]`: pooled features of the last layer. `progress` is called with the
    /// number of images done.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    pub fn features(
        &self,
        source: &Source,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        let all: Vec<usize> = (0..source.dataset.len()).collect();
        self.features_of(source, &all, progress)
    }

    /// The same of some images, `[indices, features]`.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    ///
    /// # Panics
    /// If there is no such image.
    pub fn features_of(
        &self,
        source: &Source,
        indices: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, PredictError> {
        let spec = |spec| ForwardSpec {
            features: true,
            ..spec
        };
        self.at_the_mean(source, indices, spec, progress, ForwardPlan::pooled)
    }

    /// What `read` finds after each batch of some images has gone through the mean weights; it is given the number of its images.
    fn at_the_mean(
        &self,
        source: &Source,
        indices: &[usize],
        spec: impl Fn(ForwardSpec) -> ForwardSpec,
        progress: &mut dyn FnMut(usize),
        read: impl Fn(&ForwardPlan, usize) -> Result<Vec<f32>, GpuError>,
    ) -> Result<Vec<f32>, PredictError> {
        let n = indices.len();
        if n == 0 {
            return Err(PredictError::Empty);
        }
        let plan = |examples| self.plan(spec(self.spec(source, examples, 1)));
        let (examples, plan) = largest_that_fits(SOFTWARE_ROWS.min(n), plan)?;
        let batches: Vec<&[usize]> = indices.chunks(examples).collect();
        let fetch = |number: usize| source.fetch(batches[number], None);
        prefetch(batches.len(), fetch, |ahead| {
            let (mut all, mut done) = (Vec::new(), 0);
            for batch in &batches {
                let inputs = ahead.next(|| ()).expect("as many as there are batches")?;
                inputs.write(&plan.batch);
                let ids: Vec<u32> = batch.iter().map(|index| *index as u32).collect();
                plan.submit(&ids, &StepValues::prediction(0, 0, GateMode::Mean));
                all.extend(read(&plan, batch.len())?);
                done += batch.len();
                progress(done);
            }
            Ok(all)
        })
    }
}
