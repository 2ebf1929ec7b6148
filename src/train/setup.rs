//! From a configuration to what is on the GPU.

use std::sync::Arc;

use super::kl::KlPrior;
use super::report::{Observer, Progress, TrainError};
use super::sets::check_set;
use super::{
    Adam, LOG_VARIANCE_RANGE, Method, ResolvedConfig, StepSpec, TrainConfig, TrainStep, Trainable,
};
use crate::data::Dataset;
use crate::gpu::{Gpu, GpuError};
use crate::model::{self, Backbone, FrozenNetwork, KernelChoice, PLAIN_VIEW, Prior, View};
use crate::predict::Source;

/// A backbone on the GPU.
pub fn upload(gpu: &Gpu, backbone: &Backbone) -> Arc<FrozenNetwork> {
    let kernels = KernelChoice::for_gpu(gpu);
    Arc::new(FrozenNetwork::new(gpu, kernels, backbone))
}

/// What runs over one backbone share.
#[derive(Clone)]
pub struct Prepared {
    /// The backbone on the device.
    pub network: Arc<FrozenNetwork>,
    /// Images to train on.
    pub train: Source,
    /// Images for choices.
    pub validation: Option<Source>,
}

/// Uploads a backbone, in the bits of the run, and its sets, caching features where they fit its budget. Runs that
/// agree in targets, resolution, augmentation and bits can share the result.
///
/// # Errors
/// A set has no images or labels of no class, the targets match no layer, or the GPU fails.
pub fn prepare(
    gpu: &Gpu,
    backbone: &Backbone,
    config: &TrainConfig,
    train: Dataset,
    validation: Option<Dataset>,
    observe: Observer,
) -> Result<Prepared, TrainError> {
    let classes = train.classes.len();
    check_set("training", &train, classes)?;
    if let Some(validation) = &validation {
        check_set("validation", validation, classes)?;
    }
    let (convs, _) = backbone
        .resnet
        .select(&config.targets)
        .map_err(TrainError::Targets)?;
    let network = upload(gpu, &backbone.in_bits(config.backbone_bits));
    let (cut, size) = (network.resnet.cut(&convs), config.resolution);
    let mut budget = config.budget();
    let mut open = |dataset: Dataset, views: &[View]| {
        let total = dataset.len();
        let progress = |done| {
            let _ = observe(Progress::Caching { done, total });
        };
        Source::within(&mut budget, &network, cut, dataset, size, views, progress)
    };
    let train = open(train, config.augment.views())?;
    let validation = validation
        .map(|dataset| open(dataset, &[PLAIN_VIEW]))
        .transpose()?;
    Ok(Prepared {
        network,
        train,
        validation,
    })
}

/// Refuses a batch or a resolution that the device cannot bind, before images are read.
///
/// # Errors
/// The targets match no layer, or the option that is too large, with what would fit.
pub fn check_fit(gpu: &Gpu, backbone: &Backbone, config: &TrainConfig) -> Result<(), TrainError> {
    let resnet = &backbone.resnet;
    let (convs, _) = resnet
        .select(&config.targets)
        .map_err(TrainError::Targets)?;
    let cut = resnet.cut(&convs);
    let fits = |size: usize, rows: usize| model::check_fit(gpu, resnet, cut, size, rows);
    let Err(reason) = fits(config.resolution, config.batch_size.unwrap_or(1)) else {
        return Ok(());
    };
    let halves = |from: usize| std::iter::successors(Some(from / 2), |half| Some(half / 2));
    if let Some(batch) = config.batch_size
        && let Some(smaller) = halves(batch)
            .take_while(|rows| *rows > 0)
            .find(|rows| fits(config.resolution, *rows).is_ok())
    {
        return Err(TrainError::BatchTooLarge {
            batch,
            fits: smaller,
            resident: false,
            reason,
        });
    }
    let size = halves(config.resolution).find(|size| *size < 32 || fits(*size, 1).is_ok());
    Err(TrainError::ResolutionTooLarge {
        resolution: config.resolution,
        fits: size.unwrap_or_default().max(32),
        reason,
    })
}

impl From<KlPrior> for Prior {
    fn from(prior: KlPrior) -> Self {
        match prior {
            KlPrior::Molchanov => Self::Molchanov,
            KlPrior::EmpiricalBayes => Self::EmpiricalBayes,
            KlPrior::Gaussian { variance } => Self::Gaussian {
                variance: variance as f32,
            },
        }
    }
}

/// The plan of a step; where the batch is too large, the error names one that is not.
pub(super) fn build_step(
    network: &FrozenNetwork,
    trainable: &Trainable,
    config: &ResolvedConfig,
    train: &Source,
    slots: usize,
) -> Result<TrainStep, TrainError> {
    let mut adam = Adam::default();
    if config.method == Method::WeightNoise {
        adam.log_alpha_range = LOG_VARIANCE_RANGE;
    }
    let with_batch = |batch: usize| {
        let spec = StepSpec {
            input: train.input(),
            batch,
            scale: config.scale(),
            distribution: config.method.gates().unwrap_or_default(),
            prior: config
                .method
                .learns_noise()
                .then_some(config.kl_prior.into()),
            kappa: &|layer| config.kl_multiplicity.kappa(layer.params_per_rank()),
            slots,
            draw_gates: true,
            adam,
        };
        TrainStep::new(network, trainable, &spec)
    };
    let batch = config.batch_size;
    let reason = match with_batch(batch) {
        Err(error @ (GpuError::BufferTooLarge { .. } | GpuError::OutOfMemory { .. })) => error,
        other => {
            let step = other?;
            let counts = train.dataset.class_counts();
            step.weigh_classes(&config.class_weights.of(&counts));
            return Ok(step);
        }
    };
    // The device does not tell how much memory it has: halve until a plan can be made.
    let halves = std::iter::successors(Some(batch / 2), |size| Some(size / 2));
    let fits = halves
        .take_while(|size| *size > 0)
        .find(|size| with_batch(*size).is_ok());
    Err(match fits {
        Some(fits) => TrainError::BatchTooLarge {
            batch,
            fits,
            resident: train.is_resident(),
            reason,
        },
        None => reason.into(),
    })
}
