//! The adapted part of the network: forward for any number of gate samples, and backward.

use super::adapters::{AdapterLayout, Segment};
use super::frozen::FrozenNetwork;
use super::graph::{Graph, Map, Tensor};
use super::ops::{ConvBackward, ConvForward, LowRank, Outer, Up};
use super::resnet::{ConvSpec, Cut};
use crate::formats::Stem;
use crate::gpu::Slot;

/// Where a plan finds the adapters: ranges of the parameters, and of the gates of its rows.
pub struct AdapterSlots {
    layers: Vec<LayerSlots>,
    head_weight: Slot,
    head_bias: Slot,
    scale: f32,
}

/// Where a plan finds the adapter of one layer of the layout.
#[derive(Clone, Copy)]
pub struct LayerSlots {
    pub a: Slot,
    pub b: Slot,
    pub log_alpha: Slot,
    pub gates: Slot,
}

impl AdapterSlots {
    /// The slots of a layer, by its number in the layout.
    pub fn layer(&self, number: usize) -> LayerSlots {
        self.layers[number]
    }

    /// `gate_starts` and `rows` as in [`AdapterLayout::rank_table`].
    pub fn new(
        graph: &mut Graph,
        layout: &AdapterLayout,
        scale: f32,
        parameters: &wgpu::Buffer,
        gates: &wgpu::Buffer,
        gate_starts: &[usize],
        rows: usize,
    ) -> Self {
        let mut range = |buffer: &wgpu::Buffer, segment| range(graph, buffer, segment);
        let layers = layout.layers.iter().zip(gate_starts).map(|(layer, start)| {
            let len = Map::vector(layer.rank()).floats() * rows;
            LayerSlots {
                a: range(parameters, layer.a),
                b: range(parameters, layer.b),
                log_alpha: range(parameters, layer.log_alpha),
                gates: range(gates, Segment { start: *start, len }),
            }
        });
        Self {
            layers: layers.collect(),
            head_weight: range(parameters, layout.head_weight),
            head_bias: range(parameters, layout.head_bias),
            scale,
        }
    }

    /// The same with A and B from another buffer, laid out alike.
    pub fn with_factors(
        mut self,
        graph: &mut Graph,
        layout: &AdapterLayout,
        factors: &wgpu::Buffer,
    ) -> Self {
        for (slots, layer) in self.layers.iter_mut().zip(&layout.layers) {
            slots.a = range(graph, factors, layer.a);
            slots.b = range(graph, factors, layer.b);
        }
        self
    }
}

fn range(graph: &mut Graph, buffer: &wgpu::Buffer, segment: Segment) -> Slot {
    let (start, len) = (segment.start as u64 * 4, segment.len.max(4) as u64 * 4);
    graph.builder.buffer_range("adapter", buffer, start, len)
}

/// An adapter at work in a plan.
#[derive(Clone, Copy)]
struct Adapted {
    /// Its number in the layout.
    number: usize,
    /// h = A * x
    low: Tensor,
}

/// An adapter with what its gradients need to know of its place.
struct Site<'a> {
    name: &'a str,
    /// `None` on the 1x1 map of the classifier.
    geometry: Option<&'a ConvSpec>,
    input: Tensor,
    adapted: Adapted,
}

/// What the gradients of one adapter are sums of products of, where z = 1:
/// dA = s sum q x, dB = s sum h G.
pub struct AdapterFactors {
    /// Its number in the layout.
    pub number: usize,
    /// Kernel, stride and padding of A; `None` on the 1x1 map of the classifier.
    pub geometry: Option<ConvSpec>,
    pub x: Tensor,
    /// h = A * x
    pub h: Tensor,
    /// q = B' G
    pub q: Tensor,
    /// G, the gradient at the adapter's output.
    pub grad: Tensor,
}

/// Where gradients go, and what they are made of.
struct Gradients<'a> {
    into: &'a AdapterSlots,
    factors: Vec<AdapterFactors>,
}

/// A convolution of the suffix as it went forward.
#[derive(Clone, Copy)]
struct Convolved {
    /// Its place in the table.
    place: usize,
    input: Tensor,
    out: Tensor,
    adapted: Option<Adapted>,
}

struct BlockActivations {
    conv1: Convolved,
    conv2: Convolved,
    downsample: Option<Convolved>,
}

/// What the forward pass leaves for the backward one.
pub struct Activations {
    /// The stem, when it belongs to the suffix.
    stem: Option<Convolved>,
    /// From the cut on.
    blocks: Vec<BlockActivations>,
    /// What is pooled.
    pub last: Tensor,
    pub pooled: Tensor,
    pub logits: Tensor,
    head: Option<Adapted>,
}

