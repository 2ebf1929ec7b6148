//! What follows from the number of images.

use std::ops::Deref;

use super::{
    ConfigError, DROPOUT, Gates, KlMultiplicity, MEMBERS, Method, TrainConfig, default_kappa,
};

/// A configuration with a value for every option, made by [`TrainConfig::resolve`]. It reads as the configuration that it is;
/// what may be left out there and is needed in training is a plain value here.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedConfig {
    config: TrainConfig,
    /// Images of a step.
    pub batch_size: usize,
    /// Learning rate of log alpha.
    pub lr_log_alpha: f64,
    /// kappa_i.
    pub kl_multiplicity: KlMultiplicity,
}

impl Deref for ResolvedConfig {
    type Target = TrainConfig;

    fn deref(&self) -> &TrainConfig {
        &self.config
    }
}

impl From<ResolvedConfig> for TrainConfig {
    fn from(resolved: ResolvedConfig) -> Self {
        resolved.config
    }
}

impl TrainConfig {
    /// Fills in what follows from the number of training images (validation taken off), and checks every value.
    ///
    /// # Errors
    /// The option that is out of range or contradicts another.
    pub fn resolve(mut self, images: usize) -> Result<ResolvedConfig, ConfigError> {
        self.check()?;
        let batch = match images {
            0..5_000 => 32,
            5_000..20_000 => 64,
            _ => 128,
        };
        let batch_size = self.batch_size.unwrap_or(batch).min(images.max(1));
        self.batch_size = Some(batch_size);
        let lora_alpha = self.default_lora_alpha();
        self.lora_alpha.get_or_insert(lora_alpha);
        self.split_seed.get_or_insert(self.seed);
        self.prune_from = Some(self.prune_from());
        self.prune_every = Some(self.prune_every());
        let steps_per_epoch = images.div_ceil(batch_size);
        // Steps key the noise in 32 bits.
        let most = u32::MAX as usize / steps_per_epoch.max(1);
        if self.epochs > most {
            return Err(ConfigError {
                option: "epochs",
                found: self.epochs.to_string(),
                expected: format!("at most {most} of {steps_per_epoch} steps"),
            });
        }
        let steps = self.epochs * steps_per_epoch;
        // Adam moves a parameter by about its rate a step.
        let crossing = 24.0 / steps.max(1) as f64;
        let lr_log_alpha = *self
            .lr_log_alpha
            .get_or_insert(crossing.min(0.2).max(self.lr));
        let kl_multiplicity = *self
            .kl_multiplicity
            .get_or_insert(KlMultiplicity::Value(default_kappa(images)));
        if self.method == Method::McDropout {
            self.dropout.get_or_insert(DROPOUT);
        }
        if self.method == Method::Ensemble {
            self.members.get_or_insert(MEMBERS);
        }
        if self.method == Method::WeightNoise {
            // A draw of all weights for every example would be a network for every example.
            self.gates = Gates::Shared;
        }
        Ok(ResolvedConfig {
            config: self,
            batch_size,
            lr_log_alpha,
            kl_multiplicity,
        })
    }
}
