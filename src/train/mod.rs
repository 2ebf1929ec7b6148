//! The ELBO, schedules, the optimiser, pruning, checkpoints, the loop.

mod adamw;
pub mod kl;
mod step;

pub use adamw::{Adam, LOG_ALPHA_RANGE, Trainable, TrainableState};
pub use step::{BatchInput, StepSpec, TrainStep};
