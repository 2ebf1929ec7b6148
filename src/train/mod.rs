//! The ELBO, schedules, the optimiser, pruning, checkpoints, the loop.

#[allow(missing_docs)]
mod adamw;
mod auto_rank;
mod checkpoint;
mod class_prior;
mod class_weights;
mod config;
#[allow(missing_docs)]
pub mod gauge;
mod init;
mod kept;
pub mod kl;
mod lr_range;
mod prune;
mod pruning;
mod report;
mod sampler;
#[allow(missing_docs)]
mod schedule;
mod sets;
mod setup;
#[allow(missing_docs)]
mod step;
mod trainer;
mod turned;

pub use adamw::{
    Adam, LOG_ALPHA_RANGE, LOG_VARIANCE_RANGE, Look, Trainable, TrainableState, Unsound,
};
pub use class_weights::ClassWeights;
pub use config::{
    AUTO_RANK, Augment, ConfigError, DROPOUT, Gates, KAPPA_PER_IMAGE, LrSchedule, MEMBERS, Method,
    PruneGauge, ResolvedConfig, Span, TrainConfig, default_kappa,
};
pub use init::{INITIAL_LOG_ALPHA, INITIAL_LOG_VARIANCE, initial_head, initial_state};
pub use lr_range::{LrPoint, LrRangeTest};
pub use prune::{
    HeldOut, NllChange, PruneEvent, farthest, kept_ranks, kept_without, magnitudes, noisiest,
    weakest,
};
pub use pruning::{
    CurvePoint, LayerReport, PruneError, PruneImages, PruneOptions, PruneReport, Pruning,
    ScoredRank, Way,
};
pub use report::{EpochOutcome, EpochReport, Observer, Progress, TrainError};
pub use sampler::{Sampler, effective_images};
pub use schedule::{Rates, Schedule};
pub use sets::SetError;
pub use setup::{Prepared, check_fit, prepare, upload};
pub use step::{StepSpec, TrainStep};
pub use trainer::{Resumed, Trainer};
