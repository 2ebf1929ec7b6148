//! Parameters and moments as named tensors, and back; which run they are of.

use serde::Serialize;
use serde_json::Value;

use super::{ResolvedConfig, TrainError, TrainableState};
use crate::formats::TensorFile;
use crate::model::{AdapterLayout, AdapterState, ResNet};

/// What a run that goes on has in common with its checkpoint, beside the seed and the shapes.
#[derive(Serialize)]
pub(super) struct Origin {
    method: &'static str,
    rank: usize,
    epochs: usize,
    batch_size: usize,
    training_images: usize,
    precision: String,
    backbone_bits: u64,
}

impl Origin {
    pub fn new(config: &ResolvedConfig, training_images: usize) -> Self {
        Self {
            method: config.method.name(),
            rank: config.rank,
            epochs: config.epochs,
            batch_size: config.batch_size,
            training_images,
            precision: config.precision.to_string(),
            backbone_bits: config.backbone_bits.into(),
        }
    }

    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("names and numbers are JSON")
    }

    /// Takes out what a checkpoint says of the images that it was made with.
    pub fn forget_images(found: &mut Value) {
        if let Some(found) = found.as_object_mut() {
            found.remove("training_images");
        }
    }

    /// Holds what a checkpoint says of itself against this run; what it does not say is not held
    /// against it.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, found: &Value) -> Result<(), String> {
        let here = self.to_json();
        let here = here.as_object().into_iter().flatten();
        for (name, expected) in here {
            if let Some(found) = found.get(name).filter(|found| *found != expected) {
                let name = name.replace('_', " ");
                return Err(format!("its {name} is {found}, the run's {expected}"));
            }
        }
        Ok(())
    }
}

const PARTS: [&str; 3] = ["parameters", "first_moment", SECOND_MOMENT];

const SECOND_MOMENT: &str = "second_moment";

const RANK_IDS: &str = "rank_ids";

/// Every tensor of a state by part and layer, and the rank ids of each layer.
pub(super) fn to_tensors(state: &TrainableState) -> TensorFile {
    let layout = &state.layout;
    let mut file = TensorFile::default();
    let states = [&state.values, &state.first_moment, &state.second_moment];
    for (part, values) in PARTS.into_iter().zip(states) {
        insert_values(&mut file, part, layout, values);
    }
    insert_ranks(&mut file, RANK_IDS, layout);
    file
}

/// Every tensor of one part of a state, by layer.
pub(super) fn insert_values(
    file: &mut TensorFile,
    part: &str,
    layout: &AdapterLayout,
    state: &AdapterState,
) {
    for (layer, values) in layout.layers.iter().zip(&state.layers) {
        let (r, name) = (layer.rank(), format!("{part}.{}", layer.name));
        let (k, inputs, outputs) = (layer.kernel, layer.in_channels, layer.out_channels);
        file.insert(
            format!("{name}.lora_A"),
            &[r, inputs, k, k],
            values.lora_a.clone(),
        );
        file.insert(
            format!("{name}.lora_B"),
            &[outputs, r],
            values.lora_b.clone(),
        );
        file.insert(format!("{name}.log_alpha"), &[r], values.log_alpha.clone());
    }
    let head = format!("{part}.head");
    let shape = [layout.classes, layout.features];
    file.insert(format!("{head}.weight"), &shape, state.head_weight.clone());
    file.insert(
        format!("{head}.bias"),
        &[layout.classes],
        state.head_bias.clone(),
    );
}

/// The rank ids of each layer.
pub(super) fn insert_ranks(file: &mut TensorFile, part: &str, layout: &AdapterLayout) {
    for layer in &layout.layers {
        file.insert_u32s(format!("{part}.{}", layer.name), &layer.rank_ids);
    }
}

/// The state, for the layers of `fresh` (the run's layout before any pruning).
///
/// # Errors
/// A tensor is missing or of another shape, or a value is none that training leaves.
pub(super) fn from_tensors(
    file: &TensorFile,
    fresh: &AdapterLayout,
    resnet: &ResNet,
) -> Result<TrainableState, TrainError> {
    let layout = layout_from(file, RANK_IDS, fresh, resnet)?;
    let mut states = PARTS
        .into_iter()
        .map(|part| values_from(file, part, &layout));
    let mut next = || states.next().expect("three parts");
    let (values, first_moment, second_moment) = (next()?, next()?, next()?);
    Ok(TrainableState {
        layout,
        values,
        first_moment,
        second_moment,
    })
}

/// The layout with the ranks that the file has under this name, of those of `fresh`.
///
/// # Errors
/// A layer has none there, or others.
pub(super) fn layout_from(
    file: &TensorFile,
    part: &str,
    fresh: &AdapterLayout,
    resnet: &ResNet,
) -> Result<AdapterLayout, TrainError> {
    let mut kept = Vec::new();
    for layer in &fresh.layers {
        let ids = file
            .u32s(&format!("{part}.{}", layer.name))
            .map_err(|e| TrainError::Checkpoint(e.to_string()))?;
        // Pruning takes away: what is left is in order, each once.
        let ordered = ids.is_sorted_by(|a, b| a < b);
        let place = |id: &u32| layer.rank_ids.iter().position(|known| known == id);
        let places: Option<Vec<_>> = ids.iter().map(place).collect();
        kept.push(
            places.filter(|_| ordered).ok_or_else(|| {
                TrainError::Checkpoint(format!("{} has ranks {ids:?}", layer.name))
            })?,
        );
    }
    Ok(fresh.keep(resnet, &kept))
}

/// One part of a state.
///
/// # Errors
/// A tensor is missing or of another shape, or a value is none that training leaves.
pub(super) fn values_from(
    file: &TensorFile,
    part: &str,
    layout: &AdapterLayout,
) -> Result<AdapterState, TrainError> {
    // The shapes that this layout has.
    let mut state = layout.unpack(&vec![0.0; layout.len]);
    // A second moment is a mean of squares.
    let least = if part == SECOND_MOMENT { 0.0 } else { f32::MIN };
    let fill = |name: String, values: &mut Vec<f32>| {
        let tensor = file
            .tensors
            .get(&name)
            .ok_or_else(|| TrainError::Checkpoint(format!("it has no tensor {name}")))?;
        if tensor.data.len() != values.len() {
            let shape = &tensor.shape;
            return Err(TrainError::Checkpoint(format!(
                "{name} has shape {shape:?}"
            )));
        }
        let sound = |value: &f32| (least..=f32::MAX).contains(value);
        if let Some(index) = tensor.data.iter().position(|value| !sound(value)) {
            let value = tensor.data[index];
            return Err(TrainError::Damaged(format!(
                "element {index} of `{name}` is {value}"
            )));
        }
        values.clone_from(&tensor.data);
        Ok(())
    };
    for (layer, values) in layout.layers.iter().zip(&mut state.layers) {
        let name = format!("{part}.{}", layer.name);
        fill(format!("{name}.lora_A"), &mut values.lora_a)?;
        fill(format!("{name}.lora_B"), &mut values.lora_b)?;
        fill(format!("{name}.log_alpha"), &mut values.log_alpha)?;
    }
    fill(format!("{part}.head.weight"), &mut state.head_weight)?;
    fill(format!("{part}.head.bias"), &mut state.head_bias)?;
    Ok(state)
}
