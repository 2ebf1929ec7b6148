//! The propositions of the paper as properties of one adapted layer, run by production operations.
//!
//!   y = W x + s B (z . h),  h = A x,  z_i ~ N(1, v_i),  v_i = alpha_i
//!   (13) E y = W x + s B h        (14) Cov y = s^2 sum_i v_i h_i^2 b_i b_i'
//!   (16) tr Cov = s^2 sum_i v_i h_i^2 |b_i|^2
//!
//! Two layers do it: a linear one made of `down` and `up` (the head), and a convolution, whose gates
//! are shared by all positions p: Cov(y(p), y(q)) = s^2 sum_i v_i h_i(p) h_i(q) b_i b_i'.
//! Cases are drawn by a fixed seed: a statistical bound then holds always or never.

use std::sync::Arc;

use bayeslora::low_level::model::{
    AdapterLayout, AdapterSlots, AdapterState, ConvForward, ConvSpec, ConvWeights, FrozenConv,
    GateMode, Graph, KernelChoice, Map, Purpose, Tensor as Rows, Up,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::properties;
use crate::properties::{
    Draw, GPU, bits, draw_gates, kernels, mean, single_layer, symmetric_eigen,
};
use crate::reference::adapter::Adapter;
use crate::reference::conv::Geometry;
use crate::reference::tensor::Tensor;

/// f32 against f64, relative to the largest output.
const ROUNDING: f64 = 2e-6;

/// An adapted layer and a batch of inputs.
#[derive(Clone, Debug)]
struct Layer {
    kernels: KernelChoice,
    /// `None`: linear, by `down` and `up`.
    conv: Option<ConvSpec>,
    layout: AdapterLayout,
    /// A, B, log alpha; W is the head's weight of a linear layer.
    state: AdapterState,
    /// W of a convolution.
    weight: Vec<f32>,
    scale: f32,
    /// Side of the input map.
    side: usize,
    /// NCHW.
    x: Vec<f32>,
    examples: Vec<u32>,
}

/// What a run gives, as `[row][channel][position]`, and h as `[example][rank][position]`.
struct Output {
    y: Vec<f32>,
    h: Vec<f32>,
}

/// Where the gates come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Drawn(Draw),
    /// As the buffer holds them.
    Given(&'a [f32], usize),
    /// No gates at all: plain LoRA (linear layers of scale 1).
    Absent,
}

/// Draws that share no stream with training.
fn predict(samples: usize) -> Draw {
    Draw {
        purpose: Purpose::Predict,
        samples,
        draw: 3,
        ..Draw::BASE
    }
}

impl Layer {
    /// A layer of this shape with random weights; `inputs` and `outputs` fill no quad in general.
    fn random(shape: Shape) -> Self {
        let Shape {
            kernels,
            conv,
            inputs,
            outputs,
            rank,
            scale,
            seed,
            examples,
        } = shape;
        let mut rng = Pcg64::seed_from_u64(seed);
        let conv = conv.map(|(kernel, stride)| ConvSpec {
            name: "layer".into(),
            norm: "norm".into(),
            in_channels: inputs,
            out_channels: outputs,
            kernel,
            stride,
            pad: kernel / 2,
        });
        let kernel = conv.as_ref().map_or(1, |conv| conv.kernel);
        let side = if conv.is_some() { 4 } else { 1 };
        // Ids with gaps and out of order, as after prunes.
        let mut ids: Vec<u32> = (0..3 * rank as u32).collect();
        ids.shuffle(&mut rng);
        ids.truncate(rank);
        let layout = single_layer(inputs, outputs, kernel, ids);
        let state = properties::random_state(&layout, seed);
        let mut random = |count: usize| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
        };
        Self {
            weight: random(outputs * inputs * kernel * kernel),
            x: random(examples * inputs * side * side),
            examples: (0..examples as u32).map(|n| n * 17 + 5).collect(),
            kernels,
            conv,
            layout,
            state,
            scale,
            side,
        }
    }

    fn inputs(&self) -> usize {
        self.layout.layers[0].in_channels
    }

    fn outputs(&self) -> usize {
        self.layout.layers[0].out_channels
    }

    fn rank(&self) -> usize {
        self.layout.layers[0].rank()
    }

    fn out_side(&self) -> usize {
        self.conv
            .as_ref()
            .map_or(1, |conv| conv.out_side(self.side))
    }

    fn positions(&self) -> usize {
        self.out_side().pow(2)
    }

    /// W in PEFT's order.
    fn w(&self) -> &[f32] {
        if self.conv.is_some() {
            &self.weight
        } else {
            &self.state.head_weight
        }
    }

    /// f32s of one example's input.
    fn example_len(&self) -> usize {
        self.inputs() * self.side * self.side
    }

    fn a(&self, i: usize) -> &[f32] {
        let len = self.inputs() * self.layout.layers[0].taps();
        &self.state.layers[0].lora_a[i * len..][..len]
    }

    fn b(&self, o: usize, i: usize) -> f64 {
        f64::from(self.state.layers[0].lora_b[o * self.rank() + i])
    }

    /// v_i = alpha_i
    fn variance(&self, i: usize) -> f64 {
        f64::from(self.state.layers[0].log_alpha[i]).exp()
    }

    /// Only these examples, by place.
    fn only(&self, places: &[usize]) -> Self {
        let len = self.example_len();
        let rows = places
            .iter()
            .flat_map(|place| &self.x[place * len..][..len]);
        Self {
            x: rows.copied().collect(),
            examples: places.iter().map(|place| self.examples[*place]).collect(),
            ..self.clone()
        }
    }

    fn scaled_input(&self, c: f32) -> Self {
        Self {
            x: self.x.iter().map(|x| c * x).collect(),
            ..self.clone()
        }
    }

    /// The same ranks in another order; their ids go along.
    fn permuted(&self, order: &[usize]) -> Self {
        let mut other = self.clone();
        other.state.keep(&self.layout, &[order.to_vec()]);
        let ids = order
            .iter()
            .map(|place| self.layout.layers[0].rank_ids[*place])
            .collect();
        let kernel = self.layout.layers[0].kernel;
        other.layout = single_layer(self.inputs(), self.outputs(), kernel, ids);
        other
    }

    /// A -> c A, B -> B / c.
    fn regauged(&self, c: f32) -> Self {
        let mut other = self.clone();
        other.state.layers[0]
            .lora_a
            .iter_mut()
            .for_each(|a| *a *= c);
        other.state.layers[0]
            .lora_b
            .iter_mut()
            .for_each(|b| *b /= c);
        other
    }

    /// The same mean, but only these ranks are random: exp(-200/2) eps is less than any ulp of 1.
    fn random_only(&self, ranks: &[usize]) -> Self {
        let mut other = self.clone();
        for (i, t) in other.state.layers[0].log_alpha.iter_mut().enumerate() {
            if !ranks.contains(&i) {
                *t = -200.0;
            }
        }
        other
    }

    /// NCHW to the engine's `[position][row][channel]`, channels padded.
    fn packed(&self) -> Vec<f32> {
        let (n, c, p) = (self.examples.len(), self.inputs(), self.side * self.side);
        let lanes = c.next_multiple_of(4);
        let mut out = vec![0.0; p * n * lanes];
        for (index, value) in self.x.iter().enumerate() {
            let (position, rest) = (index % p, index / p);
            out[(position * n + rest / c) * lanes + rest % c] = *value;
        }
        out
    }

    fn run(&self, source: Source) -> Output {
        let gpu = &*GPU;
        let examples = self.examples.len();
        let drawn;
        let (gates, samples) = match source {
            Source::Drawn(draw) => {
                drawn = draw_gates(&self.layout, &self.state, &self.examples, draw).data;
                (&drawn[..], draw.samples)
            }
            Source::Given(gates, samples) => (gates, samples),
            Source::Absent => (&[0.0; 4][..], 1),
        };
        let rows = examples * samples;
        let (_, starts, _) = self.layout.rank_table(rows, |_| 0.0);
        let gates = gpu.storage_with("gates", gates);
        let parameters = gpu.storage_with("parameters", &self.layout.pack(&self.state));
        let mut graph = Graph::new(gpu, self.kernels);
        let map = Map::square(self.side, self.inputs());
        let x = graph.constant("test input", map, examples, &self.packed());
        let slots = AdapterSlots::new(
            &mut graph,
            &self.layout,
            self.scale,
            &parameters,
            &gates,
            &starts,
            rows,
        )
        .layer(0);
        let spec = self.conv.as_ref();
        let h = graph.down("A".into(), spec, x, slots.a, self.rank(), None);
        let y = if let Some(spec) = spec {
            let frozen = FrozenConv::new(gpu, spec, Arc::new(self.frozen()));
            graph.conv_forward(ConvForward {
                frozen: &frozen,
                input: x,
                rows,
                adapter: Some(bayeslora::low_level::model::LowRank {
                    low: h.slot,
                    gates: slots.gates,
                    up: slots.b,
                    rank: self.rank(),
                    scale: self.scale,
                }),
                residual: None,
                relu: false,
            })
        } else {
            let head = self.layout.head_weight;
            let (start, bytes) = (head.start as u64 * 4, head.len as u64 * 4);
            let w = graph.builder.buffer_range("W", &parameters, start, bytes);
            let base = graph.down("W".into(), None, x, w, self.outputs(), None);
            let gated = match source {
                Source::Absent => None,
                _ => Some((slots.gates, self.scale)),
            };
            graph.up(Up {
                label: "B".into(),
                low: h,
                up: slots.b,
                channels: self.outputs(),
                rows,
                gates: gated,
                base: Some(base),
            })
        };
        graph.builder.keep(h.slot);
        graph.builder.keep(y.slot);
        let plan = graph.builder.build().unwrap();
        plan.run();
        assert!(
            plan.guards_are_whole().unwrap(),
            "a dispatch wrote past its buffer"
        );
        Output {
            y: unpacked(y, &plan.read(y.slot).unwrap()),
            h: unpacked(h, &plan.read(h.slot).unwrap()),
        }
    }

    /// W without BatchNorm.
    fn frozen(&self) -> ConvWeights {
        ConvWeights {
            weight: self.weight.clone(),
            gain: vec![1.0; self.outputs()],
            bias: vec![0.0; self.outputs()],
            scales: None,
        }
    }

    /// y without any adapter, by the same operations.
    fn base(&self) -> Vec<f32> {
        let mut other = self.clone();
        other.state.layers[0].lora_b.fill(0.0);
        other
            .run(Source::Drawn(Draw {
                mode: GateMode::Mean,
                ..predict(1)
            }))
            .y
    }

    /// The f64 twin: y for these gates `[examples, rank]`, and h.
    fn twin(&self, z: &Tensor) -> (Tensor, Tensor) {
        let (c, o, r, k) = (
            self.inputs(),
            self.outputs(),
            self.rank(),
            self.layout.layers[0].kernel,
        );
        let geometry = self.conv.as_ref().map_or(Geometry::new(1, 0), |conv| {
            Geometry::new(conv.stride, conv.pad)
        });
        let adapter = Adapter {
            a: Tensor::from_f32(&[r, c, k, k], &self.state.layers[0].lora_a),
            b: Tensor::from_f32(&[o, r], &self.state.layers[0].lora_b),
            scale: f64::from(self.scale),
        };
        let x = Tensor::from_f32(&[self.examples.len(), c, self.side, self.side], &self.x);
        let w = Tensor::from_f32(&[o, c, k, k], self.w());
        adapter.forward(&x, &w, z, geometry)
    }

    /// (13) for the first example, `[channel][position]`, and its h, `[rank][position]`.
    fn closed_mean(&self) -> (Vec<f64>, Vec<f64>) {
        let ones = Tensor::from_fn(&[self.examples.len(), self.rank()], |_| 1.0);
        let (y, h) = self.twin(&ones);
        let positions = self.positions();
        (
            y.data[..self.outputs() * positions].to_vec(),
            h.data[..self.rank() * positions].to_vec(),
        )
    }

    /// (14) for the first example over these ranks, `[output][output]`, an output being a channel
    /// at a position.
    fn closed_covariance(&self, ranks: &[usize]) -> Vec<f64> {
        let (_, h) = self.closed_mean();
        let (positions, d) = (self.positions(), self.outputs() * self.positions());
        let s2 = f64::from(self.scale).powi(2);
        let direction =
            |i: usize, at: usize| self.b(at / positions, i) * h[i * positions + at % positions];
        (0..d * d)
            .map(|index| {
                let (p, q) = (index / d, index % d);
                let term = |i: &usize| self.variance(*i) * direction(*i, p) * direction(*i, q);
                s2 * ranks.iter().map(term).sum::<f64>()
            })
            .collect()
    }

    /// The production trace (16) of every example, added to `before`.
    fn trace(&self, before: &[f32]) -> Vec<f32> {
        let gpu = &*GPU;
        let rows = self.examples.len();
        let parameters = gpu.storage_with("parameters", &self.layout.pack(&self.state));
        let trace = gpu.storage_with("trace", before);
        let gates = gpu.storage("gates", 16);
        let mut graph = Graph::new(gpu, self.kernels);
        let map = Map::square(self.side, self.inputs());
        let x = graph.constant("test input", map, rows, &self.packed());
        let slots = AdapterSlots::new(
            &mut graph,
            &self.layout,
            self.scale,
            &parameters,
            &gates,
            &[0],
            rows,
        )
        .layer(0);
        let h = graph.down(
            "A".into(),
            self.conv.as_ref(),
            x,
            slots.a,
            self.rank(),
            None,
        );
        let out = graph.builder.buffer("trace", &trace);
        graph.trace("trace".into(), h, slots, self.outputs(), self.scale, out);
        graph.builder.build().unwrap().run();
        gpu.read(&trace, 0, rows as u64 * 4).unwrap()
    }
}

