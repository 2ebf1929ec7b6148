//! AdamW over the parameter buffer.

use bayeslora::low_level::formats::{Architecture, Stem};
use bayeslora::low_level::model::{
    AdapterLayout, AdapterState, GateMode, Graph, ResNet, StepValues,
};
use bayeslora::low_level::train::{Adam, LOG_ALPHA_RANGE, Trainable, TrainableState, Unsound};

use crate::bench::{ROUNDING, setups};
use crate::reference::adamw::{self, Group, Moments, Part};
use crate::reference::tensor::Tensor;

const STEPS: usize = 4;

/// A block of parameters as the twin sees it: its group, its values, its gradient at each step.
struct Block {
    name: String,
    group: Group,
    values: Vec<f64>,
    moments: Moments,
}

/// Every parameter in the host's order, with its name and whether it is a weight, a bias or a log alpha.
fn blocks(layout: &AdapterLayout, state: &AdapterState) -> Vec<(String, char, Vec<f64>)> {
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect();
    let mut all = Vec::new();
    for (layer, values) in layout.layers.iter().zip(&state.layers) {
        let name = |part: &str| format!("{} {part}", layer.name);
        all.push((name("A"), 'w', wide(&values.lora_a)));
        all.push((name("B"), 'w', wide(&values.lora_b)));
        all.push((name("log alpha"), 't', wide(&values.log_alpha)));
    }
    all.push(("head weight".into(), 'b', wide(&state.head_weight)));
    all.push(("head bias".into(), 'b', wide(&state.head_bias)));
    all
}

/// Values near the border of log alpha's range among them, so that some steps are projected.
fn random(layout: &AdapterLayout, seed: u64, size: f64) -> AdapterState {
    let values = Tensor::random(&[layout.len], seed).map(|value| size * value);
    layout.unpack(&values.to_f32())
}

#[test]
fn adamw() {
    let resnet = ResNet::new(Architecture::ResNet18, Stem::Cifar, [4, 6, 8, 10]);
    let ids = [vec![0, 2, 3], vec![], (0..9).collect(), vec![1]];
    let layout = AdapterLayout::new(&resnet, &[3, 5, 12], true, 5, &ids);
    let (rate, log_alpha_rate, decay) = (0.01f32, 0.5f32, 0.1f32);
    let mut state = random(&layout, 1, 1.0);
    for layer in &mut state.layers {
        for (i, t) in layer.log_alpha.iter_mut().enumerate() {
            *t = [-9.9, 7.8, -5.0][i % 3];
        }
    }
    let gradients: Vec<_> = (0..STEPS as u64)
        // Tiny gradients, where epsilon counts, and large ones.
        .map(|step| random(&layout, 10 + step, [1.0, 1e-7, 30.0, 1.0][step as usize]))
        .collect();

    let mut twins: Vec<Block> = blocks(&layout, &state)
        .into_iter()
        .map(|(name, kind, values)| Block {
            name,
            group: match kind {
                'w' => Group::new(f64::from(rate)).weight_decay(f64::from(decay)),
                't' => Group::new(f64::from(log_alpha_rate))
                    .project(f64::from(LOG_ALPHA_RANGE.0), f64::from(LOG_ALPHA_RANGE.1)),
                _ => Group::new(f64::from(rate)),
            },
            moments: Moments::zeros(values.len()),
            values,
        })
        .collect();
    for (index, gradients) in gradients.iter().enumerate() {
        for (twin, (_, _, gradient)) in twins.iter_mut().zip(blocks(&layout, gradients)) {
            let step = index as u32 + 1;
            let Block {
                group,
                values,
                moments,
                ..
            } = twin;
            adamw::step(group, step, values, &gradient, moments);
        }
    }
    let limits = [LOG_ALPHA_RANGE.0, LOG_ALPHA_RANGE.1].map(f64::from);
    let projected = |value: &&f64| limits.contains(value);
    let count = twins
        .iter()
        .flat_map(|twin| &twin.values)
        .filter(projected)
        .count();
    assert!(count > 0, "no log alpha reached its limits");

    let mut first: Option<TrainableState> = None;
    for setup in setups(5, &[]) {
        let gpu = &setup.gpu;
        let fresh = TrainableState::new(layout.clone(), state.clone());
        let trainable = Trainable::upload(gpu, &fresh);
        let step_buffer = StepValues::buffer(gpu);
        let mut graph = Graph::new(gpu, setup.kernels);
        let step = graph.builder.buffer("step", &step_buffer);
        trainable.record_step(&mut graph, step, Adam::default());
        let plan = graph.builder.build().unwrap();
        for (index, gradients) in gradients.iter().enumerate() {
            let packed = layout.pack(gradients);
            gpu.queue()
                .write_buffer(&trainable.gradients, 0, bytemuck::cast_slice(&packed));
            let (correction1, correction2) = Adam::default().corrections(index as u64 + 1);
            StepValues {
                learning_rate: rate,
                log_alpha_learning_rate: log_alpha_rate,
                weight_decay: decay,
                correction1,
                correction2,
                ..StepValues::prediction(0, 0, GateMode::Mean)
            }
            .write(gpu, &step_buffer);
            plan.run();
        }
        let found = trainable.read(gpu).unwrap();
        let parts = [&found.values, &found.first_moment, &found.second_moment];
        let mut worst = [0f64; 3];
        for (part, state) in parts.into_iter().enumerate() {
            for (twin, (name, _, found)) in twins.iter().zip(blocks(&layout, state)) {
                let expected = match part {
                    0 => &twin.values,
                    1 => &twin.moments.first,
                    _ => &twin.moments.second,
                };
                assert_eq!(name, twin.name);
                if expected.is_empty() {
                    continue;
                }
                let expected = Tensor::new(&[expected.len()], expected.clone());
                let found: Vec<f32> = found.iter().map(|value| *value as f32).collect();
                let error = expected.relative_error(&found);
                worst[part] = worst[part].max(error);
                assert!(error <= ROUNDING, "{name} part {part}: {error:.1e}");
            }
        }
        let [values, first_moment, second_moment] = worst;
        println!(
            "AdamW, {}: values {values:.1e}, moments {first_moment:.1e} {second_moment:.1e}",
            setup.name
        );
        // Nothing grows in the gaps between the parameters.
        let all: Vec<f32> = gpu
            .read(&trainable.values, 0, trainable.values.size())
            .unwrap();
        assert_eq!(all, layout.pack(&found.values));
        assert_eq!(
            *first.get_or_insert_with(|| found.clone()),
            found,
            "{}",
            setup.name
        );
    }
}

