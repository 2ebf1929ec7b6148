//! Whether options can be used, and used together.

use std::fmt;

use super::{ClassWeights, KlMultiplicity, KlPrior, Method, PruneGauge, Sampler, TrainConfig};
use crate::ranges;

/// An option that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("`{option}` is {found}, expected {expected}")]
pub struct ConfigError {
    /// As the command line names it.
    pub option: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

/// Checks those options that have a value against their ranges.
pub fn check_ranges(
    counts: &[(&'static str, Option<u64>)],
    numbers: &[(&'static str, Option<f64>)],
) -> Result<(), ConfigError> {
    let wrong = |option, found: String, range: ranges::Range| {
        Err(ConfigError {
            option,
            found,
            expected: range.to_string(),
        })
    };
    for (option, found) in counts {
        if let (Some(found), Some(range)) = (found, ranges::of(option))
            && !range.has_whole(*found)
        {
            return wrong(option, found.to_string(), range);
        }
    }
    for (option, found) in numbers {
        if let (Some(found), Some(range)) = (found, ranges::of(option))
            && !range.has(*found)
        {
            return wrong(option, found.to_string(), range);
        }
    }
    Ok(())
}

impl TrainConfig {
    /// Checks every value, as far as it does not depend on the images.
    ///
    /// # Errors
    /// The option that is out of range or contradicts another.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |option, found: &dyn fmt::Display, expected: &str| {
            Err(ConfigError {
                option,
                found: found.to_string(),
                expected: expected.into(),
            })
        };
        let counts = [
            ("resolution", Some(self.resolution as u64)),
            ("epochs", Some(self.epochs as u64)),
            ("patience", self.patience.map(|count| count as u64)),
            ("batch-size", self.batch_size.map(|size| size as u64)),
            ("rank", Some(self.rank as u64)),
            ("min-rank", Some(self.min_rank as u64)),
            ("members", self.members.map(|count| count as u64)),
            ("seed", Some(self.seed)),
            ("split-seed", self.split_seed),
        ];
        let kl_multiplicity = match self.kl_multiplicity {
            Some(KlMultiplicity::Value(value)) => Some(value),
            _ => None,
        };
        let numbers = [
            ("lr", Some(self.lr)),
            ("lr-log-alpha", self.lr_log_alpha),
            ("lora-alpha", self.lora_alpha),
            ("weight-decay", Some(self.weight_decay)),
            ("kl-scale", Some(self.kl_scale)),
            ("kl-multiplicity", kl_multiplicity),
            ("validation", Some(self.validation)),
            ("threshold", Some(self.threshold)),
        ];
        check_ranges(&counts, &numbers)?;
        match self.dropout {
            Some(found) if self.method != Method::McDropout => {
                return wrong("dropout", &found, "nothing without `method mc-dropout`");
            }
            Some(found) if ranges::of("dropout").is_some_and(|range| !range.has(found)) => {
                let expected = "a probability from 0.001 to 0.99 (`method lora` drops nothing)";
                return wrong("dropout", &found, expected);
            }
            _ => {}
        }
        if let Some(members) = self.members {
            if self.method != Method::Ensemble {
                return wrong("members", &members, "nothing without `method ensemble`");
            }
            let largest = i64::MAX as u64 - members as u64;
            if self.seed > largest {
                let expected = format!("at most {largest}, each member having its own");
                return wrong("seed", &self.seed, &expected);
            }
        }
        if self.method == Method::WeightNoise && self.kl_prior != KlPrior::Molchanov {
            let expected =
                "molchanov with `method weight-noise`, whose KL is a weight's, not a gate's";
            return wrong("kl-prior", &self.kl_prior, expected);
        }
        if self.targets.is_empty() {
            return wrong("targets", &"empty", "layers to adapt, as in layer3,layer4");
        }
        if self.rank == 0 && (self.method != Method::Lora || self.auto_rank) {
            let expected = "at least 1; 0, which trains the head alone, goes with `method lora`";
            return wrong("rank", &self.rank, expected);
        }
        if self.min_rank > self.rank {
            let expected = format!("at most `rank` ({})", self.rank);
            return wrong("min-rank", &self.min_rank, &expected);
        }
        if self.sampler == Sampler::Balanced && self.class_weights != ClassWeights::None {
            let expected = "none with `sampler balanced`, which lets classes count alike already: both together would correct \
                            for their sizes twice";
            return wrong("class-weights", &self.class_weights.name(), expected);
        }
        self.check_gauge()?;
        self.check_patience()?;
        let every = self.prune_every();
        if every.epochs(self.epochs) <= 0.0 {
            return wrong("prune-every", &every, "more than 0");
        }
        Ok(())
    }

    /// Whether ranks can be cut as it is said.
    fn check_gauge(&self) -> Result<(), ConfigError> {
        let wrong = |option, found: &str, expected: String| {
            Err(ConfigError {
                option,
                found: found.into(),
                expected,
            })
        };
        let method = self.method.name();
        if self.auto_rank {
            if !matches!(self.method, Method::Lora | Method::BayesLora) {
                let expected = format!(
                    "a number with `method {method}`: auto turns ranks, which lora and bayeslora alone can do"
                );
                return wrong("rank", "auto", expected);
            }
            if self.threshold != Self::default().threshold {
                let expected =
                    "left out with `rank auto`, which cuts at the default one and by held-out NLL";
                return wrong("threshold", &self.threshold.to_string(), expected.into());
            }
            if self.validation == 0.0 {
                let expected = "more than 0 with `rank auto`, which chooses on held-out images";
                return wrong("validation", "0", expected.into());
            }
        }
        match self.prune_gauge {
            Some(PruneGauge::None) if self.auto_rank => wrong(
                "prune-gauge",
                "none",
                "svd or evidence with `rank auto`".into(),
            ),
            Some(gauge)
                if gauge != PruneGauge::None
                    && !self.auto_rank
                    && self.method != Method::BayesLora =>
            {
                let expected = match self.method.learns_noise() {
                    true => format!(
                        "none with `method {method}`, whose noise on weights does not turn with the ranks"
                    ),
                    false => format!(
                        "none with `method {method}`, which cuts no ranks unless `rank` is auto"
                    ),
                };
                wrong("prune-gauge", gauge.name(), expected)
            }
            _ => Ok(()),
        }
    }

    /// Whether training can end early.
    fn check_patience(&self) -> Result<(), ConfigError> {
        let Some(patience) = self.patience else {
            return Ok(());
        };
        let wrong = |option, found: String, expected: &str| {
            Err(ConfigError {
                option,
                found,
                expected: expected.into(),
            })
        };
        if self.validation == 0.0 {
            let expected = "more than 0 with `patience`, which compares epochs on held-out images";
            return wrong("validation", "0".into(), expected);
        }
        if self.auto_rank {
            let expected =
                "nothing with `rank auto`: the epoch that it keeps may come before the cuts";
            return wrong("patience", patience.to_string(), expected);
        }
        Ok(())
    }
}
