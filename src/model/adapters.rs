//! The trainable parameters: their state on the host, their layout on the GPU, and both ways.

use super::graph::Map;
use super::resnet::{Cut, ResNet};
use crate::formats::GateDistribution;

/// The classifier's name, as a layer that can be adapted.
pub const HEAD: &str = "fc";

/// The adapter of one layer, in PEFT's order.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerState {
    /// `[rank, in, k, k]`.
    pub lora_a: Vec<f32>,
    /// `[out, rank]`.
    pub lora_b: Vec<f32>,
    /// `[rank]`; rho = log sigma^2 where weights are drawn.
    pub log_alpha: Vec<f32>,
}

/// Values of every trainable parameter (or of a gradient or moment of each).
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterState {
    /// In the order of [`AdapterLayout::layers`].
    pub layers: Vec<LayerState>,
    /// `[classes, features]`.
    pub head_weight: Vec<f32>,
    /// `[classes]`.
    pub head_bias: Vec<f32>,
}

impl AdapterState {
    /// Keeps the given ranks of each layer, by their present places.
    pub fn keep(&mut self, layout: &AdapterLayout, kept: &[Vec<usize>]) {
        for ((layer, spec), kept) in self.layers.iter_mut().zip(&layout.layers).zip(kept) {
            let (rank, inputs) = (spec.rank(), spec.in_channels * spec.taps());
            layer.lora_a = kept
                .iter()
                .flat_map(|rank| &layer.lora_a[rank * inputs..][..inputs])
                .copied()
                .collect();
            layer.lora_b = (0..spec.out_channels)
                .flat_map(|o| kept.iter().map(move |i| o * rank + i))
                .map(|place| layer.lora_b[place])
                .collect();
            layer.log_alpha = kept.iter().map(|i| layer.log_alpha[*i]).collect();
        }
    }

    /// No gate noisier than this.
    pub fn limit_log_alpha(&mut self, most: f64) {
        let layers = self.layers.iter_mut();
        for log_alpha in layers.flat_map(|layer| &mut layer.log_alpha) {
            *log_alpha = log_alpha.min(most as f32);
        }
    }

    /// The same with [log alpha](GateDistribution::log_alpha) of every rank, whatever is learnt: what ranks are
    /// chosen by.
    pub fn with_log_alpha(&self, distribution: GateDistribution) -> Self {
        let mut state = self.clone();
        for layer in &mut state.layers {
            let (a, b) = (&layer.lora_a, &layer.lora_b);
            layer.log_alpha = distribution.log_alpha(&layer.log_alpha, a, b);
        }
        state
    }
}

/// How AdamW treats a block of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Decay = 0,
    NoDecay = 1,
    LogAlpha = 2,
}

/// A range of the parameter buffer, in f32s. Starts at a multiple of 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub start: usize,
    pub len: usize,
}

/// Where the parameters of one adapted layer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutLayer {
    pub name: String,
    /// The place in [`ResNet::convs`]; `None` for the classifier.
    pub conv: Option<usize>,
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: usize,
    /// The ranks' numbers before any pruning.
    pub rank_ids: Vec<u32>,
    /// `[rank, tap, in]`, channels padded.
    pub a: Segment,
    /// `[rank, out]`, channels padded.
    pub b: Segment,
    /// `[rank]`, padded to four.
    pub log_alpha: Segment,
}

impl LayoutLayer {
    pub fn rank(&self) -> usize {
        self.rank_ids.len()
    }

    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// n_i = Cin k^2 + Cout
    pub fn params_per_rank(&self) -> usize {
        self.in_channels * self.taps() + self.out_channels
    }

    /// What keys its noise: layers keep it through pruning, being the place among all of the network's.
    pub fn number(&self) -> u32 {
        self.conv.map_or(u32::from(u16::MAX), |place| place as u32)
    }
}

/// Where every trainable parameter is in one buffer, and which ranks there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterLayout {
    pub layers: Vec<LayoutLayer>,
    pub classes: usize,
    pub features: usize,
    pub head_weight: Segment,
    pub head_bias: Segment,
    /// f32s of the buffer.
    pub len: usize,
}

