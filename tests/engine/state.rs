//! The layout of the trainable parameters: packing, pruning, the gate table, the optimiser's groups.

use std::collections::HashSet;

use bayeslora::low_level::formats::{Architecture, Stem};
use bayeslora::low_level::model::{AdapterLayout, AdapterState, Group, ResNet, Segment};
use bayeslora::low_level::train::TrainableState;
use proptest::prelude::*;

use crate::properties::state_bits;

#[derive(Clone, Debug)]
struct Case {
    resnet: ResNet,
    convs: Vec<usize>,
    head: bool,
    classes: usize,
    ids: Vec<Vec<u32>>,
}

impl Case {
    fn layout(&self) -> AdapterLayout {
        AdapterLayout::new(
            &self.resnet,
            &self.convs,
            self.head,
            self.classes,
            &self.ids,
        )
    }
}

/// Any subset of the layers, ranks 0 to 9 with distinct ids in any order, widths that fill no quad.
fn case() -> impl Strategy<Value = Case> {
    let widths = prop::array::uniform4(1usize..20);
    let stem = prop_oneof![Just(Stem::Cifar), Just(Stem::ImageNet)];
    (widths, stem, any::<bool>(), 1usize..14).prop_flat_map(|(widths, stem, head, classes)| {
        let resnet = ResNet::new(Architecture::ResNet18, stem, widths);
        let places: Vec<usize> = (0..resnet.convs.len()).collect();
        let convs = prop::sample::subsequence(places, 0..6);
        (Just(resnet), convs, Just(head), Just(classes)).prop_flat_map(
            |(resnet, convs, head, classes)| {
                let layers = convs.len() + usize::from(head);
                let ids = Just((0..30u32).collect::<Vec<_>>()).prop_shuffle();
                let ids = (ids, 0usize..10).prop_map(|(ids, rank)| ids[..rank].to_vec());
                let ids = prop::collection::vec(ids, layers);
                (Just(resnet), Just(convs), Just(head), Just(classes), ids).prop_map(
                    |(resnet, convs, head, classes, ids)| Case {
                        resnet,
                        convs,
                        head,
                        classes,
                        ids,
                    },
                )
            },
        )
    })
}

/// A state whose every value is another number, so that none can hide in another's place.
fn numbered(layout: &AdapterLayout) -> AdapterState {
    let mut next = 0.0;
    let mut state = layout.unpack(&vec![0.0; layout.len]);
    let mut fill = |values: &mut Vec<f32>| {
        for value in values {
            next += 1.0;
            *value = next;
        }
    };
    for layer in &mut state.layers {
        fill(&mut layer.lora_a);
        fill(&mut layer.lora_b);
        fill(&mut layer.log_alpha);
    }
    fill(&mut state.head_weight);
    fill(&mut state.head_bias);
    state
}

fn segments(layout: &AdapterLayout) -> Vec<Segment> {
    let layers = layout
        .layers
        .iter()
        .flat_map(|layer| [layer.a, layer.b, layer.log_alpha]);
    layers
        .chain([layout.head_weight, layout.head_bias])
        .collect()
}

fn parameters(layout: &AdapterLayout) -> usize {
    layout.adapter_parameters(true) + layout.classes * (layout.features + 1)
}

/// For every layer some places in increasing order.
fn kept(ids: &[Vec<u32>], choice: u64) -> Vec<Vec<usize>> {
    let bit = |layer: usize, place: usize| choice >> ((layer * 11 + place * 7) % 64) & 1 == 1;
    let some =
        |(layer, ids): (usize, &Vec<u32>)| (0..ids.len()).filter(|i| bit(layer, *i)).collect();
    ids.iter().enumerate().map(some).collect()
}

