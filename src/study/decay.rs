//! Which weight decay plain LoRA gets, from validation images.

use super::Settings;
use super::runs::{Images, RunSpec, lora, mean};

/// The runs that weight decay is chosen by: one seed, validation images alone. The default of `train` is the study's own
/// LoRA.
pub fn decay_candidates(settings: &Settings) -> Vec<RunSpec> {
    let values = settings.weight_decays.iter();
    values
        .map(|decay| RunSpec {
            seeds: 1,
            asks: vec![mean(Images::Validation, None, 1)],
            ..with_decay(settings, *decay)
        })
        .collect()
}

/// LoRA with this weight decay on A and B.
pub fn with_decay(settings: &Settings, decay: f64) -> RunSpec {
    let plain = lora(settings, settings.rank);
    if decay == plain.config.weight_decay {
        return plain;
    }
    let [name, title] = [format!("-decay-{decay}"), format!(", weight decay {decay}")];
    plain.varied(&name, &title, |config| config.weight_decay = decay)
}
