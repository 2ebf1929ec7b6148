//! What the tests of properties share: small networks, layouts made by hand, gates drawn by the
//! production path, statistics.
#![allow(dead_code, reason = "no test binary uses every helper")]

use std::collections::HashMap;
use std::sync::LazyLock;

use bayeslora::low_level::formats::{Architecture, BackboneFile, GateDistribution, Stem};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{
    AdapterLayout, AdapterState, Backbone, GateMode, GateTable, Graph, KernelChoice, LayoutLayer,
    Purpose, ResNet, Segment, StepValues,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// One device a test binary: opening one takes longer than most tests.
pub static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    crate::common::gpu(GpuOptions {
        poison: true,
        ..Default::default()
    })
});

/// The plain kernels, what suits this device where it differs, and those for GPUs.
pub fn kernels() -> Vec<KernelChoice> {
    let mut all = crate::common::kernel_choices(&GPU);
    all.push(crate::common::tiled());
    all
}

/// Channels that fill no quad, half a quad, two quads and a part of a third.
pub const WIDTHS: [usize; 4] = [4, 6, 8, 10];

pub fn tiny_resnet() -> ResNet {
    ResNet::new(Architecture::ResNet18, Stem::Cifar, WIDTHS)
}

/// A backbone of these widths with random weights, through the bytes of a file.
pub fn tiny_backbone() -> Backbone {
    let mut rng = Pcg64::seed_from_u64(7);
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for spec in tiny_resnet().convs {
        let taps = spec.kernel * spec.kernel;
        // He's gain: activations keep their size through the layers.
        let bound = (6.0 / (spec.in_channels * taps) as f32).sqrt();
        let count = spec.out_channels * spec.in_channels * taps;
        let mut uniform = |count: usize, low: f32, high: f32| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(low..high)).collect()
        };
        let shape = vec![
            spec.out_channels,
            spec.in_channels,
            spec.kernel,
            spec.kernel,
        ];
        tensors.push((
            format!("{}.weight", spec.name),
            shape,
            uniform(count, -bound, bound),
        ));
        for (part, low, high) in [
            ("weight", 0.8, 1.2),
            ("bias", -0.2, 0.2),
            ("running_mean", -0.1, 0.1),
            ("running_var", 0.5, 1.5),
        ] {
            let data = uniform(spec.out_channels, low, high);
            tensors.push((
                format!("{}.{part}", spec.norm),
                vec![spec.out_channels],
                data,
            ));
        }
    }
    let views: HashMap<_, _> = tensors
        .iter()
        .map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data));
            (name.clone(), view.unwrap())
        })
        .collect();
    let bytes = safetensors::serialize(views, None).unwrap();
    Backbone::from_file("tiny", &BackboneFile::from_bytes("tiny", &bytes).unwrap())
}

/// A layout of one adapted layer, with a head of `classes` x `inputs` beside it.
pub fn single_layer(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    rank_ids: Vec<u32>,
) -> AdapterLayout {
    let rank = rank_ids.len();
    let mut len = 0;
    let mut take = |count: usize| {
        let segment = Segment {
            start: len,
            len: count,
        };
        len += count.max(1).next_multiple_of(64);
        segment
    };
    let layer = LayoutLayer {
        name: "layer".into(),
        conv: Some(3),
        in_channels,
        out_channels,
        kernel,
        rank_ids,
        a: take(rank * kernel * kernel * in_channels.next_multiple_of(4)),
        b: take(rank * out_channels.next_multiple_of(4)),
        log_alpha: take(rank.next_multiple_of(4)),
    };
    AdapterLayout {
        layers: vec![layer],
        classes: out_channels,
        features: in_channels,
        head_weight: take(out_channels * in_channels.next_multiple_of(4)),
        head_bias: take(out_channels.next_multiple_of(4)),
        len,
    }
}

/// Every parameter zero.
pub fn zero_state(layout: &AdapterLayout) -> AdapterState {
    layout.unpack(&vec![0.0; layout.len])
}

/// A and the head uniform in [-1, 1), B in [-0.3, 0.3), log alpha in [-3, 1).
pub fn random_state(layout: &AdapterLayout, seed: u64) -> AdapterState {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut state = zero_state(layout);
    let mut fill = |values: &mut [f32], low: f32, high: f32| {
        for value in values {
            *value = rng.random_range(low..high);
        }
    };
    for layer in &mut state.layers {
        fill(&mut layer.lora_a, -1.0, 1.0);
        fill(&mut layer.lora_b, -0.3, 0.3);
        fill(&mut layer.log_alpha, -3.0, 1.0);
    }
    fill(&mut state.head_weight, -1.0, 1.0);
    fill(&mut state.head_bias, -1.0, 1.0);
    state
}