/// `[position][row][channel]`, padded, to `[row][channel][position]`.
fn unpacked(tensor: Rows, values: &[f32]) -> Vec<f32> {
    let (map, rows) = (tensor.map, tensor.rows);
    let lanes = map.quads() * 4;
    let mut out = Vec::with_capacity(rows * map.channels * map.positions());
    for row in 0..rows {
        for channel in 0..map.channels {
            for position in 0..map.positions() {
                out.push(values[(position * rows + row) * lanes + channel]);
            }
        }
    }
    out
}

/// Sample mean and covariance of rows of `d` values, after `center` is taken off.
fn moments(y: &[f32], center: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let d = center.len();
    let n = (y.len() / d) as f64;
    let mut sum = vec![0.0; d];
    let mut products = vec![0.0; d * d];
    for row in y.chunks(d) {
        let row: Vec<f64> = row
            .iter()
            .zip(center)
            .map(|(y, c)| f64::from(*y) - c)
            .collect();
        for p in 0..d {
            sum[p] += row[p];
            for q in 0..d {
                products[p * d + q] += row[p] * row[q];
            }
        }
    }
    (
        sum.iter().map(|s| s / n).collect(),
        products.iter().map(|s| s / n).collect(),
    )
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values
        .into_iter()
        .fold(0.0, |most, value| most.max(value.abs()))
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    largest(a.iter().zip(b).map(|(a, b)| a - b))
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    kernels: KernelChoice,
    /// Kernel and stride of a convolution.
    conv: Option<(usize, usize)>,
    inputs: usize,
    outputs: usize,
    rank: usize,
    scale: f32,
    seed: u64,
    examples: usize,
}

