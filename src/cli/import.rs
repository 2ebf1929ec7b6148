//! `import`: a PEFT adapter of another program as a run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::formats::{Adapter, FormatError, Head, RunDir, printable, read_regular};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::predict::{as_trained, fitted};
use bayeslora::low_level::train::{Method, TrainConfig, initial_head};
use clap::Args;

use super::context;
use super::location::Location;
use super::output::{self, Unkept};
use super::train_options::{Inputs, config_text, name};

/// Bytes that a file of class names may have.
const CLASSES_LIMIT: u64 = 1 << 20;

#[derive(Args)]
pub struct ImportArgs {
    /// The directory that PEFT's `save_pretrained` wrote: LoRA on convolutions and the classifier of a ResNet
    #[arg(long, value_name = "DIR")]
    peft: PathBuf,
    /// The base model that it was trained on, a file of safetensors or PyTorch, or `embedded`. Its classifier is used if the
    /// adapter was saved without one
    #[arg(long, value_name = "F")]
    backbone: Location,
    /// The names of the classes in the order of the outputs, one per line or a JSON list. If the adapter was saved without a
    /// classifier and the base model has none for so many classes, the run gets an untrained one, for `train --from` to train
    /// [default: those that the adapter knows, else numbers]
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
    let names = args.classes.as_deref().map(class_names).transpose()?;
    let loaded = context::backbone(&args.backbone)?;
    let base = classifier(&loaded, names.as_deref());
    let adapter = Adapter::load_peft_over(&args.peft, base.as_ref());
    let mut adapter = adapter.map_err(|error| {
        let is_headless = matches!(&error, FormatError::Value { item, found, .. }
            if item == "modules_to_save" && found == "empty");
        let option = match is_headless {
            true => "--peft: without a classifier of its own it takes that of --backbone, which has none; --classes names \
                     the classes of one that is still to be trained, and `train --from` trains one at once",
            false => "--peft",
        };
        anyhow::Error::from(error).context(option)
    })?;
    if let Some(names) = names {
        let (count, classes) = (names.len(), adapter.head.classes);
        ensure!(
            count == classes,
            "--classes: {count} names, and the adapter's classifier has {classes} outputs; give a name for each"
        );
        adapter.classes = names;
    }
    adapter.resolution = resolution(&adapter, args)?;
    // One of this program may have been trained over weights of 8 bits.
    let backbone = as_trained(&loaded, &adapter);
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
        backbone_bits: backbone.bits(),
        ..TrainConfig::default()
    };
    let text = config_text(&inputs.absolute()?, &config)?;
    RunDir::create(&args.out, &text, |run| run.write_adapter(&adapter))
        .with_context(|| Unkept("the run could not be written".into()))?;
    let out = args.out.display();
    let is_base = base.as_ref() == Some(&adapter.head);
    let head = match adapter.head.trained {
        true => format!(
            "{}`predict`, `eval` and `export` take it as --run, and `prune` too",
            match is_base {
                true => "the classifier is that of --backbone; ",
                false => "",
            }
        ),
        false => format!(
            "its head is UNTRAINED, as neither the adapter nor --backbone has one for these classes, and no command asks it \
             for answers: `train --from {out} --data D --out RUN` goes on from it"
        ),
    };
    let ranks: usize = adapter.layers.iter().map(|layer| layer.rank()).sum();
    output::text(&format!(
        "{out}: {ranks} ranks in {} layers, {} classes at {side} x {side}; {head}",
        adapter.layers.len(),
        adapter.classes.len(),
        side = adapter.resolution
    ))
}

/// The seed of a head that is still to be trained.
const HEAD_SEED: u64 = 0;

/// The classifier of an adapter that was saved without one: that of the backbone or, where another number of classes is
/// named than it tells apart, one that is still to be trained.
fn classifier(backbone: &Backbone, names: Option<&[String]>) -> Option<Head> {
    let own = context::classifier(backbone);
    let Some(names) = names else { return own };
    let own = own.filter(|own| own.classes == names.len());
    let untrained = || initial_head(names.len(), backbone.resnet.features(), HEAD_SEED);
    Some(own.unwrap_or_else(untrained))
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

/// The names in a file.
fn class_names(file: &Path) -> Result<Vec<String>> {
    let shown = printable(file.display());
    let bytes = read_regular(file, CLASSES_LIMIT).with_context(|| format!("--classes {shown}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("--classes {shown}"))?;
    let names: Vec<String> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text)
            .with_context(|| format!("--classes {shown}: not a JSON list of names"))?,
        false => text.lines().map(|line| line.trim().to_owned()).collect(),
    };
    ensure!(
        names.len() > 1,
        "--classes {shown}: {} names; a classifier tells at least 2 classes apart",
        names.len()
    );
    let empty = names.iter().position(String::is_empty);
    if let Some(line) = empty {
        bail!(
            "--classes {shown}: the name of class {line} is empty; write one name per line and no empty lines"
        );
    }
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(
            "--classes {shown}: {:?} is there twice; give each class a name of its own",
            pair[0]
        );
    }
    Ok(names)
}