impl Activations {
    /// The output of each block from the cut on.
    pub fn block_outputs(&self) -> impl Iterator<Item = Tensor> {
        self.blocks.iter().map(|block| block.conv2.out)
    }

    /// h = A * x of every adapted layer, with its number in the layout.
    pub fn low_rank(&self) -> Vec<(usize, Tensor)> {
        let convs = self.blocks.iter().flat_map(BlockActivations::convs);
        let adapted = self
            .stem
            .into_iter()
            .chain(convs)
            .filter_map(|conv| conv.adapted);
        adapted
            .chain(self.head)
            .map(|adapted| (adapted.number, adapted.low))
            .collect()
    }
}

impl BlockActivations {
    fn convs(&self) -> impl Iterator<Item = Convolved> {
        [Some(self.conv1), self.downsample, Some(self.conv2)]
            .into_iter()
            .flatten()
    }

    fn is_adapted(&self) -> bool {
        self.convs().any(|conv| conv.adapted.is_some())
    }
}

/// Everything both directions need to know.
struct Suffix<'a> {
    network: &'a FrozenNetwork,
    layout: &'a AdapterLayout,
    slots: &'a AdapterSlots,
}

/// The forward pass from the tensor at the cut to the logits, for `rows` rows: `rows / x.rows`
/// gate samples of each example.
pub fn forward(
    graph: &mut Graph,
    network: &FrozenNetwork,
    cut: Cut,
    layout: &AdapterLayout,
    slots: &AdapterSlots,
    x: Tensor,
    rows: usize,
) -> Activations {
    let suffix = Suffix {
        network,
        layout,
        slots,
    };
    let (first, stem) = match cut {
        Cut::Block(first) => (first, None),
        Cut::Stem => (0, Some(suffix.conv(graph, 0, x, rows, None, true))),
    };
    let mut x = match (stem, network.resnet.stem) {
        (None, _) => x,
        (Some(stem), Stem::ImageNet) => graph.max_pool(stem.out),
        (Some(stem), Stem::Cifar) => stem.out,
    };
    let mut blocks = Vec::new();
    for block in &network.resnet.blocks[first..] {
        let conv1 = suffix.conv(graph, block.conv1, x, rows, None, true);
        let downsample = block
            .downsample
            .map(|place| suffix.conv(graph, place, x, rows, None, false));
        let shortcut = downsample.map_or(x, |conv| conv.out);
        let conv2 = suffix.conv(graph, block.conv2, conv1.out, rows, Some(shortcut), true);
        x = conv2.out;
        blocks.push(BlockActivations {
            conv1,
            conv2,
            downsample,
        });
    }
    let pooled = graph.average_pool(x);
    let (logits, head) = suffix.head(graph, pooled, rows);
    Activations {
        stem,
        blocks,
        last: x,
        pooled,
        logits,
        head,
    }
}

/// The backward pass from dL/dlogits: writes the gradients of A, B and the head, and dL/dz, into
/// the ranges of `into` (gradients laid out as the parameters, dL/dz as the gates). It goes no
/// deeper than the lowest adapter. Returns what the adapters' gradients are sums over: each row's own
/// gradient, for who [keeps](crate::gpu::Builder::keep) it.
pub fn backward(
    graph: &mut Graph,
    network: &FrozenNetwork,
    layout: &AdapterLayout,
    slots: &AdapterSlots,
    into: &AdapterSlots,
    activations: &Activations,
    grad_logits: Tensor,
) -> Vec<AdapterFactors> {
    let mut gradients = Gradients {
        into,
        factors: Vec::new(),
    };
    let suffix = Suffix {
        network,
        layout,
        slots,
    };
    let Activations { stem, blocks, .. } = activations;
    let stem_adapted = stem.is_some_and(|stem| stem.adapted.is_some());
    let lowest = match stem_adapted {
        true => Some(0),
        false => blocks.iter().position(BlockActivations::is_adapted),
    };
    let grad_pooled = suffix.head_backward(
        graph,
        &mut gradients,
        activations,
        grad_logits,
        lowest.is_some(),
    );
    let (Some(lowest), Some(grad_pooled)) = (lowest, grad_pooled) else {
        return gradients.factors;
    };
    let last = blocks
        .last()
        .expect("an adapter below the head lies in a block");
    // The gradient at the sum before a block's last ReLU.
    let mut grad = graph.average_pool_backward(last.conv2.out, grad_pooled);
    for (index, block) in blocks.iter().enumerate().skip(lowest).rev() {
        let needed = index > lowest || stem_adapted;
        match suffix.block_backward(graph, &mut gradients, block, grad, needed) {
            Some(below) => grad = below,
            None => return gradients.factors,
        }
    }
    if let Some(stem) = stem {
        if network.resnet.stem == Stem::ImageNet {
            grad = graph.max_pool_backward(stem.out, grad);
        }
        let grad = graph.gain(&network.convs[stem.place], grad);
        suffix.adapter_gradients(graph, &mut gradients, stem, grad);
    }
    gradients.factors
}

