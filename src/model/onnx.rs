//! The network with its adapter as an ONNX graph: bytes of pixels in, logits and probabilities out.
//!
//! BatchNorm is folded into the convolutions. With the mean weights the adapters are too; with samples they stay beside
//! the convolutions, y = g W * x + b + s g B (z . A * x), and the noise of the gates is an input, so that whoever runs the
//! graph draws it.

use prost::Message;
use serde_json::json;

use super::exchange::{self, Misfit};
use super::{AdapterParams, Backbone, ConvSpec, Cut, PIXEL_DEVIATION, PIXEL_MEAN};
use crate::formats::onnx::{
    Attribute, Entry, Extent, Graph, IR_VERSION, Model, Node, OPSET, OperatorSet, Tensor,
    ValueInfo, data_type,
};
use crate::formats::{Adapter, GateDistribution, Stem, add_product};

/// What protobuf, and with it every reader, allows.
const LIMIT: usize = i32::MAX as usize;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum OnnxError {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("the adapter has nothing to draw (method {method}), so samples of it are all the same")]
    NothingDrawn { method: String },
    #[error("the adapter draws every weight of A and B and not gates, for which there is no graph")]
    Weights,
    #[error("the graph takes {bytes} bytes, and ONNX files hold at most {LIMIT}")]
    TooLarge { bytes: usize },
}

/// The bytes of an ONNX file (operator set 17).
///
/// Its input `images` is `[batch, side, side, 3]`, RGB bytes; normalising them is part of the graph. With `samples = 0` the
/// outputs are `logits` and `probabilities`, `[batch, classes]`, of the mean weights. Else there is an input `noise`
/// `[samples, batch, ranks]`, one value per gate: standard normal for Gaussian gates, where zeros give the mean weights, or
/// uniform in [0, 1) for dropout of ranks. `logits` are `[samples, batch, classes]`, and `probabilities` `[batch, classes]`
/// their softmax averaged over the samples.
///
/// Classes, resolution and the order of the ranks stand in the file's metadata.
///
/// # Errors
/// The adapter does not fit the backbone, samples are asked for where no gates are drawn, or the file were too large.
pub fn onnx(backbone: &Backbone, adapter: &Adapter, samples: usize) -> Result<Vec<u8>, OnnxError> {
    if samples > 0 && !adapter.draws() {
        let method = adapter.method.clone();
        return Err(OnnxError::NothingDrawn { method });
    }
    if samples > 0 && adapter.gates == GateDistribution::Weights {
        return Err(OnnxError::Weights);
    }
    let params = exchange::from_file(&backbone.resnet, adapter)?;
    let subject = Subject {
        backbone,
        adapter,
        params: &params,
        samples,
    };
    let model = subject.model();
    match model.encoded_len() {
        bytes if bytes > LIMIT => Err(OnnxError::TooLarge { bytes }),
        _ => Ok(model.encode_to_vec()),
    }
}

struct Subject<'a> {
    backbone: &'a Backbone,
    adapter: &'a Adapter,
    params: &'a AdapterParams,
    samples: usize,
}

