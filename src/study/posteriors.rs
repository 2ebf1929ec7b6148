//! Laplace posteriors around the runs of a study.

use super::Settings;
use super::runs::{RunSpec, SAMPLES};
use crate::predict::laplace::{LaplaceConfig, PriorPrecision, Wanted};

/// A posterior, and over what its predictive is averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub config: LaplaceConfig,
    /// Draws of the adapter's gates; 0 for the mean weights.
    pub samples: usize,
}

impl Fit {
    /// What it answers: the test images, and where a forward pass is enough the validation images, for a temperature.
    pub fn sets(self) -> &'static [&'static str] {
        match self.config.structure.wanted() {
            Wanted::Features => &["validation", "test"],
            Wanted::Gates | Wanted::Adapters => &["test"],
        }
    }

    /// Where its answers are, `laplace-last-layer-full`.
    pub fn way(self) -> String {
        let structure = self.config.structure;
        let how = match self.config.precision {
            precision if precision == PriorPrecision::default_for(structure) => String::new(),
            precision => format!("-{precision}"),
        };
        let drawn = match self.samples {
            0 => String::new(),
            count => format!(".samples-{count}"),
        };
        format!("laplace-{}{how}{drawn}", structure.name())
    }
}

impl RunSpec {
    /// Those that its first [`laplace`](Self::laplace) seeds get: around plain adapters all of the study's, around gated ones
    /// those of the head, under draws of the gates.
    pub fn posteriors(&self, settings: &Settings) -> Vec<Fit> {
        let (configs, samples) = match self.config.method.gates() {
            None => (settings.laplace, 0),
            Some(_) => (settings.gated_laplace, SAMPLES),
        };
        let fit = |config: &LaplaceConfig| Fit {
            config: *config,
            samples,
        };
        configs.iter().map(fit).collect()
    }
}