impl Suffix<'_> {
    fn conv(
        &self,
        graph: &mut Graph,
        place: usize,
        input: Tensor,
        rows: usize,
        residual: Option<Tensor>,
        relu: bool,
    ) -> Convolved {
        let frozen = &self.network.convs[place];
        let name = &frozen.spec.name;
        let adapted = self.layout.of_conv(place).map(|(number, layer)| {
            let a = self.slots.layers[number].a;
            let label = format!("{name} A");
            Adapted {
                number,
                low: graph.down(label, Some(&frozen.spec), input, a, layer.rank(), None),
            }
        });
        let adapter = adapted.map(|adapted| {
            self.term(
                adapted.number,
                adapted.low,
                self.slots.layers[adapted.number].b,
            )
        });
        let out = graph.conv_forward(ConvForward {
            frozen,
            input,
            rows,
            adapter,
            residual,
            relu,
        });
        Convolved {
            place,
            input,
            out,
            adapted,
        }
    }

    fn term(&self, number: usize, low: Tensor, up: Slot) -> LowRank {
        LowRank {
            low: low.slot,
            gates: self.slots.layers[number].gates,
            up,
            rank: low.map.channels,
            scale: self.slots.scale,
        }
    }

    /// logits = W f + bias (+ s B (z . A f)); the head is trained whole.
    fn head(&self, graph: &mut Graph, pooled: Tensor, rows: usize) -> (Tensor, Option<Adapted>) {
        let classes = self.layout.classes;
        let (weight, bias) = (self.slots.head_weight, Some(self.slots.head_bias));
        let logits = graph.down("logits".into(), None, pooled, weight, classes, bias);
        let product = |low, up, gates| Up {
            label: "fc B".into(),
            low,
            up,
            channels: classes,
            rows,
            gates,
            base: Some(logits),
        };
        let Some((number, layer)) = self.layout.of_head() else {
            if rows == pooled.rows {
                return (logits, None);
            }
            // Nothing is adapted any more: every sample of an example is the same.
            let nothing = Tensor {
                map: Map::vector(0),
                ..pooled
            };
            return (graph.up(product(nothing, weight, None)), None);
        };
        let LayerSlots { a, b, gates, .. } = self.slots.layers[number];
        let low = graph.down("fc A".into(), None, pooled, a, layer.rank(), None);
        let gated = Some((gates, self.slots.scale));
        (
            graph.up(product(low, b, gated)),
            Some(Adapted { number, low }),
        )
    }

    /// Gradients of the head and its adapter; the pooled features' where `needed`.
    fn head_backward(
        &self,
        graph: &mut Graph,
        gradients: &mut Gradients,
        activations: &Activations,
        grad: Tensor,
        needed: bool,
    ) -> Option<Tensor> {
        let Activations { pooled, head, .. } = *activations;
        graph.outer(Outer {
            label: "d fc weight".into(),
            geometry: None,
            x: pooled,
            low: grad,
            gates: None,
            scale: 1.0,
            grad: gradients.into.head_weight,
        });
        graph.sum_rows("d fc bias".into(), grad, gradients.into.head_bias);
        let q = head.map(|adapted| {
            let q = self.mirror(graph, "fc".into(), adapted, grad);
            let site = Site {
                name: "fc",
                geometry: None,
                input: pooled,
                adapted,
            };
            self.outer_products(graph, gradients, site, q, grad);
            (adapted.number, q)
        });
        if !needed {
            return None;
        }
        let through = |label: &str, low, up, gates, base| Up {
            label: label.into(),
            low,
            up,
            channels: self.layout.features,
            rows: grad.rows,
            gates,
            base,
        };
        let base = graph.up(through(
            "d pooled",
            grad,
            self.slots.head_weight,
            None,
            None,
        ));
        let Some((number, q)) = q else {
            return Some(base);
        };
        let LayerSlots { a, gates, .. } = self.slots.layers[number];
        let gated = Some((gates, self.slots.scale));
        Some(graph.up(through("d pooled, fc adapter", q, a, gated, Some(base))))
    }

    /// Gradients of a block's adapters; the one at the sum below the block where `needed`.
    fn block_backward(
        &self,
        graph: &mut Graph,
        gradients: &mut Gradients,
        block: &BlockActivations,
        grad: Tensor,
        needed: bool,
    ) -> Option<Tensor> {
        let convs = &self.network.convs;
        let (frozen1, frozen2) = (&convs[block.conv1.place], &convs[block.conv2.place]);
        let inner_needed = needed || block.conv1.adapted.is_some();
        let mut grad1 = None;
        if inner_needed || block.conv2.adapted.is_some() {
            let grad2 = graph.gain(frozen2, grad);
            let adapter2 = self.adapter_gradients(graph, gradients, &block.conv2, grad2);
            grad1 = inner_needed.then(|| {
                graph.conv_backward(ConvBackward {
                    frozen: frozen2,
                    grad: grad2,
                    map: block.conv1.out.map,
                    adapter: adapter2,
                    residual: None,
                    mask: Some(block.conv1.out),
                    gain: Some(frozen1),
                })
            });
        }
        let adapter1 =
            grad1.and_then(|grad1| self.adapter_gradients(graph, gradients, &block.conv1, grad1));
        let mut shortcut = Some(grad);
        if let Some(downsample) = &block.downsample {
            shortcut = (needed || downsample.adapted.is_some())
                .then(|| {
                    let frozen = &convs[downsample.place];
                    let grad = graph.gain(frozen, grad);
                    let adapter = self.adapter_gradients(graph, gradients, downsample, grad);
                    needed.then(|| {
                        graph.conv_backward(ConvBackward {
                            frozen,
                            grad,
                            map: downsample.input.map,
                            adapter,
                            residual: None,
                            mask: None,
                            gain: None,
                        })
                    })
                })
                .flatten();
        }
        if !needed {
            return None;
        }
        Some(graph.conv_backward(ConvBackward {
            frozen: frozen1,
            grad: grad1?,
            map: block.conv1.input.map,
            adapter: adapter1,
            residual: shortcut,
            mask: Some(block.conv1.input),
            gain: None,
        }))
    }

    /// Gradients of A, B and z of one convolution, given dL/dY; the adapter's term of the input
    /// gradient.
    fn adapter_gradients(
        &self,
        graph: &mut Graph,
        gradients: &mut Gradients,
        conv: &Convolved,
        grad: Tensor,
    ) -> Option<LowRank> {
        let adapted = conv.adapted?;
        let spec = &self.network.convs[conv.place].spec;
        let q = self.mirror(graph, spec.name.clone(), adapted, grad);
        let (name, geometry, input) = (&spec.name, Some(spec), conv.input);
        let site = Site {
            name,
            geometry,
            input,
            adapted,
        };
        self.outer_products(graph, gradients, site, q, grad);
        Some(self.term(adapted.number, q, self.slots.layers[adapted.number].a))
    }

    /// q = B' G: what h is going forward.
    fn mirror(&self, graph: &mut Graph, name: String, adapted: Adapted, grad: Tensor) -> Tensor {
        let LayerSlots { b, .. } = self.slots.layers[adapted.number];
        graph.down(
            format!("{name} B'"),
            None,
            grad,
            b,
            adapted.low.map.channels,
            None,
        )
    }

    /// dA = sum (s z . q) x, dB = sum (s z . h) G, dL/dz = s sum q h.
    fn outer_products(
        &self,
        graph: &mut Graph,
        gradients: &mut Gradients,
        site: Site,
        q: Tensor,
        grad: Tensor,
    ) {
        let Site {
            name,
            geometry,
            input,
            adapted: Adapted { number, low },
        } = site;
        let (gates, scale) = (Some(self.slots.layers[number].gates), self.slots.scale);
        let target = gradients.into.layers[number];
        graph.outer(Outer {
            label: format!("d {name} A"),
            geometry,
            x: input,
            low: q,
            gates,
            scale,
            grad: target.a,
        });
        graph.outer(Outer {
            label: format!("d {name} B"),
            geometry: None,
            x: grad,
            low,
            gates,
            scale,
            grad: target.b,
        });
        graph.gate_gradient(format!("d {name} gates"), low, q, scale, target.gates);
        gradients.factors.push(AdapterFactors {
            number,
            geometry: geometry.cloned(),
            x: input,
            h: low,
            q,
            grad,
        });
    }
}
