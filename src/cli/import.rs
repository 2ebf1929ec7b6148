//! `import`: a PEFT adapter of another program as a run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::formats::{Adapter, FormatError, Head, RunDir, printable, read_regular};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::predict::fitted;
use bayeslora::low_level::train::{Method, TrainConfig};
use clap::Args;

use super::context;
use super::location::Location;
use super::output::{self, Unkept};
use super::train_options::{Inputs, config_text, name};

/// Bytes that a file of class names may have.
const CLASSES_LIMIT: u64 = 1 << 20;

#[derive(Args)]
pub struct ImportArgs {
    /// The directory that PEFT's `save_pretrained` wrote: LoRA on convolutions and `fc` of a ResNet
    #[arg(long, value_name = "DIR")]
    peft: PathBuf,
    /// The base model that it was trained on, a file of safetensors or PyTorch, or `embedded`. Its classifier is the adapter's where the
    /// adapter was saved without one
    #[arg(long, value_name = "F")]
    backbone: Location,
    /// The names of the classes in the order of the outputs, one per line or a JSON list [default: those that the adapter
    /// knows, else numbers]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Side of the images that the adapter was trained on, in pixels; PEFT does not say it, an adapter of this program does
    #[arg(long, value_name = "PIXELS")]
    resolution: Option<usize>,
    /// The run directory to write
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

pub fn run(args: &ImportArgs) -> Result<()> {
    RunDir::require_new(&args.out).context("--out")?;
    let backbone = context::backbone(&args.backbone)?;
    let base = head(&backbone);
    let adapter = Adapter::load_peft_over(&args.peft, base.as_ref());
    let mut adapter = adapter.map_err(|error| {
        let is_headless = matches!(&error, FormatError::Value { item, found, .. }
            if item == "modules_to_save" && found == "empty");
        let option = match is_headless && base.is_none() {
            true => "--peft: without a classifier of its own it takes that of --backbone, which has none; \
                     `train --from` trains one",
            false => "--peft",
        };
        anyhow::Error::from(error).context(option)
    })?;
    name_classes(&mut adapter, args.classes.as_deref())?;
    adapter.resolution = resolution(&adapter, args)?;
    fitted(&backbone, &adapter).context("--peft")?;
    context::warn_of_unknown_backbone(&adapter, &backbone);
    // From now on it is this one.
    adapter.backbone_sha256 = backbone.sha256.clone();
    let inputs = Inputs {
        backbone: args.backbone.clone(),
        ..Inputs::default()
    };
    let method = name::<Method>(&adapter.method);
    let config = TrainConfig {
        method: method.with_context(|| format!("--peft {}", args.peft.display()))?,
        resolution: adapter.resolution,
        rank: adapter.initial_rank,
        lora_alpha: Some(adapter.lora_alpha.into()),
        targets: adapter
            .layers
            .iter()
            .map(|layer| layer.name.clone())
            .collect(),
        seed: adapter.seed,
        ..TrainConfig::default()
    };
    let text = config_text(&inputs.absolute()?, &config)?;
    RunDir::create(&args.out, &text, |run| run.write_adapter(&adapter))
        .with_context(|| Unkept("the run could not be written".into()))?;
    let ranks: usize = adapter.layers.iter().map(|layer| layer.rank()).sum();
    output::text(&format!(
        "{}: {ranks} ranks in {} layers, {} classes at {side} x {side}; `predict`, `eval` and `export` take it as --run, \
         and `prune` too",
        args.out.display(),
        adapter.layers.len(),
        adapter.classes.len(),
        side = adapter.resolution
    ))
}

/// The classifier that a backbone came with.
fn head(backbone: &Backbone) -> Option<Head> {
    let (weight, bias) = backbone.fc.clone()?;
    Some(Head {
        classes: bias.len(),
        features: backbone.resnet.features(),
        weight,
        bias,
    })
}

fn resolution(adapter: &Adapter, args: &ImportArgs) -> Result<usize> {
    let known = adapter.resolution;
    match args.resolution {
        Some(given) => {
            ensure!(
                known == 0 || known == given,
                "--resolution {given}: the adapter was trained at {known}; leave it out"
            );
            Ok(given)
        }
        None if known > 0 => Ok(known),
        None => bail!(
            "--resolution is missing: {} does not say at which size of images the adapter was trained (torchvision's \
             models usually at 224), and at another size its answers are worse",
            args.peft.display()
        ),
    }
}

/// Replaces the names of the classes by those in a file.
fn name_classes(adapter: &mut Adapter, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let shown = printable(file.display());
    let bytes = read_regular(file, CLASSES_LIMIT).with_context(|| format!("--classes {shown}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("--classes {shown}"))?;
    let names: Vec<String> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text)
            .with_context(|| format!("--classes {shown}: not a JSON list of names"))?,
        false => text.lines().map(|line| line.trim().to_owned()).collect(),
    };
    let empty = names.iter().position(String::is_empty);
    if let Some(line) = empty {
        bail!(
            "--classes {shown}: the name of class {line} is empty; write one name per line and no empty lines"
        );
    }
    let classes = adapter.head.classes;
    ensure!(
        names.len() == classes,
        "--classes {shown}: {} names, and the adapter's classifier has {classes} outputs; give a name for each",
        names.len()
    );
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(
            "--classes {shown}: {:?} is there twice; give each class a name of its own",
            pair[0]
        );
    }
    adapter.classes = names;
    Ok(())
}