impl Subject<'_> {
    fn model(&self) -> Model {
        let entries = self.metadata().into_iter();
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: format!(
                "A {} with a low-rank adapter; see the metadata.",
                self.backbone.resnet.architecture.name()
            ),
            graph: Some(self.graph()),
            opset_import: vec![OperatorSet {
                domain: String::new(),
                version: OPSET,
            }],
            metadata_props: entries
                .map(|(key, value)| Entry {
                    key: key.into(),
                    value,
                })
                .collect(),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let adapter = self.adapter;
        let mut entries = vec![
            ("classes", json!(adapter.classes).to_string()),
            ("resolution", adapter.resolution.to_string()),
            ("method", adapter.method.clone()),
            ("backbone_sha256", self.backbone.sha256.clone()),
            (
                "images",
                "RGB bytes: the middle square of a picture, resized to the resolution with an antialiasing bilinear \
                 filter; the graph normalises them itself"
                    .into(),
            ),
        ];
        let bits = self.backbone.bits();
        if !bits.is_full() {
            entries.push((
                "backbone_bits",
                format!(
                    "{bits}: the frozen weights are whole numbers from -127 to 127 times a scale for each output channel, \
                     written as f32"
                ),
            ));
        }
        if self.samples > 0 {
            let noise = match adapter.gates {
                GateDistribution::Bernoulli => "uniform in [0, 1)",
                _ => "standard normal; zeros give the mean weights",
            };
            entries.push(("samples", self.samples.to_string()));
            entries.push(("noise", noise.into()));
            let mut start = 0;
            let layers = self.params.layout.layers.iter().map(|layer| {
                let first = start;
                start += layer.rank();
                json!({ "layer": layer.name, "number": layer.number(), "start": first, "rank_ids": layer.rank_ids })
            });
            let layers: Vec<_> = layers.collect();
            entries.push(("noise_layers", json!(layers).to_string()));
        }
        entries
    }

    fn graph(&self) -> Graph {
        let (side, classes) = (self.adapter.resolution, self.params.layout.classes);
        let mut writer = Writer::default();
        let mut x = writer.normalised("images");
        let mut rows = vec![batch()];
        let mut inputs = vec![ValueInfo::new(
            "images",
            data_type::UINT8,
            &[batch(), size(side), size(side), size(3)],
            "RGB bytes",
        )];
        let resnet = &self.backbone.resnet;
        let places: Vec<_> = self.drawn().filter_map(|(_, layer)| layer.conv).collect();
        let cut = resnet.cut(&places);
        if self.samples > 0 {
            rows.insert(0, size(self.samples));
            let ranks = self.params.layout.total_rank();
            inputs.push(ValueInfo::new(
                "noise",
                data_type::FLOAT,
                &[size(self.samples), batch(), size(ranks)],
                "one value per sample, image and gate; see the metadata",
            ));
            self.gates(&mut writer);
        }
        let repeated = |writer: &mut Writer, x: String, here: bool| match here && self.samples > 0 {
            true => writer.repeated(&x, self.samples),
            false => x,
        };
        x = repeated(&mut writer, x, cut == Cut::Stem);
        x = self.convolution(&mut writer, 0, &x);
        x = writer.relu(&x);
        if resnet.stem == Stem::ImageNet {
            x = writer.max_pool(&x);
        }
        for (number, block) in resnet.blocks.iter().enumerate() {
            x = repeated(&mut writer, x, cut == Cut::Block(number));
            let inner = self.convolution(&mut writer, block.conv1, &x);
            let inner = writer.relu(&inner);
            let outer = self.convolution(&mut writer, block.conv2, &inner);
            let shortcut = match block.downsample {
                None => x,
                Some(place) => self.convolution(&mut writer, place, &x),
            };
            let sum = writer.node("Add", &[&outer, &shortcut], vec![]);
            x = writer.relu(&sum);
        }
        x = repeated(&mut writer, x, cut == Cut::Block(resnet.blocks.len()));
        x = writer.node("GlobalAveragePool", &[&x], vec![]);
        x = writer.node("Flatten", &[&x], vec![Attribute::int("axis", 1)]);
        self.classifier(&mut writer, &x);
        let output = |name: &str, shape: &[Extent]| {
            ValueInfo::new(name, data_type::FLOAT, shape, "see the metadata")
        };
        rows.push(size(classes));
        Graph {
            node: writer.nodes,
            name: "bayeslora".into(),
            initializer: writer.tensors,
            input: inputs,
            output: vec![
                output("logits", &rows),
                output("probabilities", &[batch(), size(classes)]),
            ],
        }
    }

    /// The layers that have ranks, with their numbers.
    fn drawn(&self) -> impl Iterator<Item = (usize, &super::LayoutLayer)> {
        let layers = self.params.layout.layers.iter().enumerate();
        layers.filter(|(_, layer)| layer.rank() > 0)
    }

    /// The gates of every layer, `[rows, rank]`, from the noise.
    fn gates(&self, writer: &mut Writer) {
        let ranks = self.params.layout.total_rank();
        let shape = writer.integers("noise.rows", &[-1, ranks as i64]);
        let noise = writer.node("Reshape", &["noise", &shape], vec![]);
        let log_alpha: Vec<f32> = self
            .drawn()
            .flat_map(|(number, _)| &self.params.state.layers[number].log_alpha)
            .copied()
            .collect();
        let per_rank = |value: fn(f32) -> f32| -> Vec<f32> {
            log_alpha
                .iter()
                .map(|log_alpha| value(*log_alpha))
                .collect()
        };
        let one = writer.floats("one", &[1], &[1.0]);
        let gates = match self.adapter.gates {
            GateDistribution::Bernoulli => {
                // z = 1 + alpha where u < 1/(1 + alpha), else 0.
                let kept = writer.floats("kept", &[ranks], &per_rank(|t| 1.0 + t.exp()));
                let zero = writer.floats("zero", &[1], &[0.0]);
                let scaled = writer.node("Mul", &[&noise, &kept], vec![]);
                let is_kept = writer.node("Less", &[&scaled, &one], vec![]);
                writer.node("Where", &[&is_kept, &kept, &zero], vec![])
            }
            _ => {
                let deviations = per_rank(|t| (0.5 * t).exp());
                let deviation = writer.floats("sqrt_alpha", &[ranks], &deviations);
                let scaled = writer.node("Mul", &[&noise, &deviation], vec![]);
                writer.node("Add", &[&scaled, &one], vec![])
            }
        };
        let sizes: Vec<i64> = self.drawn().map(|(_, layer)| layer.rank() as i64).collect();
        let names: Vec<String> = self
            .drawn()
            .map(|(_, layer)| format!("{}.gates", layer.name))
            .collect();
        let split = writer.integers("gates.split", &sizes);
        writer.nodes.push(Node {
            input: vec![gates, split],
            output: names,
            name: "gates".into(),
            op_type: "Split".into(),
            attribute: vec![Attribute::int("axis", 1)],
        });
    }

    /// A convolution with its BatchNorm and, where it is adapted, its adapter.
    fn convolution(&self, writer: &mut Writer, place: usize, x: &str) -> String {
        let spec = &self.backbone.resnet.convs[place];
        let conv = &self.backbone.convs[place];
        let adapted = self.params.layout.of_conv(place);
        let inputs = spec.in_channels * spec.kernel * spec.kernel;
        let mut weight = conv.weight.clone();
        if let (Some((number, _)), 0) = (adapted, self.samples) {
            self.add_mean(number, &mut weight);
        }
        for (row, gain) in weight.chunks_exact_mut(inputs).zip(&conv.gain) {
            row.iter_mut().for_each(|weight| *weight *= gain);
        }
        let name = &spec.name;
        let shape = [
            spec.out_channels,
            spec.in_channels,
            spec.kernel,
            spec.kernel,
        ];
        let weight = writer.floats(&format!("{name}.weight"), &shape, &weight);
        let bias = writer.floats(&format!("{name}.bias"), &shape[..1], &conv.bias);
        let y = writer.node("Conv", &[x, &weight, &bias], geometry(spec));
        let (Some((number, layer)), true) = (adapted, self.samples > 0) else {
            return y;
        };
        let (rank, values) = (layer.rank(), &self.params.state.layers[number]);
        let shape = [rank, spec.in_channels, spec.kernel, spec.kernel];
        let a = writer.floats(&format!("{name}.lora_A"), &shape, &values.lora_a);
        let mut lora_b = values.lora_b.clone();
        for (row, gain) in lora_b.chunks_exact_mut(rank).zip(&conv.gain) {
            row.iter_mut()
                .for_each(|b| *b *= gain * self.adapter.scale());
        }
        let shape = [spec.out_channels, rank, 1, 1];
        let b = writer.floats(&format!("{name}.lora_B"), &shape, &lora_b);
        let h = writer.node("Conv", &[x, &a], geometry(spec));
        let axes = writer.integers(&format!("{name}.axes"), &[2, 3]);
        let z = writer.node("Unsqueeze", &[&format!("{name}.gates"), &axes], vec![]);
        let gated = writer.node("Mul", &[&h, &z], vec![]);
        let delta = writer.node("Conv", &[&gated, &b], vec![]);
        writer.node("Add", &[&y, &delta], vec![])
    }

    /// Logits and probabilities from the features.
    fn classifier(&self, writer: &mut Writer, features: &str) {
        let (classes, width) = (self.params.layout.classes, self.params.layout.features);
        let transposed = || vec![Attribute::int("transB", 1)];
        let mut weight = self.params.state.head_weight.clone();
        let adapted = self.params.layout.of_head();
        if let (Some((number, _)), 0) = (adapted, self.samples) {
            self.add_mean(number, &mut weight);
        }
        let weight = writer.floats("fc.weight", &[classes, width], &weight);
        let bias = writer.floats("fc.bias", &[classes], &self.params.state.head_bias);
        if self.samples == 0 {
            writer.named("logits", "Gemm", &[features, &weight, &bias], transposed());
            let axis = vec![Attribute::int("axis", 1)];
            writer.named("probabilities", "Softmax", &["logits"], axis);
            return;
        }
        let mut logits = writer.node("Gemm", &[features, &weight, &bias], transposed());
        if let Some((number, layer)) = adapted {
            let (rank, values) = (layer.rank(), &self.params.state.layers[number]);
            let lora_b: Vec<f32> = values
                .lora_b
                .iter()
                .map(|b| b * self.adapter.scale())
                .collect();
            let a = writer.floats("fc.lora_A", &[rank, width], &values.lora_a);
            let b = writer.floats("fc.lora_B", &[classes, rank], &lora_b);
            let h = writer.node("Gemm", &[features, &a], transposed());
            let gated = writer.node("Mul", &[&h, "fc.gates"], vec![]);
            let delta = writer.node("Gemm", &[&gated, &b], transposed());
            logits = writer.node("Add", &[&logits, &delta], vec![]);
        }
        let shape = writer.integers("logits.shape", &[self.samples as i64, -1, classes as i64]);
        writer.named("logits", "Reshape", &[&logits, &shape], vec![]);
        let axis = vec![Attribute::int("axis", 2)];
        let each = writer.node("Softmax", &["logits"], axis);
        let over_samples = vec![Attribute::ints("axes", &[0]), Attribute::int("keepdims", 0)];
        writer.named("probabilities", "ReduceMean", &[&each], over_samples);
    }

    /// Adds s B A of a layer to the weight that it adapts.
    fn add_mean(&self, number: usize, weight: &mut [f32]) {
        let (scale, values) = (self.params.scale, &self.params.state.layers[number]);
        let rank = self.params.layout.layers[number].rank();
        add_product(weight, scale, &values.lora_b, &values.lora_a, rank);
    }
}

