//! What a study is made of, kept in `study.json` so that the directory alone is enough to go on.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::formats::{LOCK, Lock, write_atomic};
use bayeslora::study::Scale;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap_lex::OsStrExt as _;
use serde::{Deserialize, Serialize};

use crate::cli::location::Location;

#[derive(Args)]
pub struct Arguments {
    /// The directory to write; an unfinished study in it is continued
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// `paper`: 224 pixels, 40 epochs, for a GPU; `desk`: 10,000 training images, some hours on two cores; `long`: the
    /// same with 20 epochs, a day or more; `small`: 200, 500 and 2,000 training images, about an hour; `smoke`: some
    /// minutes, only to see that it works [default: desk]
    #[arg(long, value_name = "paper|desk|long|small|smoke", value_parser = scale)]
    scale: Option<Scale>,
    /// CIFAR-10 or another set, as `train --data` takes it [default: sample at scale smoke]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// The frozen ResNet-18: `embedded`, or a safetensors file with torchvision's or timm's names [default: embedded]
    #[arg(long, value_name = "F")]
    backbone: Option<Location>,
    /// Images unlike the training images, with a name for them, such as `fashion-mnist=D`; may be repeated
    #[arg(long, value_name = "NAME=D", value_parser = OsStringValueParser::new().try_map(Named::parse))]
    unfamiliar: Vec<Named>,
}

fn scale(text: &str) -> Result<Scale, String> {
    match text {
        "paper" => Ok(Scale::Paper),
        "desk" => Ok(Scale::Desk),
        "long" => Ok(Scale::Long),
        "small" => Ok(Scale::Small),
        "smoke" => Ok(Scale::Smoke),
        _ => Err("expected paper, desk, long, small or smoke".into()),
    }
}

/// A set of images with a name for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub data: Location,
}

impl Named {
    fn parse(text: OsString) -> Result<Self, String> {
        match text
            .split_once("=")
            .map(|(name, data)| (name.to_str(), data))
        {
            Some((Some(name), data)) if !name.is_empty() && !data.is_empty() => Ok(Self {
                name: name.into(),
                data: data.into(),
            }),
            _ => Err("expected NAME=D, as in fashion-mnist=data/fashion".into()),
        }
    }
}

/// One of n jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: usize,
    count: usize,
}

impl Shard {
    pub const ALL: Self = Self { index: 0, count: 1 };

    pub fn has(self, job: usize) -> bool {
        job % self.count == self.index
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self {
                index: index - 1,
                count,
            }),
            _ => Err("expected i/n with i from 1 to n, as in 2/4".into()),
        }
    }
}

/// The study's options, settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    #[serde(skip)]
    pub out: PathBuf,
    pub scale: Scale,
    pub data: Location,
    pub backbone: Location,
    pub unfamiliar: Vec<Named>,
}

const FILE: &str = "study.json";

impl Options {
    /// A new study's options, or those of the study in the directory, which flags may repeat but not
    /// change; only the unfamiliar sets may become others. The directory is locked.
    pub fn settle(args: &Arguments) -> Result<(Self, Lock)> {
        let file = args.out.join(FILE);
        let options = match file.exists() {
            true => Self::known(args, &file)?,
            false => Self::fresh(args)?,
        };
        ensure!(
            options.scale != Scale::Small || options.unfamiliar.is_empty(),
            "--unfamiliar has no place at --scale small, which asks about no other images; leave it out, or take --scale desk"
        );
        fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
        let lock = Lock::take(&args.out).context("--out")?;
        let text = serde_json::to_string_pretty(&options)? + "\n";
        write_atomic(&file, text.as_bytes())?;
        Ok((options, lock))
    }

    fn fresh(args: &Arguments) -> Result<Self> {
        let names = fs::read_dir(&args.out).into_iter().flatten().flatten();
        // An interrupted start may have left these.
        let ours = [LOCK, "study.json.partial"];
        let filled = names
            .map(|entry| entry.file_name())
            .any(|name| !ours.iter().any(|our| name == *our));
        ensure!(
            !filled,
            "--out {} holds something else than a study; give another directory",
            args.out.display()
        );
        let scale = args.scale.unwrap_or(Scale::Desk);
        let data = match (&args.data, scale) {
            (Some(data), _) => data.clone(),
            (None, Scale::Smoke) => "sample".into(),
            (None, _) => bail!(
                "--data is missing: a directory with CIFAR-10 in its binary layout, or another set"
            ),
        };
        ensure!(
            scale != Scale::Paper || args.backbone.is_some(),
            "--scale paper needs --backbone F, torchvision's ResNet-18 (IMAGENET1K_V1) in safetensors: \
             the embedded one is for 64 pixels"
        );
        Ok(Self {
            out: args.out.clone(),
            scale,
            data,
            backbone: args.backbone.clone().unwrap_or_else(|| "embedded".into()),
            unfamiliar: args.unfamiliar.clone(),
        })
    }

    fn known(args: &Arguments, file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut options: Self =
            serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        options.out = args.out.clone();
        let scale = args.scale.map(|scale| scale.name().into());
        let pairs = [
            ("scale", scale, &options.scale.name().into()),
            ("data", args.data.clone(), &options.data),
            ("backbone", args.backbone.clone(), &options.backbone),
        ];
        for (option, given, kept) in pairs {
            if let Some(given) = given
                && given != *kept
            {
                bail!(
                    "--{option} is {given}, the study in {} was started with {kept}; leave it out to \
                     go on",
                    args.out.display()
                );
            }
        }
        if !args.unfamiliar.is_empty() {
            options.unfamiliar = args.unfamiliar.clone();
        }
        Ok(options)
    }
}