/// Layers of every kind; `examples` rows.
fn shape(examples: impl Strategy<Value = usize>) -> impl Strategy<Value = Shape> {
    let conv = prop_oneof![
        Just(None),
        Just(Some((3, 1))),
        Just(Some((3, 2))),
        Just(Some((1, 2)))
    ];
    let scale = prop_oneof![Just(1.0f32), Just(2.0), 0.1f32..3.0];
    let sizes = (1usize..14, 1usize..10, 1usize..10);
    let all = (
        prop::sample::select(kernels()),
        conv,
        sizes,
        scale,
        any::<u64>(),
        examples,
    );
    all.prop_map(
        |(kernels, conv, (inputs, outputs, rank), scale, seed, examples)| Shape {
            kernels,
            conv,
            inputs,
            outputs,
            rank,
            scale,
            seed,
            examples,
        },
    )
}

fn few(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(250_622_809),
        failure_persistence: None,
        max_shrink_iters: 30,
        ..ProptestConfig::default()
    }
}

const SAMPLES: usize = 4096;

proptest! {
    #![proptest_config(few(12))]

    /// (13) and (14). y is Gaussian, being linear in Gaussian gates, so that the sample moments have
    /// variances C_pp / S and (C_pp C_qq + C_pq^2) / S: the rate 1/sqrt(S), with its constant.
    #[test]
    fn monte_carlo_meets_the_closed_form(shape in shape(Just(1))) {
        let layer = Layer::random(Shape { rank: shape.rank.min(6), outputs: shape.outputs.min(5), ..shape });
        let ranks: Vec<usize> = (0..layer.rank()).collect();
        let y = layer.run(Source::Drawn(predict(SAMPLES))).y;
        let (expected, _) = layer.closed_mean();
        let covariance = layer.closed_covariance(&ranks);
        let d = expected.len();
        let rounding = ROUNDING * largest(wide(&y));
        let n = SAMPLES as f64;
        let (mean, products) = moments(&y, &expected);
        for p in 0..d {
            let sigma = (covariance[p * d + p] / n).sqrt();
            prop_assert!(mean[p].abs() < 4.5 * sigma + rounding, "mean off by {}, sigma {sigma}", mean[p]);
            for q in 0..d {
                let (pp, qq, pq) =
                    (covariance[p * d + p], covariance[q * d + q], covariance[p * d + q]);
                let sigma = ((pp * qq + pq * pq) / n).sqrt();
                let error = (products[p * d + q] - pq).abs();
                let bound = 4.5 * sigma + rounding * (pp.sqrt() + qq.sqrt() + rounding);
                prop_assert!(error < bound, "covariance off by {error}, sigma {sigma}");
            }
        }
        // The rate itself: S |mean_S - E y|^2 averages to tr Cov whatever S is.
        let trace: f64 = (0..d).map(|p| covariance[p * d + p]).sum();
        for s in [1, 16, 256] {
            let blocks: Vec<f64> = y
                .chunks(s * d)
                .map(|block| moments(block, &expected).0.iter().map(|m| m * m).sum::<f64>() * s as f64)
                .collect();
            // One chi-squared variable of one degree (a dominant rank) a block: variance 2.
            let sigma = trace * (2.0 / blocks.len() as f64).sqrt();
            let found = properties::mean(&blocks);
            let bound = 5.0 * sigma + s as f64 * d as f64 * rounding * rounding;
            prop_assert!((found - trace).abs() < bound, "S = {s}: {found} of {trace}");
        }
    }

    /// Proposition 1. Ranks add: sample by sample y - E y = (y - E y)_S + (y - E y)_T, hence Cov = Cov_S +
    /// Cov_T + what is left of the cross terms; one rank's covariance is PSD and of rank one.
    #[test]
    fn ranks_add(shape in shape(Just(1)), split in any::<u64>()) {
        let layer = Layer::random(Shape { rank: shape.rank.clamp(2, 6), outputs: shape.outputs.min(5), ..shape });
        let first = |i: &usize| *i == 0 || (*i != 1 && split >> i & 1 == 1);
        let (s, t): (Vec<usize>, Vec<usize>) = (0..layer.rank()).partition(first);
        let all: Vec<usize> = (0..layer.rank()).collect();
        let center = wide(&layer.run(Source::Drawn(Draw { mode: GateMode::Mean, ..predict(1) })).y);
        let d = center.len();
        let run = |ranks: &[usize]| layer.random_only(ranks).run(Source::Drawn(predict(SAMPLES))).y;
        let (y, y_s, y_t) = (run(&all), run(&s), run(&t));
        let bound = 4.0 * ROUNDING * largest(wide(&y));
        for (index, ((y, s), t)) in y.iter().zip(&y_s).zip(&y_t).enumerate() {
            let parts = f64::from(*s) + f64::from(*t) - center[index % d];
            prop_assert!((f64::from(*y) - parts).abs() < bound, "{y} is not {parts}");
        }

        // In closed form it holds exactly.
        let [whole, cov_s, cov_t] = [&all, &s, &t].map(|ranks| layer.closed_covariance(ranks));
        let sum: Vec<f64> = cov_s.iter().zip(&cov_t).map(|(a, b)| a + b).collect();
        prop_assert!(worst(&whole, &sum) <= 1e-12 * largest(whole.clone()));
        // And by Monte Carlo up to cross terms of standard deviation sqrt(S_pp T_qq / n).
        let [mc, mc_s, mc_t] = [&y, &y_s, &y_t].map(|y| moments(y, &center).1);
        for p in 0..d {
            for q in 0..d {
                let at = p * d + q;
                let cross = mc[at] - mc_s[at] - mc_t[at];
                let variance = cov_s[p * d + p] * cov_t[q * d + q] + cov_s[q * d + q] * cov_t[p * d + p];
                let slack = bound * (whole[p * d + p].sqrt() + whole[q * d + q].sqrt() + bound);
                // The two cross products are correlated: at most twice one's variance each.
                let sigma = (2.0 * variance / SAMPLES as f64).sqrt();
                prop_assert!(cross.abs() < 4.5 * sigma + 3.0 * slack, "cross term {cross}, sigma {sigma}");
            }
        }

        // One rank: all deviations lie on one line.
        let one = run(&all[..1]);
        let cov = moments(&one, &center).1;
        let (mut eigen, _) = symmetric_eigen(&cov, d);
        eigen.sort_by(|a, b| b.total_cmp(a));
        let floor = d as f64 * bound * bound;
        prop_assert!(eigen.iter().all(|e| *e >= -1e-12 * eigen[0]));
        prop_assert!(eigen[1..].iter().all(|e| *e <= floor), "{eigen:?}, rounding {floor:.1e}");
    }

    /// Proposition 2. No variance on the null space of A: up to the rounding of h where x is only
    /// orthogonal to every a_i, and exactly none where no a_i meets x.
    #[test]
    fn no_variance_on_the_null_space(shape in shape(Just(1))) {
        let inputs = shape.inputs.max(5);
        let mut layer = Layer::random(Shape { inputs, rank: shape.rank.min(inputs - 1).min(4), ..shape });
        for t in &mut layer.state.layers[0].log_alpha {
            *t = 2.0;
        }
        // A linear layer: x less its projection, by Gram-Schmidt over the rows of A.
        if layer.conv.is_none() {
            let mut basis: Vec<Vec<f64>> = Vec::new();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let reduce = |mut v: Vec<f64>, basis: &[Vec<f64>]| {
                for _ in 0..2 {
                    for e in basis {
                        let along = dot(&v, e);
                        v.iter_mut().zip(e).for_each(|(v, e)| *v -= along * e);
                    }
                }
                v
            };
            for i in 0..layer.rank() {
                let v = reduce(wide(layer.a(i)), &basis);
                let norm = dot(&v, &v).sqrt();
                basis.push(v.iter().map(|v| v / norm).collect());
            }
            let moving = deviation(&layer);
            let mut null = layer.clone();
            null.x = reduce(wide(&layer.x), &basis).iter().map(|x| *x as f32).collect();
            let rest = deviation(&null);
            prop_assert!(rest < 1e-5 * moving.max(1.0), "{rest:.1e} of {moving:.1e}");
        }
        // A sees the even channels only, x has the odd ones only: every product is an exact zero.
        let (channels, taps) = (layer.inputs(), layer.layout.layers[0].taps());
        for (index, a) in layer.state.layers[0].lora_a.iter_mut().enumerate() {
            if index / taps % channels % 2 == 1 {
                *a = 0.0;
            }
        }
        let area = layer.side * layer.side;
        for (index, x) in layer.x.iter_mut().enumerate() {
            if (index / area % channels).is_multiple_of(2) {
                *x = 0.0;
            }
        }
        let base = layer.base();
        for row in layer.run(Source::Drawn(predict(33))).y.chunks(base.len()) {
            prop_assert!(row == base, "an input that A does not see has variance");
        }
    }

    /// Cov(c x) = c^2 Cov(x), since y(c x) = c y(x) for the same gates: exactly, for a power of two.
    #[test]
    fn outputs_scale_with_inputs(shape in shape(1usize..4), power in -3i32..4, c in 0.2f32..5.0) {
        let layer = Layer::random(shape);
        let y = layer.run(Source::Drawn(predict(5))).y;
        let exact = 2f32.powi(power);
        let scaled = layer.scaled_input(exact).run(Source::Drawn(predict(5))).y;
        let expected: Vec<f32> = y.iter().map(|y| exact * y).collect();
        prop_assert_eq!(bits(&scaled), bits(&expected));
        let scaled = wide(&layer.scaled_input(c).run(Source::Drawn(predict(5))).y);
        let expected: Vec<f64> = y.iter().map(|y| f64::from(c) * f64::from(*y)).collect();
        prop_assert!(worst(&expected, &scaled) <= ROUNDING * largest(expected.clone()));
    }

    /// A row's result does not depend on the rows beside it, nor on their number: bit for bit.
    #[test]
    fn batches_do_not_matter(shape in shape(2usize..40), cut in any::<prop::sample::Index>(), samples in 1usize..4) {
        let layer = Layer::random(shape);
        let n = shape.examples;
        let whole = layer.run(Source::Drawn(predict(samples))).y;
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut Pcg64::seed_from_u64(shape.seed));
        let len = whole.len() / n;
        let (left, right) = order.split_at(1 + cut.index(n - 1));
        for part in [left, right] {
            let y = layer.only(part).run(Source::Drawn(predict(samples))).y;
            for (place, y) in part.iter().zip(y.chunks(len)) {
                prop_assert_eq!(bits(&whole[place * len..][..len]), bits(y));
            }
        }
        // Samples in two runs are the samples of one.
        let more = layer.run(Source::Drawn(Draw { draw: 3 + samples as u32, ..predict(1) })).y;
        let joint = layer.run(Source::Drawn(predict(samples + 1))).y;
        let one = len / samples;
        for (row, y) in more.chunks(one).enumerate() {
            let place = (row * (samples + 1) + samples) * one;
            prop_assert_eq!(bits(&joint[place..][..one]), bits(y));
        }
    }

    /// The order of the ranks is nothing: gates go with the ids, and sums differ by rounding only.
    #[test]
    fn rank_order_does_not_matter(shape in shape(1usize..6)) {
        let layer = Layer::random(shape);
        let mut order: Vec<usize> = (0..layer.rank()).collect();
        order.shuffle(&mut Pcg64::seed_from_u64(shape.seed ^ 1));
        let y = wide(&layer.run(Source::Drawn(predict(3))).y);
        let other = wide(&layer.permuted(&order).run(Source::Drawn(predict(3))).y);
        prop_assert!(worst(&y, &other) <= ROUNDING * largest(y.clone()));
        let (trace, other) = (layer.trace(&vec![0.0; shape.examples]), layer.permuted(&order).trace(&vec![0.0; shape.examples]));
        for (a, b) in trace.iter().zip(&other) {
            prop_assert!((a - b).abs() <= 4e-6 * a, "{a} {b}");
        }
    }

    /// A -> c A, B -> B / c changes nothing: not one bit for a power of two.
    #[test]
    fn the_gauge_does_not_matter(shape in shape(1usize..6), power in -4i32..5) {
        let layer = Layer::random(shape);
        let other = layer.regauged(2f32.powi(power));
        let (y, other_y) = (layer.run(Source::Drawn(predict(3))).y, other.run(Source::Drawn(predict(3))).y);
        prop_assert_eq!(bits(&y), bits(&other_y));
        let zeros = vec![0.0; shape.examples];
        prop_assert_eq!(bits(&layer.trace(&zeros)), bits(&other.trace(&zeros)));
    }

    /// z = 1 is plain LoRA: `GateMode::Mean` gives the bits that gates of one written by the host
    /// give and, in a linear layer of scale 1, those of an `up` that knows no gates; and it is the
    /// f64 twin's W x + s B A x.
    #[test]
    fn the_mean_is_plain_lora(shape in shape(1usize..6)) {
        let layer = Layer::random(shape);
        let mean = layer.run(Source::Drawn(Draw { mode: GateMode::Mean, ..predict(1) })).y;
        let lanes = layer.rank().next_multiple_of(4);
        let ones = layer.run(Source::Given(&vec![1.0; lanes * shape.examples], 1)).y;
        prop_assert_eq!(bits(&mean), bits(&ones));
        if layer.conv.is_none() {
            let unit = Layer { scale: 1.0, ..layer.clone() };
            let mean = unit.run(Source::Drawn(Draw { mode: GateMode::Mean, ..predict(1) })).y;
            prop_assert_eq!(bits(&mean), bits(&unit.run(Source::Absent).y));
        }
        let (twin, h) = layer.twin(&Tensor::from_fn(&[shape.examples, layer.rank()], |_| 1.0));
        prop_assert!(twin.relative_error(&mean) < ROUNDING, "{}", twin.relative_error(&mean));
        let found = layer.run(Source::Drawn(predict(1)));
        prop_assert!(h.relative_error(&found.h) < ROUNDING);
        // Sampled, with the gates that were drawn.
        let gates = draw_gates(&layer.layout, &layer.state, &layer.examples, predict(1));
        let z = Tensor::from_fn(&[shape.examples, layer.rank()], |at| {
            f64::from(gates.at(0, at / layer.rank(), at % layer.rank()))
        });
        prop_assert!(layer.twin(&z).0.relative_error(&found.y) < ROUNDING);
    }

    /// W + s sum_i z_i b_i (x) a_i without an adapter is the layer with its two branches.
    #[test]
    fn merging_is_exact(shape in shape(1usize..6), draw in any::<u32>()) {
        let layer = Layer::random(shape);
        let draw = Draw { mode: GateMode::Shared, draw, ..predict(1) };
        let y = layer.run(Source::Drawn(draw)).y;
        let gates = draw_gates(&layer.layout, &layer.state, &layer.examples, draw);
        let mut merged = layer.clone();
        let row = layer.inputs() * layer.layout.layers[0].taps();
        let weights: Vec<f32> = layer
            .w()
            .iter()
            .enumerate()
            .map(|(at, w)| {
                let (o, rest) = (at / row, at % row);
                let term = |i: usize| {
                    f64::from(gates.at(0, 0, i)) * layer.b(o, i) * f64::from(layer.a(i)[rest])
                };
                let sum: f64 = (0..layer.rank()).map(term).sum();
                (f64::from(*w) + f64::from(layer.scale) * sum) as f32
            })
            .collect();
        match layer.conv {
            Some(_) => merged.weight = weights,
            None => merged.state.head_weight = weights,
        }
        let (y, merged) = (wide(&y), wide(&merged.base()));
        prop_assert!(worst(&y, &merged) <= ROUNDING * largest(y.clone()));
    }

    /// (16) by the production operation: the closed form, the bounds (17), and added to what was.
    #[test]
    fn the_trace_and_its_bounds(shape in shape(1usize..70)) {
        let layer = Layer::random(shape);
        let n = shape.examples;
        let before: Vec<f32> = (0..n).map(|row| row as f32 * 0.25).collect();
        let found = layer.trace(&before);
        let alone = layer.trace(&vec![0.0; n]);
        let (_, h) = layer.twin(&Tensor::from_fn(&[n, layer.rank()], |_| 1.0));
        let (r, positions) = (layer.rank(), layer.positions());
        let s2 = f64::from(layer.scale).powi(2);
        // Gram matrices: their eigenvalues are the squared singular values of A (as a matrix of
        // patches) and of B.
        let rows: Vec<Vec<f64>> = (0..r).map(|i| wide(layer.a(i))).collect();
        let gram_a: Vec<f64> = (0..r * r)
            .map(|at| rows[at / r].iter().zip(&rows[at % r]).map(|(a, b)| a * b).sum())
            .collect();
        let gram_b: Vec<f64> = (0..r * r)
            .map(|at| (0..layer.outputs()).map(|o| layer.b(o, at / r) * layer.b(o, at % r)).sum())
            .collect();
        let (squares_a, vectors) = symmetric_eigen(&gram_a, r);
        let (squares_b, _) = symmetric_eigen(&gram_b, r);
        let extremes = |values: &[f64]| {
            let most = values.iter().copied().fold(f64::MIN, f64::max);
            (values.iter().copied().fold(f64::MAX, f64::min).max(0.0), most)
        };
        let variances: Vec<f64> = (0..r).map(|i| layer.variance(i)).collect();
        let ((b_min, b_max), (v_min, v_max)) = (extremes(&squares_b), extremes(&variances));
        let (a_min, a_max) = extremes(&squares_a);
        for row in 0..n {
            let at = |i: usize, p: usize| h.data[(row * r + i) * positions + p];
            let energy = |i: usize| (0..positions).map(|p| at(i, p).powi(2)).sum::<f64>();
            let expected: f64 =
                (0..r).map(|i| s2 * variances[i] * energy(i) * gram_b[i * r + i]).sum();
            let trace = f64::from(alone[row]);
            prop_assert!((trace - expected).abs() <= 1e-5 * expected + 1e-12, "{trace} is not {expected}");
            let sum = expected + f64::from(before[row]);
            prop_assert!((f64::from(found[row]) - sum).abs() <= 1e-5 * sum + 1e-12);
            // (17): s^2 v_min sigma_r(B)^2 |Ax|^2 <= tr Cov <= s^2 v_max sigma_1(B)^2 |Ax|^2
            let ax: f64 = (0..r).map(energy).sum();
            let slack = 1e-5 * expected + 1e-12;
            prop_assert!(s2 * v_min * b_min * ax <= trace + slack);
            prop_assert!(trace <= s2 * v_max * b_max * ax + slack);
            // sigma_r(A) |P x| <= |Ax| <= sigma_1(A) |P x|, with |P x|^2 = h' (A A')^-1 h on the
            // row space of A; only where A A' can be inverted.
            if a_min > 1e-4 * a_max {
                let projected: f64 = (0..positions)
                    .map(|p| {
                        (0..r)
                            .map(|k| {
                                let along: f64 = (0..r).map(|i| vectors[i * r + k] * at(i, p)).sum();
                                along * along / squares_a[k]
                            })
                            .sum::<f64>()
                    })
                    .sum();
                prop_assert!(a_min * projected <= ax * (1.0 + 1e-6) + 1e-12);
                prop_assert!(ax <= a_max * projected * (1.0 + 1e-6) + 1e-12);
            }
        }
    }
}

/// Root mean square distance of samples from their mean.
fn deviation(layer: &Layer) -> f64 {
    let y = layer.run(Source::Drawn(predict(64))).y;
    let d = y.len() / 64;
    let center: Vec<f64> = (0..d)
        .map(|at| {
            mean(
                &y.iter()
                    .skip(at)
                    .step_by(d)
                    .map(|y| f64::from(*y))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let (_, products) = moments(&y, &center);
    (0..d).map(|p| products[p * d + p]).sum::<f64>().sqrt()
}
