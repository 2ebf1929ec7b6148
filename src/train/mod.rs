//! The ELBO, schedules, the optimiser, pruning, checkpoints, the loop.

mod adamw;
mod step;

pub use adamw::{Adam, Trainable, TrainableState};
pub use step::{BatchInput, StepSpec, TrainStep};
