//! `export`: a run's adapter for other programs.

mod card;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{BackboneFile, Bundle, TensorFile};
use bayeslora::low_level::model::{BackboneBits, HEAD, onnx};
use bayeslora::low_level::predict::fitted;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::card::card;
use super::output::{self, Unkept};
use super::run::{Run, RunArgs};

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The folder to write: a new or an empty one, or one that `export` has written
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What to write, beside a card (README.md) and the names of the classes
    #[arg(long)]
    format: Format,
    /// With --format onnx: a graph that takes the noise of the gates of S samples as a second input, and not the mean
    /// weights
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A directory that PEFT loads; with the gates, which PEFT does not know, beside its own files
    Peft,
    /// A, B, gates and head as plain tensors in one file
    Safetensors,
    /// The backbone with the mean adapter added into its weights and the adapter's head, with torchvision's names
    Merged,
    /// A graph (operator set 17) with the mean weights, from RGB bytes to logits and probabilities
    Onnx,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Peft => "peft",
            Self::Safetensors => "safetensors",
            Self::Merged => "merged",
            Self::Onnx => "onnx",
        }
    }
}

pub fn run(args: &ExportArgs) -> Result<()> {
    ensure!(
        args.samples.is_none() || args.format == Format::Onnx,
        "--samples belongs to --format onnx: --format {} holds weights, from which any number of samples can be drawn; \
         leave it out",
        args.format.name()
    );
    let run = args.run.open()?;
    run.refuse_ensemble("`export`")?;
    Bundle::require_free(&args.to).context("--to")?;
    fitted(&run.backbone, &run.adapter).context("--run")?;
    let origin = origin(&run, args)?;
    let mut bundle = Bundle::default();
    let adapter = &run.adapter;
    match args.format {
        Format::Peft => {
            let mut layers = adapter.layers.iter();
            ensure!(
                layers.any(|layer| layer.rank() > 0 && layer.name != HEAD),
                "--run {}: the adapter has no rank left outside the head, and PEFT loads no adapter without a layer; \
                 export it with --format merged",
                run.dir.path().display()
            );
            bundle.put_adapter(adapter)?;
        }
        Format::Safetensors => {
            bundle.put_tensors(
                "adapter.safetensors",
                &described(adapter.tensors(), &origin),
            )?;
        }
        Format::Merged => {
            let mut backbone = BackboneFile::read(args.run.backbone(&run)).context("--backbone")?;
            let whole = BackboneBits::F32.hash_of(&run.backbone.sha256);
            ensure!(
                backbone.sha256() == whole,
                "--backbone {}: it was changed in the meantime; export again",
                run.backbone.name
            );
            // Those that the run has: of 8 bits they are rounded.
            for (spec, conv) in run.backbone.resnet.convs.iter().zip(&run.backbone.convs) {
                backbone.set_weight(&spec.name, &conv.weight);
            }
            let merged = backbone.merged(adapter).context("--run")?;
            bundle.put_tensors("model.safetensors", &described(merged, &origin))?;
        }
        Format::Onnx => {
            let samples = args.samples.unwrap_or(0);
            let graph = onnx(&run.backbone, adapter, samples);
            let graph = graph.with_context(|| match samples {
                0 => "--format onnx".to_owned(),
                _ => format!("--samples {samples} (leave it out for the mean weights)"),
            })?;
            bundle.put("model.onnx", graph);
        }
    }
    let mut results = run.dir.read_results().context("--run")?;
    if results["adapter_sha256"] != origin["adapter_sha256"] {
        // Another adapter's.
        results = Value::Null;
    }
    let card = card(&run, args.format, args.samples.unwrap_or(0), &results);
    bundle.put("README.md", card.into_bytes());
    bundle.put("classes.json", pretty(&adapter.classes)?);
    let files = bundle.names().join(", ");
    let written = bundle.write(&args.to, origin);
    written.with_context(|| Unkept("the export could not be written".into()))?;
    output::text(&format!("{}: {files}", args.to.display()))
}

/// What the files were made of, without places on this machine.
fn origin(run: &Run, args: &ExportArgs) -> Result<Value> {
    let adapter = &run.adapter;
    let mut origin = json!({
        "program": concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
        "format": args.format.name(),
        "method": adapter.method,
        "classes": adapter.classes,
        "resolution": adapter.resolution,
        "scale": adapter.scale(),
        "adapter_sha256": adapter.sha256()?,
        "backbone_sha256": run.backbone.sha256,
    });
    let bits = run.backbone.bits();
    if !bits.is_full() {
        origin["backbone_bits"] = json!(bits);
    }
    if let Some(samples) = args.samples {
        origin["samples"] = samples.into();
    }
    Ok(origin)
}

/// One entry of metadata: the order of several would be left to chance.
fn described(mut file: TensorFile, origin: &Value) -> TensorFile {
    file.metadata = [("bayeslora".to_owned(), origin.to_string())].into();
    file
}

fn pretty(classes: &[String]) -> Result<Vec<u8>> {
    Ok((serde_json::to_string_pretty(classes)? + "\n").into_bytes())
}