/// One place of a layout, as the host has it.
type Place = (&'static str, fn(&mut AdapterState) -> &mut f32);

/// First, last and only elements of segments that fill no block.
const PLACES: [Place; 6] = [
    ("layer1.1.conv1.lora_A", |state| {
        &mut state.layers[0].lora_a[0]
    }),
    ("layer2.0.conv1.lora_B", |state| {
        state.layers[2].lora_b.last_mut().unwrap()
    }),
    ("layer2.0.conv1.log_alpha", |state| {
        state.layers[2].log_alpha.last_mut().unwrap()
    }),
    ("fc.log_alpha", |state| &mut state.layers[3].log_alpha[0]),
    ("head.weight", |state| state.head_weight.last_mut().unwrap()),
    ("head.bias", |state| state.head_bias.last_mut().unwrap()),
];

/// What one place is given in its parameter, both moments and its gradient.
const GIVEN: [[f32; 4]; 11] = [
    [f32::NAN, 0.0, 0.0, 1.0],
    [f32::NEG_INFINITY, 0.0, 0.0, f32::NAN],
    [1.0, f32::NAN, 0.0, 1.0],
    [1.0, f32::INFINITY, f32::NAN, 1.0],
    [1.0, 0.0, f32::INFINITY, 1.0],
    [1.0, 0.0, -1e-20, 0.0],
    [1.0, 0.0, 0.0, f32::NAN],
    [1.0, 0.0, 0.0, f32::NEG_INFINITY],
    // Overflows in the step itself.
    [1.0, 0.0, 0.0, 1e25],
    [f32::MAX, -1e38, 0.0, 0.0],
    // Large, and sound.
    [1e38, 1e30, 1e30, -1e18],
];

#[test]
fn the_first_number_that_is_not_finite_is_named() {
    let resnet = ResNet::new(Architecture::ResNet18, Stem::Cifar, [4, 6, 8, 10]);
    let ids = [vec![0, 2, 3], vec![], (0..9).collect(), vec![1]];
    let layout = AdapterLayout::new(&resnet, &[3, 4, 5], true, 5, &ids);
    let values = StepValues {
        draw: 7,
        learning_rate: 1.0,
        log_alpha_learning_rate: 1.0,
        ..StepValues::prediction(0, 0, GateMode::Mean)
    };
    let sound = random(&layout, 1, 1.0);
    let zeros = layout.unpack(&vec![0.0; layout.len]);
    for setup in setups(5, &[]) {
        let gpu = &setup.gpu;
        let step_buffer = StepValues::buffer(gpu);
        for ((name, place), given) in PLACES
            .iter()
            .flat_map(|place| GIVEN.map(|given| (place, given)))
        {
            let mut states = [sound.clone(), zeros.clone(), zeros.clone(), zeros.clone()];
            states
                .iter_mut()
                .zip(given)
                .for_each(|(state, value)| *place(state) = value);
            let [parameters, first_moment, second_moment, gradients] = states;
            let state = TrainableState {
                layout: layout.clone(),
                values: parameters,
                first_moment,
                second_moment,
            };
            let trainable = Trainable::upload(gpu, &state);
            gpu.write(
                &trainable.gradients,
                0,
                bytemuck::cast_slice(&layout.pack(&gradients)),
            );
            let mut graph = Graph::new(gpu, setup.kernels);
            let step = graph.builder.buffer("step", &step_buffer);
            trainable.record_step(&mut graph, step, Adam::default());
            let plan = graph.builder.build().unwrap();
            assert_eq!(trainable.look(gpu).wait().unwrap(), None, "before any step");
            values.write(gpu, &step_buffer);
            plan.run();

            let mut moments = Moments {
                first: vec![given[1].into()],
                second: vec![given[2].into()],
            };
            let mut after = [f64::from(given[0])];
            let group = match name.ends_with("log_alpha") {
                true => Group::new(1.0).project(-10.0, 8.0),
                false => Group::new(1.0),
            };
            adamw::step(&group, 1, &mut after, &[given[3].into()], &mut moments);
            let made = [after[0], moments.first[0], moments.second[0]];
            let part = adamw::unsound(given.map(f64::from), made);
            let what = part.map(|part| match part {
                Part::Parameter => "parameter",
                Part::First => "first moment",
                Part::Second => "second moment",
                Part::Gradient => "gradient",
            });
            let expected = what.map(|what| Unsound {
                step: 7,
                what: format!("the {what} of {name}"),
            });
            let case = format!("{}: {given:?} at {name}", setup.name);
            assert_eq!(trainable.look(gpu).wait().unwrap(), expected, "{case}");
            // Later steps, where NaN has spread, do not hide the first.
            StepValues { draw: 8, ..values }.write(gpu, &step_buffer);
            plan.run();
            let later = trainable.look(gpu).wait().unwrap();
            assert!(expected.is_none() || later == expected, "{case}: {later:?}");
        }
    }
}
