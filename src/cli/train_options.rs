//! The options of `train`, as flags and as the keys of config.toml.

use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use bayeslora::low_level::data::{self, OpenOptions, Splits};
use bayeslora::low_level::model::BackboneBits;
use bayeslora::low_level::ranges;
use bayeslora::low_level::train::kl::{KlMultiplicity, KlPrior};
use bayeslora::low_level::train::{
    AUTO_RANK, Augment, ClassWeights, Gates, LrSchedule, Method, PruneGauge, Sampler, Span,
    TrainConfig,
};
use clap::{Args, Command};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::location::Location;
use super::run_images::apart;

/// Every option that config.toml also holds; options that are not given are not serialised.
#[derive(Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// The images: `sample`, a directory in CIFAR-10's or CIFAR-100's binary layout or with MNIST's IDX files, or a
    /// folder of class folders
    #[arg(long, value_name = "D")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Location>,
    /// The frozen ResNet-18 or ResNet-34: `embedded`, a file of safetensors or PyTorch (.pth), or a directory with `model.safetensors`; names of torchvision, timm or transformers [default: embedded]
    #[arg(long, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone: Option<Location>,
    /// Bits of each weight of the frozen convolutions in GPU memory: 8 rounds them to integers with one scale an output
    /// channel, in a quarter of the memory; adapters and head are trained on top in f32 [default: 32]
    #[arg(long, value_name = "8|32")]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone_bits: Option<BackboneBits>,
    /// What to train: plain adapters (lora), adapters with Gaussian gates (bayeslora), with ranks dropped at random
    /// (mc-dropout), several plain ones whose predictions are averaged (ensemble), or, as an ablation, adapters with noise
    /// on every weight as in the code of the paper's authors (weight-noise) [default: bayeslora]
    #[arg(long, value_parser = name::<Method>)]
    #[arg(value_name = "lora|bayeslora|mc-dropout|ensemble|weight-noise")]
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    /// Side of the network's input in pixels [default: 64; 224 if the backbone has ImageNet's stem and is not the embedded one]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<usize>,
    /// Passes over the training images [default: 40 for up to 300 of them, 24 for up to 1,000, 12 for up to 5,000, else 5]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<usize>,
    /// Stop after N epochs without a new lowest validation NLL, taken at the temperature that suits these images best, and
    /// keep the adapter of the best epoch; learning rates still fall as for all --epochs [default: off]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<usize>,
    /// Images per step [default: 32 for fewer than 5,000 training images, 64 for fewer than 20,000, else 128]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<usize>,
    /// Learning rate of A, B and the head [default: 0.002]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr: Option<f64>,
    /// Learning rate of log alpha [default: 24 / steps, so that it can cross its range]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_log_alpha: Option<f64>,
    /// How learning rates change over the run [default: cosine]
    #[arg(long, value_parser = name::<LrSchedule>, value_name = "cosine|constant")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_schedule: Option<LrSchedule>,
    /// Weight decay of A and B [default: 0.01]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_decay: Option<f64>,
    /// Ranks of every adapter at the start; `auto` starts with 32, or N, and at every prune cuts those with the least
    /// evidence, as many as let the tempered validation NLL rise by at most .002 nats, one standard error included; 0, with
    /// --method lora, trains the head alone [default: 8]
    #[arg(long, value_name = "RANK|auto[:N]")]
    #[serde(flatten)]
    rank: Option<StartRank>,
    /// Adapters are scaled by this divided by --rank, however many ranks are pruned [default: twice the rank; with --rank auto:N 2 sqrt(8 N)]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lora_alpha: Option<f64>,
    /// Layers to adapt: names, stages or globs, separated by commas [default: layer3,layer4]
    #[arg(long, value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<String>>,
    /// Probability with which mc-dropout drops a rank [default: 0.1]
    #[arg(long, value_name = "P")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,
    /// Number of adapters in an ensemble [default: 5]
    #[arg(long, value_name = "K")]
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<usize>,
    /// Prior of the gates: log-uniform with Molchanov's approximation (molchanov), empirical Bayes (eb), or a fixed Gaussian;
    /// weight-noise allows only molchanov [default: molchanov]
    #[arg(long, value_name = "molchanov|eb|gaussian[:VARIANCE]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_prior: Option<KlPrior>,
    /// Weight of the KL; values other than 1 temper the posterior [default: 1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_scale: Option<f64>,
    /// Weight of a rank's KL (kappa): 1 (unit), its number of parameters (params), or NUMBER times that
    /// [default: 5e-7 per training image, at least 0.001]
    #[arg(long, value_name = "unit|params|NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_multiplicity: Option<KlMultiplicity>,
    /// Train without KL for this many epochs (3), or this fraction of the run (0.1) [default: 0.1]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kl_freeze: Option<Span>,
    /// Then raise the KL's weight over this many epochs or this fraction [default: 0.2]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_warmup: Option<Span>,
    /// Keep gates at 1 for this many epochs or this fraction [default: 0.1]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_warmup: Option<Span>,
    /// When to cut ranks first, at the end of an epoch [default: 0.5; with --rank auto, 1 (epoch)]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_from: Option<Span>,
    /// How often to cut from then on, though not after the last epoch [default: 0.1; with --rank auto, 0.2]
    #[arg(long, value_name = "SPAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_every: Option<Span>,
    /// The basis in which ranks are cut: svd and evidence turn them into it before each cut, and set alpha anew there from
    /// training images [default: none; with --rank auto, evidence]
    #[arg(long, value_parser = name::<PruneGauge>, value_name = "none|svd|evidence")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_gauge: Option<PruneGauge>,
    /// Cut ranks with log alpha at or above this; cannot be used with --rank auto [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    /// Ranks that every layer keeps at least [default: 0]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_rank: Option<usize>,
    /// One gate draw per example, or one for the batch, as always with weight-noise [default: per-example]
    #[arg(long, value_parser = name::<Gates>, value_name = "per-example|shared")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gates: Option<Gates>,
    /// Share of the training images set aside for validation, 0 for none [default: 0.1]
    #[arg(long, value_name = "FRACTION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<f64>,
    /// Seed of the validation split, so that several seeds can share one split [default: the seed]
    #[arg(long, value_name = "SEED")]
    #[serde(skip_serializing_if = "Option::is_none")]
    split_seed: Option<u64>,
    /// Leave these classes out of training and test, for instance to test on them later as unfamiliar images
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_out_classes: Option<Vec<String>>,
    /// Use only N training images, the same number of each class
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_train: Option<usize>,
    /// Use only N test images
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_test: Option<usize>,
    /// Random views of the training images [default: flip]
    #[arg(long, value_parser = name::<Augment>, value_name = "none|flip|standard")]
    #[serde(skip_serializing_if = "Option::is_none")]
    augment: Option<Augment>,
    /// Weights of the classes in the loss: every image counts alike (none), every class counts alike (balanced), or in between,
    /// by the effective number of images (effective) [default: none]
    #[arg(long, value_parser = name::<ClassWeights>, value_name = "none|balanced|effective")]
    #[serde(skip_serializing_if = "Option::is_none")]
    class_weights: Option<ClassWeights>,
    /// Which images an epoch has: every image once (shuffled), or as many of each class as of any other, those of classes with
    /// few several times (balanced, instead of --class-weights); it has as many as there are training images, whichever way
    /// [default: shuffled]
    #[arg(long, value_parser = name::<Sampler>, value_name = "shuffled|balanced")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<Sampler>,
    /// Host memory for the frozen layers' features that do not fit on the GPU, such as 500MB or 2GiB; 0 turns
    /// the cache off, on the GPU too [default: 2GiB]
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_cache: Option<u64>,
    /// GPU memory for the images, as cached features or else as bytes; sets that do not fit are uploaded batch
    /// by batch [default: 2GiB]
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_images: Option<u64>,
    /// Host memory for a folder's images; larger folders are decoded again every epoch [default: half of
    /// what is free]
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    host_memory: Option<u64>,
    /// Seed of initial values, the order of images, augmentation and gates [default: 1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Leave out images that cannot be decoded instead of stopping: damaged or truncated ones, and those of more than
    /// 120 million pixels or 256 MiB
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skip_bad_images: bool,
}

