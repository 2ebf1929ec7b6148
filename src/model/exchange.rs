//! Adapters as files hold them, to and from those of the engine.

use super::{AdapterLayout, AdapterParams, AdapterState, HEAD, LayerState, ResNet};
use crate::{formats, ranges};

/// Why an adapter does not fit a backbone.
#[derive(Debug, thiserror::Error)]
#[error("the adapter has {what}, the backbone {expected}")]
pub struct Misfit {
    what: String,
    expected: String,
}

/// log alpha of an adapter that was trained without gates: alpha is zero in f32, and z = 1 exactly.
const NO_NOISE: f32 = -200.0;

/// An adapter on this network. One with mixed gates becomes what it stands for, an
/// adapter of its latent ranks with a gate each: it costs what these do, and no kernel knows of it.
///
/// # Errors
/// A layer of the adapter is not in the network, or has another shape there.
pub fn from_file(resnet: &ResNet, adapter: &formats::Adapter) -> Result<AdapterParams, Misfit> {
    check_numbers(adapter)?;
    let mut placed = Vec::new();
    for layer in &adapter.layers {
        let found = (layer.in_channels, layer.out_channels, layer.kernel);
        let place = resnet.convs.iter().position(|spec| spec.name == layer.name);
        let expected = match place {
            Some(place) => {
                let spec = &resnet.convs[place];
                (spec.in_channels, spec.out_channels, spec.kernel)
            }
            None if layer.name == HEAD => (resnet.features(), adapter.head.classes, 1),
            None => {
                return Err(Misfit {
                    what: format!("a layer {:?}", layer.name),
                    expected: "has none of that name".into(),
                });
            }
        };
        if found != expected {
            return Err(Misfit {
                what: format!("{} with {}", layer.name, shape(found)),
                expected: format!("has it with {}", shape(expected)),
            });
        }
        placed.push((place.unwrap_or(usize::MAX), layer));
    }
    if adapter.head.features != resnet.features() {
        return Err(Misfit {
            what: format!("a head for {} features", adapter.head.features),
            expected: format!("gives {}", resnet.features()),
        });
    }
    placed.sort_by_key(|(place, _)| *place);
    let convs: Vec<_> = placed
        .iter()
        .map(|(place, _)| *place)
        .filter(|place| *place != usize::MAX)
        .collect();
    let ids: Vec<_> = placed
        .iter()
        .map(|(_, layer)| match &layer.mixing {
            None => layer.rank_ids.clone(),
            Some(mixing) => mixing.ids.clone(),
        })
        .collect();
    let head = convs.len() < placed.len();
    let layout = AdapterLayout::new(resnet, &convs, head, adapter.head.classes, &ids);
    let layers = placed.iter().map(|(_, layer)| {
        let (lora_a, lora_b) = match &layer.mixing {
            None => (layer.lora_a.clone(), layer.lora_b.clone()),
            Some(mixing) => (
                mixing.latent_a(&layer.lora_a),
                mixing.latent_b(&layer.lora_b),
            ),
        };
        let log_alpha = layer.log_alpha.clone();
        LayerState {
            lora_a,
            lora_b,
            log_alpha: log_alpha.unwrap_or_else(|| vec![NO_NOISE; layer.rank_ids.len()]),
        }
    });
    let state = AdapterState {
        layers: layers.collect(),
        head_weight: adapter.head.weight.clone(),
        head_bias: adapter.head.bias.clone(),
    };
    let is_gated = adapter.layers.iter().any(|layer| layer.log_alpha.is_some());
    Ok(AdapterParams {
        layout,
        state,
        scale: adapter.scale(),
        gates: is_gated.then_some(adapter.gates),
    })
}

/// Numbers that files may hold and no training leaves.
fn check_numbers(adapter: &formats::Adapter) -> Result<(), Misfit> {
    let (scale, resolution) = (adapter.scale(), adapter.resolution);
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Misfit {
            what: format!("a scale of {scale}"),
            expected: "needs a number above 0".into(),
        });
    }
    let range = ranges::of("resolution").filter(|range| !range.has_whole(resolution as u64));
    match range {
        None => Ok(()),
        Some(range) => Err(Misfit {
            what: format!("a resolution of {resolution} pixels"),
            expected: format!("takes {range}"),
        }),
    }
}

fn shape((inputs, outputs, kernel): (usize, usize, usize)) -> String {
    format!("{inputs} to {outputs} channels and a {kernel}x{kernel} kernel")
}

/// The layers and the head of a file; log alpha is in it where there are gates.
pub fn to_file(params: &AdapterParams) -> (Vec<formats::LayerAdapter>, formats::Head) {
    let AdapterParams {
        layout,
        state,
        gates,
        ..
    } = params;
    let layers = layout
        .layers
        .iter()
        .zip(&state.layers)
        .map(|(layer, values)| formats::LayerAdapter {
            name: layer.name.clone(),
            in_channels: layer.in_channels,
            out_channels: layer.out_channels,
            kernel: layer.kernel,
            lora_a: values.lora_a.clone(),
            lora_b: values.lora_b.clone(),
            log_alpha: gates.is_some().then(|| values.log_alpha.clone()),
            mixing: None,
            rank_ids: layer.rank_ids.clone(),
        });
    let head = formats::Head {
        classes: layout.classes,
        features: layout.features,
        weight: state.head_weight.clone(),
        bias: state.head_bias.clone(),
        trained: true,
    };
    (layers.collect(), head)
}
