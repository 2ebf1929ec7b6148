//! `--corruption`: how a run does on corrupted test images.

use std::fmt;

use anyhow::{Context as _, Result};
use bayeslora::low_level::data::{Corruption, Dataset, corrupt};
use bayeslora::low_level::gpu::Gpu;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::context::Bar;

#[derive(Args)]
pub struct CorruptionArgs {
    /// Corrupt the test images first, as CIFAR-10-C does
    #[arg(long, value_name = "NAME", value_parser = parser())]
    corruption: Option<Corruption>,
    /// Severity of the corruption, 1 to 5
    #[arg(long, value_name = "N", default_value_t = 3, requires = "corruption",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    severity: u8,
}

/// What has been done to the images.
#[derive(Serialize)]
pub struct Corrupted {
    corruption: &'static str,
    severity: u8,
}

impl fmt::Display for Corrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} at severity {}", self.corruption, self.severity)
    }
}

impl CorruptionArgs {
    /// The images as they are to be scored.
    pub fn apply(
        &self,
        gpu: &Gpu,
        images: Dataset,
        seed: u64,
        bar: &Bar,
    ) -> Result<(Dataset, Option<Corrupted>)> {
        let Some(corruption) = self.corruption else {
            return Ok((images, None));
        };
        let total = images.len();
        let severity = usize::from(self.severity);
        let mut progress = |done| bar.show("corrupting", done, total);
        let images = corrupt(gpu, &images, corruption, severity, seed, &mut progress)
            .context("--corruption")?;
        let corrupted = Corrupted {
            corruption: corruption.name(),
            severity: self.severity,
        };
        Ok((images, Some(corrupted)))
    }
}

fn parser() -> impl TypedValueParser<Value = Corruption> {
    let values = Corruption::ALL
        .map(|corruption| PossibleValue::new(corruption.name()).help(corruption.description()));
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}
