//! Learning rates and the KL's weight over the steps of a run.

use super::{LrSchedule, ResolvedConfig};

/// Share of a cosine run in which the rates rise.
const RISE: f64 = 0.05;

/// What a step runs with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub learning_rate: f64,
    pub log_alpha_learning_rate: f64,
    /// Weight of the KL, from 0 to 1.
    pub beta: f64,
    /// Whether gates are drawn; z = 1 before.
    pub sampling: bool,
}

/// A run's schedule in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub steps_per_epoch: usize,
    pub total: usize,
    kind: LrSchedule,
    learning_rate: f64,
    log_alpha_learning_rate: f64,
    freeze: f64,
    warmup: f64,
    sample_from: f64,
}

impl Schedule {
    pub fn new(config: &ResolvedConfig, steps_per_epoch: usize) -> Self {
        let steps = |span: super::Span| span.epochs(config.epochs) * steps_per_epoch as f64;
        Self {
            steps_per_epoch,
            total: config.epochs * steps_per_epoch,
            kind: config.lr_schedule,
            learning_rate: config.lr,
            log_alpha_learning_rate: config.lr_log_alpha,
            freeze: steps(config.kl_freeze),
            warmup: steps(config.beta_warmup),
            sample_from: steps(config.sample_warmup),
        }
    }

    /// The rates of a step, from 0.
    pub fn at(&self, step: usize) -> Rates {
        let now = step as f64;
        let factor = match self.kind {
            LrSchedule::Constant => 1.0,
            LrSchedule::Cosine => {
                let total = self.total as f64;
                let rise = (RISE * total).max(1.0);
                let fall = ((now - rise) / (total - rise).max(1.0)).clamp(0.0, 1.0);
                ((now + 1.0) / rise).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * fall).cos())
            }
        };
        let beta = match (now - self.freeze, self.warmup) {
            (since, _) if since < 0.0 => 0.0,
            (_, 0.0) => 1.0,
            (since, warmup) => (since / warmup).min(1.0),
        };
        Rates {
            learning_rate: self.learning_rate * factor,
            log_alpha_learning_rate: self.log_alpha_learning_rate * factor,
            beta,
            sampling: now >= self.sample_from,
        }
    }
}
