//! A merged adapter computes what the adapter did.

use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::model::{
    AdaptedNetwork, AdapterLayout, Backbone, BatchInput, GateMode, PLAIN_VIEW, StepValues,
};
use bayeslora::low_level::predict::{ForwardPlan, ForwardSpec};
use bayeslora::low_level::train::{initial_state, upload};

use crate::common;
use crate::properties::{GPU, tiny_backbone};

const SIZE: usize = 32;
const IMAGES: usize = 3;
const SCALE: f32 = 2.0;

fn logits(backbone: &Backbone, layout: &AdapterLayout, parameters: &[f32]) -> Vec<f32> {
    let network = upload(&GPU, backbone);
    let spec = ForwardSpec {
        input: BatchInput::Images {
            side: SIZE,
            size: SIZE,
        },
        examples: IMAGES,
        samples: 1,
        distribution: GateDistribution::Gaussian,
        trace: false,
        features: false,
        last_map: false,
    };
    let parameters = GPU.storage_with("parameters", parameters);
    let adapted = AdaptedNetwork {
        network: &network,
        layout,
        parameters: &parameters,
        scale: SCALE,
    };
    let plan = ForwardPlan::new(adapted, spec).unwrap();
    let pixels: Vec<u8> = (0..IMAGES * SIZE * SIZE * 3)
        .map(|i| (i * 7 % 251) as u8)
        .collect();
    plan.batch.write_images(&pixels, &[PLAIN_VIEW; IMAGES]);
    let values = StepValues::prediction(1, 0, GateMode::Mean);
    plan.run(&[0, 1, 2], &values).unwrap()
}

#[test]
fn the_merged_backbone_answers_as_the_adapter_did() {
    let backbone = tiny_backbone();
    let targets = ["layer2".to_owned(), "layer4".to_owned()];
    let (convs, _) = backbone.resnet.select(&targets).unwrap();
    let layout = |rank: u32| {
        let ids = vec![(0..rank).collect(); convs.len()];
        AdapterLayout::new(&backbone.resnet, &convs, false, 5, &ids)
    };
    let (adapted, plain) = (layout(3), layout(0));
    let mut state = initial_state(&adapted, 1);
    for (number, layer) in state.layers.iter_mut().enumerate() {
        for (index, b) in layer.lora_b.iter_mut().enumerate() {
            *b = ((number * 31 + index * 17) % 13) as f32 * 0.05 - 0.3;
        }
    }
    let expected = logits(&backbone, &adapted, &adapted.pack(&state));
    let merged = backbone.merged(&adapted, &state, SCALE);
    assert_ne!(merged.sha256, backbone.sha256);
    let mut head = initial_state(&plain, 1);
    (head.head_weight, head.head_bias) = (state.head_weight.clone(), state.head_bias.clone());
    let found = logits(&merged, &plain, &plain.pack(&head));
    assert!(common::relative_error(&expected, &found) < 1e-5);
    // And the adapter does something here.
    let without = logits(&backbone, &plain, &plain.pack(&head));
    assert!(common::relative_error(&expected, &without) > 1e-2);
}
