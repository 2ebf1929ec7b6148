//! The card of an export: what it is, what it was trained for, how it is loaded.

use std::path::Path;

use bayeslora::low_level::formats::{Adapter, Stem, printable};
use bayeslora::low_level::model::{Backbone, BackboneBits, PIXEL_DEVIATION, PIXEL_MEAN};
use serde_json::Value;

use super::super::run::Run;
use super::Format;

/// What torchvision's networks of basic blocks have.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// Markdown; `results` are the run's scores on its test images, as far as they are known.
pub fn card(run: &Run, format: Format, samples: usize, results: &Value) -> String {
    let adapter = &run.adapter;
    let parts = [
        header(run, format),
        subject(run),
        scores(results),
        ranks(adapter),
        loading(run, format, samples),
    ];
    parts.join("\n\n") + "\n"
}

fn header(run: &Run, format: Format) -> String {
    let library = match format {
        Format::Peft => "library_name: peft\n",
        Format::Onnx => "library_name: onnx\n",
        Format::Safetensors | Format::Merged => "",
    };
    format!(
        "---\n{library}tags:\n- image-classification\n- lora\n- bayesian\n---\n\n# A {} with a low-rank adapter\n\n\
         Written by `bayeslora export --format {}` (version {}).",
        run.backbone.resnet.architecture.name(),
        format.name(),
        env!("CARGO_PKG_VERSION")
    )
}

/// What a backbone of 8 bits is.
const ROUNDED: &str = ". **Its frozen convolutions have 8 bits**: every weight is rounded to a whole number from -127 to 127 \
                       times a scale, the output channel's largest weight / 127; the adapter was trained over these weights \
                       and is for them";

/// What a merged one is.
const MERGED: &str = " They are f32: rounded weights, and the adapter added to those that it adapts. Only the answers are those \
                      of 8 bits, not the memory.";

/// Python that rounds the weights of `base` so.
const ROUND: &str = "for m in base.modules():  # to 8 bits, as the adapter was trained over\n    \
                     if isinstance(m, torch.nn.Conv2d):\n        w = m.weight.data\n        \
                     scale = (w.abs().amax((1, 2, 3), keepdim=True) / 127).clamp_min(torch.finfo(w.dtype).tiny)\n        \
                     m.weight.data = (w / scale).round() * scale\n";

fn subject(run: &Run) -> String {
    let adapter = &run.adapter;
    // The file's name alone: where it lies on one machine says nothing on another.
    let base = Path::new(&run.backbone.name).file_name();
    let base = base.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let classes: Vec<_> = adapter.classes.iter().map(|class| code(class)).collect();
    let list = |channels: [f32; 3]| channels.map(|value| value.to_string()).join(", ");
    format!(
        "| | |\n|---|---|\n\
         | base model | {}, a {}; SHA-256 of its tensors {}{} |\n\
         | input | RGB, {side} x {side}: the middle square of a picture, resized with an antialiasing bilinear filter; \
         (v/255 - mean)/deviation with mean {} and deviation {} |\n\
         | {} classes | {} |\n\
         | method | {} |\n\
         | scale | {} = lora_alpha {} / initial rank {} |",
        code(&base),
        run.backbone.resnet.architecture.name(),
        code(&BackboneBits::F32.hash_of(&run.backbone.sha256)),
        match run.backbone.bits() {
            BackboneBits::F32 => "",
            BackboneBits::Int8 => ROUNDED,
        },
        list(PIXEL_MEAN),
        list(PIXEL_DEVIATION),
        classes.len(),
        classes.join(", "),
        code(&adapter.method),
        adapter.scale(),
        adapter.lora_alpha,
        adapter.initial_rank,
        side = adapter.resolution,
    )
}

fn scores(results: &Value) -> String {
    let rows = [("mean", "mean weights"), ("samples_8", "8 samples")];
    let rows = rows.iter().filter_map(|(key, title)| {
        let scores = results.get(key)?;
        let score = |name: &str| scores.get(name).and_then(Value::as_f64);
        Some(format!(
            "| {title} | {} | {:.4} | {:.4} | {:.4} |",
            scores.get("n")?.as_u64()?,
            score("accuracy")?,
            score("nll")?,
            score("ece")?
        ))
    });
    let rows: Vec<String> = rows.collect();
    match rows.is_empty() {
        true => "## Scores\n\nNot known: the run has no results of its own.".into(),
        false => format!(
            "## Scores on the run's test images\n\n\
             | | images | accuracy | NLL (nats) | ECE |\n|---|---|---|---|---|\n{}",
            rows.join("\n")
        ),
    }
}

fn ranks(adapter: &Adapter) -> String {
    let rows = adapter.layers.iter().map(|layer| {
        let (rank, initial) = (layer.rank(), adapter.initial_rank);
        format!("| {} | {rank} of {initial} |", code(&layer.name))
    });
    let rows: Vec<String> = rows.collect();
    match rows.is_empty() {
        true => "## Ranks\n\nNone: only the head was trained.".into(),
        false => format!(
            "## Ranks\n\n| layer | rank |\n|---|---|\n{}",
            rows.join("\n")
        ),
    }
}