/// Which gates to draw.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub seed: u64,
    pub purpose: Purpose,
    pub draw: u32,
    pub mode: GateMode,
    pub samples: usize,
    pub distribution: GateDistribution,
}

impl Draw {
    pub const BASE: Self = Self {
        seed: 1,
        purpose: Purpose::Train,
        draw: 0,
        mode: GateMode::PerExample,
        samples: 1,
        distribution: GateDistribution::Gaussian,
    };

    pub fn values(&self) -> StepValues {
        StepValues {
            purpose: self.purpose,
            ..StepValues::prediction(self.seed, self.draw, self.mode)
        }
    }
}

/// Gates as the engine drew them.
#[derive(Clone, Debug)]
pub struct Gates {
    /// The whole buffer.
    pub data: Vec<f32>,
    pub starts: Vec<usize>,
    pub strides: Vec<usize>,
    pub rows: usize,
}

impl Gates {
    pub fn at(&self, layer: usize, row: usize, lane: usize) -> f32 {
        self.data[self.starts[layer] + row * self.strides[layer] + lane]
    }

    /// One rank's gates, by row.
    pub fn lane(&self, layer: usize, lane: usize) -> Vec<f32> {
        (0..self.rows)
            .map(|row| self.at(layer, row, lane))
            .collect()
    }
}

/// Draws gates by `Graph::gates`, the path of training and of prediction.
pub fn draw_gates(
    layout: &AdapterLayout,
    state: &AdapterState,
    examples: &[u32],
    draw: Draw,
) -> Gates {
    let gpu = &*GPU;
    let rows = examples.len() * draw.samples;
    let (table, starts, len) = layout.rank_table(rows, |_| 0.0);
    let parameters = gpu.storage_with("parameters", &layout.pack(state));
    let ranks = gpu.storage_with("ranks", &table);
    let examples = gpu.storage_with("examples", examples);
    let gates = gpu.storage_with("gates", &vec![f32::NAN; len.max(4)]);
    let step = StepValues::buffer(gpu);
    draw.values().write(gpu, &step);
    let mut graph = Graph::new(gpu, KernelChoice::PLAIN);
    let table = GateTable {
        step: graph.builder.buffer("step", &step),
        ranks: graph.builder.buffer("ranks", &ranks),
        parameters: graph.builder.buffer("parameters", &parameters),
        entries: table.len(),
        rows,
    };
    let examples = graph.builder.buffer("examples", &examples);
    let slot = graph.builder.buffer("gates", &gates);
    graph.gates(table, draw.distribution, examples, slot, draw.samples);
    graph.builder.build().unwrap().run();
    Gates {
        data: gpu.read(&gates, 0, len as u64 * 4).unwrap(),
        starts,
        strides: layout
            .layers
            .iter()
            .map(|layer| layer.rank().next_multiple_of(4))
            .collect(),
        rows,
    }
}

/// The bits, so that -0 and 0 differ and NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The bits of every parameter.
pub fn state_bits(state: &AdapterState) -> Vec<u32> {
    let layers = state
        .layers
        .iter()
        .flat_map(|layer| [&layer.lora_a, &layer.lora_b, &layer.log_alpha]);
    layers
        .chain([&state.head_weight, &state.head_bias])
        .flat_map(|values| bits(values))
        .collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Pearson's correlation; its standard deviation is 1/sqrt(n) where there is none.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    let cross = sum(a, mean_a, b, mean_b);
    cross / (sum(a, mean_a, a, mean_a) * sum(b, mean_b, b, mean_b)).sqrt()
}

/// Eigenvalues and eigenvectors (by column) of a symmetric matrix `[n, n]`, by Jacobi's rotations.
pub fn symmetric_eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut v: Vec<f64> = (0..n * n)
        .map(|i| f64::from(u8::from(i % (n + 1) == 0)))
        .collect();
    for _ in 0..60 {
        for p in 0..n {
            for q in p + 1..n {
                let off = a[p * n + q];
                if off == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let rotate = |m: &mut [f64], i: usize, j: usize| {
                    let (x, y) = (m[i], m[j]);
                    (m[i], m[j]) = (c * x - s * y, s * x + c * y);
                };
                for k in 0..n {
                    rotate(&mut a, k * n + p, k * n + q);
                }
                for k in 0..n {
                    rotate(&mut a, p * n + k, q * n + k);
                }
                for k in 0..n {
                    rotate(&mut v, k * n + p, k * n + q);
                }
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), v)
}