/// `8`, `auto` or `auto:16`, as two keys of config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StartRank {
    rank: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auto_rank: bool,
}

impl FromStr for StartRank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match ranges::of("rank") {
            Some(range) => range.whole::<usize>(text),
            None => text.parse().map_err(|error| format!("{error}")),
        };
        let (rank, auto_rank) = match (text, text.strip_prefix("auto:")) {
            ("auto", _) => (AUTO_RANK, true),
            (_, Some(start)) => (number(start)?, true),
            _ => (number(text)?, false),
        };
        Ok(Self { rank, auto_rank })
    }
}

/// Reads a value by the name that config files use.
pub fn name<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, NameError> {
    let deserializer: StrDeserializer<NameError> = text.into_deserializer();
    T::deserialize(deserializer)
}

fn bytes(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>();
    size.map(|size| size.as_u64())
        .map_err(|_| "not a size; write bytes, or a number with a unit, as in 500MB or 2GiB".into())
}

/// What a run reads, beside how it trains; both make up config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Inputs {
    pub data: Location,
    pub backbone: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out_classes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_test: Option<usize>,
    pub skip_bad_images: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_memory: Option<u64>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            data: Location::default(),
            backbone: "embedded".into(),
            hold_out_classes: None,
            limit_train: None,
            limit_test: None,
            skip_bad_images: false,
            host_memory: None,
        }
    }
}