impl AdapterLayout {
    /// Lays out adapters on `convs` (places in the table), on the classifier if `head`, with the
    /// given rank ids for each of these layers in that order.
    pub fn new(
        resnet: &ResNet,
        convs: &[usize],
        head: bool,
        classes: usize,
        rank_ids: &[Vec<u32>],
    ) -> Self {
        let features = resnet.features();
        let conv = |place: &usize| {
            let spec = &resnet.convs[*place];
            (
                spec.name.clone(),
                Some(*place),
                spec.in_channels,
                spec.out_channels,
                spec.kernel,
            )
        };
        let fc = head.then(|| (HEAD.to_owned(), None, features, classes, 1));
        let shapes: Vec<_> = convs.iter().map(conv).chain(fc).collect();
        assert_eq!(
            shapes.len(),
            rank_ids.len(),
            "rank ids for every adapted layer"
        );
        let mut len = 0;
        let mut take = |count: usize| {
            let segment = Segment {
                start: len,
                len: count,
            };
            len += count.max(1).next_multiple_of(64);
            segment
        };
        let layers = shapes.into_iter().zip(rank_ids).map(|(shape, ids)| {
            let (name, conv, in_channels, out_channels, kernel) = shape;
            let rank = ids.len();
            LayoutLayer {
                name,
                conv,
                in_channels,
                out_channels,
                kernel,
                rank_ids: ids.clone(),
                a: take(rank * kernel * kernel * in_channels.next_multiple_of(4)),
                b: take(rank * out_channels.next_multiple_of(4)),
                log_alpha: take(rank.next_multiple_of(4)),
            }
        });
        let layers = layers.collect();
        let head_weight = take(classes * features.next_multiple_of(4));
        let head_bias = take(classes.next_multiple_of(4));
        Self {
            layers,
            classes,
            features,
            head_weight,
            head_bias,
            len,
        }
    }

    /// The adapter of a convolution, with its number among the layers; `None` without ranks.
    pub fn of_conv(&self, place: usize) -> Option<(usize, &LayoutLayer)> {
        self.find(Some(place))
    }

    /// Where the adapted part of the network begins.
    pub fn cut(&self, resnet: &ResNet) -> Cut {
        let convs: Vec<_> = self.layers.iter().filter_map(|layer| layer.conv).collect();
        resnet.cut(&convs)
    }

    /// The adapter of the classifier.
    pub fn of_head(&self) -> Option<(usize, &LayoutLayer)> {
        self.find(None)
    }

    fn find(&self, conv: Option<usize>) -> Option<(usize, &LayoutLayer)> {
        let found = self
            .layers
            .iter()
            .enumerate()
            .find(|(_, layer)| layer.conv == conv);
        found.filter(|(_, layer)| layer.rank() > 0)
    }

    /// The tensor that a place in the buffer belongs to, as files name it.
    pub fn name_of(&self, place: usize) -> String {
        let tensors = self.layers.iter().flat_map(|layer| {
            [
                (layer.a, "lora_A"),
                (layer.b, "lora_B"),
                (layer.log_alpha, "log_alpha"),
            ]
            .map(|(segment, part)| (segment, layer.name.as_str(), part))
        });
        let head = [
            (self.head_weight, "head", "weight"),
            (self.head_bias, "head", "bias"),
        ];
        let begins_before = |(segment, ..): &(Segment, &str, &str)| segment.start <= place;
        let tensor = tensors.chain(head).take_while(begins_before).last();
        tensor.map_or_else(String::new, |(_, layer, part)| format!("{layer}.{part}"))
    }

    /// Ranks of all layers together.
    pub fn total_rank(&self) -> usize {
        self.layers.iter().map(LayoutLayer::rank).sum()
    }

    /// Trained scalars of the adapters: A and B, and log alpha if it is learnt.
    pub fn adapter_parameters(&self, noise_is_learnt: bool) -> usize {
        let noise = usize::from(noise_is_learnt);
        self.layers
            .iter()
            .map(|layer| layer.rank() * (layer.params_per_rank() + noise))
            .sum()
    }

    /// The same layout with only some ranks of each layer, by their present places.
    pub fn keep(&self, resnet: &ResNet, kept: &[Vec<usize>]) -> Self {
        let ids: Vec<Vec<u32>> = self
            .layers
            .iter()
            .zip(kept)
            .map(|(layer, kept)| kept.iter().map(|place| layer.rank_ids[*place]).collect())
            .collect();
        self.with_ranks(resnet, &ids)
    }

    /// The same layers with other ranks, given by their numbers for each layer.
    pub fn with_ranks(&self, resnet: &ResNet, rank_ids: &[Vec<u32>]) -> Self {
        let convs: Vec<_> = self.layers.iter().filter_map(|layer| layer.conv).collect();
        let head = self.layers.iter().any(|layer| layer.conv.is_none());
        Self::new(resnet, &convs, head, self.classes, rank_ids)
    }

