//! Early stopping: the epoch that a run keeps.

use serde_json::{Value, json};

use super::TrainError;
use super::checkpoint::{insert_ranks, insert_values, layout_from, values_from};
use crate::formats::TensorFile;
use crate::model::{AdapterLayout, AdapterState, ResNet};
use crate::predict::{Evaluated, Samples};

/// The parameters of the epoch with the lowest NLL on validation images, at the temperature that suits these best: what is
/// overconfident alone is no reason to stop.
#[derive(Clone)]
pub(super) struct Kept {
    pub epoch: usize,
    /// In nats per image.
    pub tempered_nll: f64,
    pub layout: AdapterLayout,
    pub values: AdapterState,
}

/// In a checkpoint: what its tensors are called, and the rest.
const PART: &str = "kept";
const RANK_IDS: &str = "kept_rank_ids";

/// The NLL that epochs are compared by.
///
/// # Errors
/// An answer is not finite.
pub(super) fn tempered_nll(held_out: &Evaluated, labels: &[u32]) -> Result<f64, TrainError> {
    let fitted = held_out.fit_temperature(labels, Samples::MEAN)?;
    Ok(fitted.nll_after)
}

impl Kept {
    /// Adds it to what a checkpoint holds.
    pub fn save(&self, file: &mut TensorFile, extra: &mut Value) {
        insert_values(file, PART, &self.layout, &self.values);
        insert_ranks(file, RANK_IDS, &self.layout);
        extra[PART] = json!({ "epoch": self.epoch, "tempered_nll": self.tempered_nll });
    }

    /// What [`save`](Self::save) has added; `fresh` is the run's layout before any pruning.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn load(
        file: &TensorFile,
        extra: &Value,
        fresh: &AdapterLayout,
        resnet: &ResNet,
    ) -> Result<Self, TrainError> {
        let missing = || TrainError::Damaged("it does not say which epoch is kept".into());
        let found = &extra[PART];
        let epoch = found["epoch"].as_u64().ok_or_else(missing)?;
        let layout = layout_from(file, RANK_IDS, fresh, resnet)?;
        Ok(Self {
            epoch: epoch as usize,
            tempered_nll: found["tempered_nll"].as_f64().ok_or_else(missing)?,
            values: values_from(file, PART, &layout)?,
            layout,
        })
    }
}