fn loading(run: &Run, format: Format, samples: usize) -> String {
    let adapter = &run.adapter;
    let text = match format {
        Format::Peft => format!(
            "```python\nimport peft, torch, torchvision\nfrom safetensors.torch import load_file\n\n{}\
             weights = load_file(\"backbone.safetensors\")  # the base model\n\
             base.load_state_dict({{n: t for n, t in weights.items() if not n.startswith(\"fc.\")}}, strict=False)\n{}\
             model = peft.PeftModel.from_pretrained(base, \"this folder\").eval()\n```\n\n\
             PEFT computes the mean weights (z = 1). The gates stand in `bayeslora.safetensors`, ranks and classes in \
             `bayeslora.json`; bayeslora itself reads all of it with `Adapter::load_peft`.",
            network(&run.backbone, adapter),
            if run.backbone.bits().is_full() {
                ""
            } else {
                ROUND
            }
        ),
        Format::Safetensors => format!(
            "`adapter.safetensors` holds, by the layers' names in torchvision, `.lora_A.weight` `[rank, in, k, k]`, \
             `.lora_B.weight` `[out, rank, 1, 1]` (for `fc` matrices), `.rank_ids` (the ranks' numbers before any were \
             cut) and `fc.weight`, `fc.bias`. A layer computes W x + scale B (z . A x), with scale {}, where A has the \
             stride and the padding of W.{}",
            adapter.scale(),
            gates(adapter)
        ),
        Format::Merged => format!(
            "```python\nimport torch, torchvision\nfrom safetensors.torch import load_file\n\n{}\
             base.load_state_dict(load_file(\"model.safetensors\"))\nmodel = base.eval()\n```\n\n\
             The weights are the mean ones (z = 1). bayeslora takes the file as `--backbone`.{}",
            network(&run.backbone, adapter),
            if run.backbone.bits().is_full() {
                ""
            } else {
                MERGED
            }
        ),
        Format::Onnx => graph(adapter, samples),
    };
    format!("## Loading\n\n{text}")
}

/// Python that makes an untrained network of the same shape.
fn network(backbone: &Backbone, adapter: &Adapter) -> String {
    let resnet = &backbone.resnet;
    let widths = [1, 2, 3, 4].map(|stage| {
        let name = format!("layer{stage}.0.conv1");
        let first = resnet.convs.iter().find(|spec| spec.name == name);
        first.map_or(0, |spec| spec.out_channels)
    });
    let mut text = match widths == WIDTHS {
        true => String::new(),
        false => format!(
            "# layer1 to layer4 have {widths:?} channels here, others than torchvision's: give `base` those\n"
        ),
    };
    let classes = adapter.classes.len();
    text += &format!(
        "base = torchvision.models.{}(num_classes={classes})\n",
        resnet.architecture.torchvision()
    );
    if resnet.stem == Stem::Cifar {
        text += &format!(
            "base.conv1 = torch.nn.Conv2d(3, {}, 3, padding=1, bias=False)\nbase.maxpool = torch.nn.Identity()\n",
            widths[0]
        );
    }
    text
}

/// What stands beside A and B.
fn gates(adapter: &Adapter) -> String {
    let mut text = match adapter.draws() {
        true => " `.log_alpha` is the logarithm of the variance of each gate z, whose mean is 1."
            .to_owned(),
        false => " There are no gates: z = 1.".to_owned(),
    };
    if adapter.is_mixed() {
        text += " Where there are `.gate_left` `[rank, latent]` and `.gate_right` `[latent, rank]`, the gates are latent \
                  ones, numbered by `.gate_ids`, and stand between: B left (z . right A x).";
    }
    text
}

fn graph(adapter: &Adapter, samples: usize) -> String {
    let side = adapter.resolution;
    let classes = adapter.classes.len();
    match samples {
        0 => format!(
            "```python\nimport numpy as np, onnxruntime\n\n\
             session = onnxruntime.InferenceSession(\"model.onnx\")\n\
             images = np.zeros((1, {side}, {side}, 3), np.uint8)  # RGB bytes\n\
             logits, probabilities = session.run(None, {{\"images\": images}})  # [batch, {classes}] each\n```\n\n\
             The weights are the mean ones (z = 1). Classes and resolution stand in the file's metadata too."
        ),
        _ => {
            let noise = match adapter.gates {
                bayeslora::GateDistribution::Bernoulli => "random.random",
                _ => "random.standard_normal",
            };
            format!(
                "```python\nimport numpy as np, onnxruntime\n\n\
                 session = onnxruntime.InferenceSession(\"model.onnx\")\n\
                 images = np.zeros((1, {side}, {side}, 3), np.uint8)  # RGB bytes\n\
                 random = np.random.default_rng()\n\
                 ranks = session.get_inputs()[1].shape[2]\n\
                 noise = {noise}(({samples}, len(images), ranks)).astype(np.float32)\n\
                 logits, probabilities = session.run(None, {{\"images\": images, \"noise\": noise}})\n```\n\n\
                 `logits` are those of every sample, `[{samples}, batch, {classes}]`; `probabilities` are their softmax \
                 averaged over the samples, `[batch, {classes}]`. Which gate each column of the noise belongs to stands \
                 in the file's metadata (`noise_layers`). The same noise for all images gives functions that are drawn \
                 once, as `bayeslora predict` does."
            )
        }
    }
}

/// Text that Markdown leaves as it is.
fn code(text: &str) -> String {
    let text = printable(text).replace('|', "\\|");
    let fence = if text.contains('`') { "``" } else { "`" };
    let space = if text.contains('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}