    /// The optimiser's group of each block of 64 parameters.
    pub fn groups(&self) -> Vec<u32> {
        let mut groups = vec![Group::NoDecay as u32; self.len / 64];
        let mut mark = |segment: Segment, group: Group| {
            groups[segment.start / 64..(segment.start + segment.len).div_ceil(64)]
                .fill(group as u32);
        };
        for layer in &self.layers {
            mark(layer.a, Group::Decay);
            mark(layer.b, Group::Decay);
            mark(layer.log_alpha, Group::LogAlpha);
        }
        groups
    }

    /// Host order to the buffer's.
    pub fn pack(&self, state: &AdapterState) -> Vec<f32> {
        let mut packed = vec![0.0; self.len];
        self.visit(state, |place, value| packed[place] = *value);
        packed
    }

    /// The buffer's order to the host's.
    pub fn unpack(&self, packed: &[f32]) -> AdapterState {
        let layers = self.layers.iter().map(|layer| {
            let rank = layer.rank();
            LayerState {
                lora_a: vec![0.0; rank * layer.in_channels * layer.taps()],
                lora_b: vec![0.0; rank * layer.out_channels],
                log_alpha: vec![0.0; rank],
            }
        });
        let mut state = AdapterState {
            layers: layers.collect(),
            head_weight: vec![0.0; self.classes * self.features],
            head_bias: vec![0.0; self.classes],
        };
        self.visit_mut(&mut state, |place, value| *value = packed[place]);
        state
    }

    fn visit(&self, state: &AdapterState, mut each: impl FnMut(usize, &f32)) {
        let mut copy = state.clone();
        self.visit_mut(&mut copy, |place, value| each(place, value));
    }

    /// Calls `each` with the place in the buffer and the value of every parameter.
    fn visit_mut(&self, state: &mut AdapterState, mut each: impl FnMut(usize, &mut f32)) {
        for (layer, values) in self.layers.iter().zip(&mut state.layers) {
            let (rank, taps) = (layer.rank(), layer.taps());
            let inputs = layer.in_channels.next_multiple_of(4);
            let outputs = layer.out_channels.next_multiple_of(4);
            for (index, value) in values.lora_a.iter_mut().enumerate() {
                let (tap, rest) = (index % taps, index / taps);
                let (c, i) = (rest % layer.in_channels, rest / layer.in_channels);
                each(layer.a.start + (i * taps + tap) * inputs + c, value);
            }
            for (index, value) in values.lora_b.iter_mut().enumerate() {
                let (i, o) = (index % rank, index / rank);
                each(layer.b.start + i * outputs + o, value);
            }
            for (i, value) in values.log_alpha.iter_mut().enumerate() {
                each(layer.log_alpha.start + i, value);
            }
        }
        let features = self.features.next_multiple_of(4);
        for (index, value) in state.head_weight.iter_mut().enumerate() {
            let (f, class) = (index % self.features, index / self.features);
            each(self.head_weight.start + class * features + f, value);
        }
        for (class, value) in state.head_bias.iter_mut().enumerate() {
            each(self.head_bias.start + class, value);
        }
    }

    /// The gate table for `rows` rows: entries, the start of each layer's gates in f32s, and the
    /// size of the gate buffer in f32s. `kappa` gives each layer's KL multiplicity.
    pub fn rank_table(
        &self,
        rows: usize,
        kappa: impl Fn(&LayoutLayer) -> f64,
    ) -> (Vec<RankEntry>, Vec<usize>, usize) {
        let mut entries = Vec::new();
        let mut starts = Vec::new();
        let mut len = 0;
        for layer in &self.layers {
            let stride = Map::vector(layer.rank()).floats();
            for lane in 0..stride {
                let real = lane < layer.rank();
                entries.push(RankEntry {
                    layer: layer.number(),
                    id: if real { layer.rank_ids[lane] } else { 0 },
                    gate: (len + lane) as u32,
                    stride: stride as u32,
                    parameter: match real {
                        true => (layer.log_alpha.start + lane) as u32,
                        false => u32::MAX,
                    },
                    kappa: kappa(layer) as f32,
                });
            }
            starts.push(len);
            len += (stride * rows).next_multiple_of(64);
        }
        (entries, starts, len)
    }
}

/// One entry of the gate table; see `shaders/common/ranks.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RankEntry {
    pub layer: u32,
    pub id: u32,
    pub gate: u32,
    pub stride: u32,
    pub parameter: u32,
    pub kappa: f32,
}