impl Inputs {
    const KEYS: [&str; 7] = [
        "data",
        "backbone",
        "hold-out-classes",
        "limit-train",
        "limit-test",
        "skip-bad-images",
        "host-memory",
    ];

    /// With absolute paths, which name the same from any directory.
    pub fn absolute(mut self) -> Result<Self> {
        for (place, word) in [(&mut self.data, "sample"), (&mut self.backbone, "embedded")] {
            if !place.is_empty() && *place != *word {
                *place = place.absolute()?;
            }
        }
        Ok(self)
    }

    /// Opens the images, at the size that folders are resized to. Test images that are copies of training images are
    /// left out.
    pub fn open(&self, side: usize, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Splits> {
        let options = OpenOptions {
            side,
            skip_bad_images: self.skip_bad_images,
            limit_train: self.limit_train,
            limit_test: self.limit_test,
            host_memory: self.host_memory,
            progress: Some(progress),
        };
        let mut splits =
            data::open(&self.data, &options).with_context(|| format!("--data {}", self.data))?;
        if let Some(names) = &self.hold_out_classes {
            for set in [&mut splits.train, &mut splits.test] {
                let (_, kept) = set.part_classes(names).context("--hold-out-classes")?;
                *set = kept;
            }
        }
        splits.test = apart(splits.test, &splits.train, "--data", "test")?;
        Ok(splits)
    }
}

/// Reads TOML; an error quotes no line longer than a screen is wide.
pub fn parse_table(text: &str) -> Result<Table> {
    const LONGEST: usize = 200;
    text.parse().map_err(|error: toml::de::Error| {
        let whole = error.to_string();
        let place = whole.lines().next().unwrap_or_default();
        match whole.lines().any(|line| line.len() > LONGEST) {
            true => anyhow!("{place}: {}", error.message()),
            false => error.into(),
        }
    })
}

/// Splits the table of a config file into what a run reads and how it trains.
pub fn parse_config(mut table: Table, source: &str) -> Result<(Inputs, TrainConfig)> {
    refuse_unknown(&table, source)?;
    if let Some(Value::String(text)) = table.get("rank") {
        let rank: StartRank = text
            .parse()
            .map_err(|error| anyhow!("{source}: rank is {text:?}: {error}"))?;
        table.extend(Table::try_from(rank)?);
    }
    let mut inputs = Table::new();
    for key in Inputs::KEYS {
        inputs.extend(table.remove_entry(key));
    }
    let inputs = inputs.try_into().with_context(|| source.to_owned())?;
    Ok((inputs, table.try_into().with_context(|| source.to_owned())?))
}

/// Keys are the long names of the options, and what else a run keeps.
fn refuse_unknown(table: &Table, source: &str) -> Result<()> {
    let options = Options::augment_args(Command::new("train"));
    let kept = Table::try_from(TrainConfig::default())?;
    let options = options
        .get_arguments()
        .filter_map(|option| option.get_long());
    let known: Vec<_> = options
        .chain(Inputs::KEYS)
        .chain(["auto-rank"])
        .chain(kept.keys().map(String::as_str))
        .collect();
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => bail!(
            "{source}: there is no option `{key}`; the nearest is `{}`",
            data::nearest(key, &known).unwrap_or_default()
        ),
    }
}

/// The text of config.toml.
pub fn config_text(inputs: &Inputs, config: &TrainConfig) -> Result<String> {
    let mut table = Table::try_from(inputs)?;
    table.extend(Table::try_from(config)?);
    Ok(toml::to_string_pretty(&table)?)
}