fn size(size: usize) -> Extent {
    Extent::DimValue(size as i64)
}

fn batch() -> Extent {
    Extent::DimParam("batch".into())
}

fn geometry(spec: &ConvSpec) -> Vec<Attribute> {
    vec![
        Attribute::ints("kernel_shape", &[spec.kernel; 2]),
        Attribute::ints("strides", &[spec.stride; 2]),
        Attribute::ints("pads", &[spec.pad; 4]),
    ]
}

/// Nodes and constants as they are added; each is named after what it is or, failing that, by its number.
#[derive(Default)]
struct Writer {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Writer {
    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.tensors.push(Tensor::floats(name, shape, values));
        name.into()
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.tensors.push(Tensor::integers(name, values));
        name.into()
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.nodes.len());
        self.named(&name, op, inputs, attributes);
        name
    }

    fn named(&mut self, name: &str, op: &str, inputs: &[&str], attribute: Vec<Attribute>) {
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![name.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
        });
    }

    /// (v/255 - mean)/deviation of bytes `[n, side, side, 3]`, as `[n, 3, side, side]`.
    fn normalised(&mut self, images: &str) -> String {
        let to = vec![Attribute::int("to", data_type::FLOAT.into())];
        let values = self.node("Cast", &[images], to);
        let order = vec![Attribute::ints("perm", &[0, 3, 1, 2])];
        let planes = self.node("Transpose", &[&values], order);
        let of_bytes = |values: [f32; 3]| values.map(|value| 255.0 * value);
        let mean = self.floats("mean", &[1, 3, 1, 1], &of_bytes(PIXEL_MEAN));
        let deviation = self.floats("deviation", &[1, 3, 1, 1], &of_bytes(PIXEL_DEVIATION));
        let centred = self.node("Sub", &[&planes, &mean], vec![]);
        self.node("Div", &[&centred, &deviation], vec![])
    }

    /// Rows one after the other, `count` times over.
    fn repeated(&mut self, x: &str, count: usize) -> String {
        let counts = self.integers("repeats", &[count as i64, 1, 1, 1]);
        self.node("Tile", &[x, &counts], vec![])
    }

    fn relu(&mut self, x: &str) -> String {
        self.node("Relu", &[x], vec![])
    }

    /// 3x3 with stride 2.
    fn max_pool(&mut self, x: &str) -> String {
        let attributes = vec![
            Attribute::ints("kernel_shape", &[3; 2]),
            Attribute::ints("strides", &[2; 2]),
            Attribute::ints("pads", &[1; 4]),
        ];
        self.node("MaxPool", &[x], attributes)
    }
}
