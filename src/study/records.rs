//! What the epochs of a run say of its end.

use serde_json::Value;

use crate::train::TrainConfig;

fn number(epoch: &Value, name: &str) -> Option<usize> {
    Some(epoch[name].as_u64()? as usize)
}

/// The epoch whose adapter is the run's: the last, or with early stopping the one that was kept.
pub fn final_epoch(epochs: &[Value]) -> Option<&Value> {
    let last = epochs.last()?;
    match number(last, "kept_epoch") {
        None => Some(last),
        kept => epochs.iter().find(|epoch| number(epoch, "epoch") == kept),
    }
}

/// Whether training is over after these epochs.
pub fn is_trained(config: &TrainConfig, epochs: &[Value]) -> bool {
    let kept = epochs.last().and_then(|last| number(last, "kept_epoch"));
    config.ends_after(epochs.len(), kept)
}
