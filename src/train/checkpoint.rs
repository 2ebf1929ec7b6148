//! Parameters and moments as named tensors, and back.

use super::TrainableState;
use crate::formats::TensorFile;
use crate::model::{AdapterLayout, AdapterState, ResNet};

const PARTS: [&str; 3] = ["parameters", "first_moment", "second_moment"];

/// Every tensor of a state by part and layer, and the rank ids of each layer.
pub(super) fn to_tensors(layout: &AdapterLayout, state: &TrainableState) -> TensorFile {
    let mut file = TensorFile::default();
    let states = [&state.values, &state.first_moment, &state.second_moment];
    for (part, state) in PARTS.into_iter().zip(states) {
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
    for layer in &layout.layers {
        file.insert_u32s(format!("rank_ids.{}", layer.name), &layer.rank_ids);
    }
    file
}

/// The state and its layout, for the layers of `fresh` (the run's layout before any pruning).
pub(super) fn from_tensors(
    file: &TensorFile,
    fresh: &AdapterLayout,
    resnet: &ResNet,
) -> Result<(AdapterLayout, TrainableState), String> {
    let mut kept = Vec::new();
    for layer in &fresh.layers {
        let ids = file
            .u32s(&format!("rank_ids.{}", layer.name))
            .map_err(|e| e.to_string())?;
        let place = |id: &u32| layer.rank_ids.iter().position(|known| known == id);
        let places: Option<Vec<_>> = ids.iter().map(place).collect();
        kept.push(places.ok_or_else(|| format!("{} has ranks {ids:?}", layer.name))?);
    }
    let layout = fresh.keep(resnet, &kept);
    let mut states = PARTS.into_iter().map(|part| state(file, part, &layout));
    let mut next = || states.next().expect("three parts");
    let state = TrainableState {
        values: next()?,
        first_moment: next()?,
        second_moment: next()?,
    };
    Ok((layout, state))
}

fn state(file: &TensorFile, part: &str, layout: &AdapterLayout) -> Result<AdapterState, String> {
    // The shapes that this layout has.
    let mut state = layout.unpack(&vec![0.0; layout.len]);
    let fill = |name: String, values: &mut Vec<f32>| {
        let tensor = file
            .tensors
            .get(&name)
            .ok_or_else(|| format!("it has no tensor {name}"))?;
        if tensor.data.len() != values.len() {
            return Err(format!("{name} has shape {:?}", tensor.shape));
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