fn ids(layout: &AdapterLayout) -> Vec<Vec<u32>> {
    layout
        .layers
        .iter()
        .map(|layer| layer.rank_ids.clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every parameter has one place of its own, within its segment; what is between is zero.
    #[test]
    fn packing_loses_nothing(case in case()) {
        let layout = case.layout();
        let state = numbered(&layout);
        let packed = layout.pack(&state);
        prop_assert_eq!(packed.len(), layout.len);
        prop_assert_eq!(&layout.unpack(&packed), &state);
        // A round trip would not see that both ways permute alike: A is [rank, tap, in], B is
        // [rank, out], the channels padded to quads.
        for (layer, values) in layout.layers.iter().zip(&state.layers) {
            let (inputs, outputs) = (layer.in_channels, layer.out_channels);
            let (taps, rank) = (layer.taps(), layer.rank());
            for i in 0..rank {
                for (c, tap) in (0..inputs).flat_map(|c| (0..taps).map(move |tap| (c, tap))) {
                    let place = (i * taps + tap) * inputs.next_multiple_of(4) + c;
                    let value = values.lora_a[(i * inputs + c) * taps + tap];
                    prop_assert_eq!(packed[layer.a.start + place], value);
                }
                for o in 0..outputs {
                    let place = i * outputs.next_multiple_of(4) + o;
                    prop_assert_eq!(packed[layer.b.start + place], values.lora_b[o * rank + i]);
                }
                prop_assert_eq!(packed[layer.log_alpha.start + i], values.log_alpha[i]);
            }
        }
        let features = layout.features.next_multiple_of(4);
        for class in 0..layout.classes {
            let start = layout.head_weight.start + class * features;
            let row = &state.head_weight[class * layout.features..][..layout.features];
            prop_assert_eq!(&packed[start..start + layout.features], row);
            prop_assert_eq!(packed[layout.head_bias.start + class], state.head_bias[class]);
        }
        let written = packed.iter().filter(|value| **value != 0.0).count();
        prop_assert_eq!(written, parameters(&layout));
        let inside: HashSet<usize> =
            segments(&layout).iter().flat_map(|s| s.start..s.start + s.len).collect();
        for (place, value) in packed.iter().enumerate() {
            prop_assert!(*value == 0.0 || inside.contains(&place));
        }
    }

    /// Segments start at bindable offsets (256 bytes) and share no block of 64, which has one group.
    #[test]
    fn segments_are_apart(case in case()) {
        let layout = case.layout();
        let mut end = 0;
        for segment in segments(&layout) {
            prop_assert_eq!(segment.start % 64, 0);
            prop_assert_eq!(segment.len % 4, 0);
            prop_assert!(segment.start >= end);
            // Even an empty segment is bound as one vec4.
            end = (segment.start + segment.len.max(4)).next_multiple_of(64);
        }
        prop_assert_eq!(end, layout.len);
        let groups = layout.groups();
        prop_assert_eq!(groups.len() * 64, layout.len);
        let group = |segment: Segment| -> HashSet<u32> {
            (segment.start..segment.start + segment.len).map(|place| groups[place / 64]).collect()
        };
        let only = |segment: Segment, wanted: Group| group(segment).iter().all(|g| *g == wanted as u32);
        for layer in &layout.layers {
            prop_assert!(only(layer.a, Group::Decay) && only(layer.b, Group::Decay));
            prop_assert!(only(layer.log_alpha, Group::LogAlpha));
        }
        prop_assert!(only(layout.head_weight, Group::NoDecay));
        prop_assert!(only(layout.head_bias, Group::NoDecay));
    }

    /// A kept rank is, in PEFT's order, the same row of A, column of B, log alpha and id as before;
    /// to keep some and then some of those is to keep these at once; the head stays.
    #[test]
    fn keeping_composes(case in case(), first in any::<u64>(), second in any::<u64>()) {
        let layout = case.layout();
        let state = numbered(&layout);
        let once = kept(&ids(&layout), first);
        let between = layout.keep(&case.resnet, &once);
        let twice = kept(&ids(&between), second);
        let both: Vec<Vec<usize>> = once
            .iter()
            .zip(&twice)
            .map(|(once, twice)| twice.iter().map(|place| once[*place]).collect())
            .collect();
        let end = between.keep(&case.resnet, &twice);
        prop_assert_eq!(&end, &layout.keep(&case.resnet, &both));

        let mut step = TrainableState::new(layout.clone(), state.clone());
        step.first_moment = numbered(&layout);
        step.second_moment = numbered(&layout);
        let mut direct = step.clone();
        step.keep(&case.resnet, &once);
        step.keep(&case.resnet, &twice);
        direct.keep(&case.resnet, &both);
        prop_assert_eq!(&step, &direct);
        prop_assert_eq!(&step.layout, &end);
        prop_assert_eq!(&step.first_moment, &step.values);
        prop_assert_eq!(&step.second_moment, &step.values);
        // The shapes fit the new layout: it packs and unpacks them.
        prop_assert_eq!(&end.unpack(&end.pack(&step.values)), &step.values);

        for (number, (old, new)) in layout.layers.iter().zip(&end.layers).enumerate() {
            prop_assert_eq!((&old.name, old.conv), (&new.name, new.conv));
            prop_assert_eq!(old.params_per_rank(), new.params_per_rank());
            let inputs = old.in_channels * old.taps();
            let (before, after) = (&state.layers[number], &step.values.layers[number]);
            for (now, then) in both[number].iter().enumerate() {
                prop_assert_eq!(old.rank_ids[*then], new.rank_ids[now]);
                prop_assert_eq!(before.log_alpha[*then], after.log_alpha[now]);
                let row = |a: &[f32], i: usize| a[i * inputs..][..inputs].to_vec();
                prop_assert_eq!(row(&before.lora_a, *then), row(&after.lora_a, now));
                let column = |b: &[f32], rank: usize, i: usize| -> Vec<f32> {
                    b.iter().skip(i).step_by(rank).copied().collect()
                };
                let expected = column(&before.lora_b, old.rank(), *then);
                prop_assert_eq!(expected, column(&after.lora_b, new.rank(), now));
            }
        }
        prop_assert_eq!(&state.head_weight, &step.values.head_weight);
        prop_assert_eq!(&state.head_bias, &step.values.head_bias);
    }

    /// To keep all is to change nothing; to keep none leaves layers of rank 0, which nothing finds.
    #[test]
    fn keeping_all_or_none(case in case()) {
        let layout = case.layout();
        let all: Vec<Vec<usize>> = case.ids.iter().map(|ids| (0..ids.len()).collect()).collect();
        prop_assert_eq!(&layout.keep(&case.resnet, &all), &layout);
        let mut state = numbered(&layout);
        let before = state_bits(&state);
        state.keep(&layout, &all);
        prop_assert_eq!(before, state_bits(&state));

        let none = vec![Vec::new(); case.ids.len()];
        let empty = layout.keep(&case.resnet, &none);
        prop_assert_eq!((empty.total_rank(), empty.adapter_parameters(true)), (0, 0));
        prop_assert!(case.convs.iter().all(|place| empty.of_conv(*place).is_none()));
        prop_assert!(empty.of_head().is_none());
    }

    /// The gate table: one entry a rank and one a padding lane; no two entries share a gate of any
    /// row; each layer's gates start at a bindable offset; no two ranks share a key.
    #[test]
    fn gate_table(case in case(), rows in 1usize..40) {
        let layout = case.layout();
        let kappa = |layer: &bayeslora::low_level::model::LayoutLayer| layer.params_per_rank() as f64;
        let (table, starts, len) = layout.rank_table(rows, kappa);
        prop_assert_eq!(starts.len(), layout.layers.len());
        let real: Vec<_> = table.iter().filter(|entry| entry.parameter != u32::MAX).collect();
        prop_assert_eq!(real.len(), layout.total_rank());
        let places = table.iter().flat_map(|entry| {
            (0..rows).map(|row| entry.gate as usize + row * entry.stride as usize)
        });
        let distinct: HashSet<usize> = places.clone().collect();
        prop_assert_eq!(distinct.len(), table.len() * rows);
        prop_assert!(places.max().is_none_or(|last| last < len));
        let keys: HashSet<_> = real.iter().map(|entry| (entry.layer, entry.id)).collect();
        prop_assert_eq!(keys.len(), real.len());

        let mut entries = table.iter();
        for (layer, start) in layout.layers.iter().zip(starts) {
            prop_assert_eq!(start % 64, 0);
            let stride = layer.rank().next_multiple_of(4);
            for lane in 0..stride {
                let entry = entries.next().unwrap();
                prop_assert_eq!(entry.gate as usize, start + lane);
                prop_assert_eq!(entry.stride as usize, stride);
                if lane < layer.rank() {
                    prop_assert_eq!(entry.id, layer.rank_ids[lane]);
                    prop_assert_eq!(entry.parameter as usize, layer.log_alpha.start + lane);
                    prop_assert_eq!(entry.layer, layer.conv.map_or(65_535, |place| place as u32));
                    prop_assert_eq!(entry.kappa, layer.params_per_rank() as f32);
                } else {
                    prop_assert_eq!(entry.parameter, u32::MAX);
                }
            }
        }
        prop_assert!(entries.next().is_none());
    }
}
