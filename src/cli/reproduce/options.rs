//! What a study is made of, kept in `study.json` so that the directory alone is enough to go on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Digest, LOCK, Lock};
use bayeslora::low_level::study::{Scale, read_study, write_study};
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
    /// same with 20 epochs, a day or more; `small`: 200, 500 and 2,000 training images, some hours; `unfamiliar`: LoRA
    /// and BayesLoRA alone on 1,000, asked about unfamiliar images, half an hour; `smoke`: some minutes, only to see that it
    /// works [default: desk]
    #[arg(long, value_name = "paper|desk|long|small|unfamiliar|smoke", value_parser = scale)]
    scale: Option<Scale>,
    /// CIFAR-10 or another set, as `train --data` takes it [default: sample at scale smoke]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// The frozen ResNet-18 or ResNet-34: `embedded`, a file of safetensors or PyTorch (.pth), or a directory with `model.safetensors`; names of torchvision, timm or transformers [default: embedded]
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
        "unfamiliar" => Ok(Scale::Unfamiliar),
        "smoke" => Ok(Scale::Smoke),
        _ => Err("expected paper, desk, long, small, unfamiliar or smoke".into()),
    }
}

/// What the study's own sets are called.
const RESERVED: [&str; 6] = [
    "validation",
    "test",
    "known-test",
    "held-out-classes",
    "corrupted",
    "noise",
];

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
            Some((Some(name), data)) if !name.is_empty() && !data.is_empty() => {
                let plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
                if name.starts_with('.') || !name.chars().all(plain) {
                    return Err(
                        "a name has letters, digits, `-`, `_` and `.`: files are named by it"
                            .into(),
                    );
                }
                if RESERVED.contains(&name) {
                    return Err(format!(
                        "`{name}` names images of the study's own; take another name"
                    ));
                }
                Ok(Self {
                    name: name.into(),
                    data: data.into(),
                })
            }
            _ => Err("expected NAME=D, as in fashion-mnist=data/fashion".into()),
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
    /// The content of every unfamiliar set that there are predictions of, by its name.
    #[serde(default)]
    pub unfamiliar_contents: BTreeMap<String, Digest>,
}

const FILE: &str = "study.json";

impl Options {
    /// A new study's options, or those of the study in the directory, which flags may repeat but not
    /// change; only the unfamiliar sets may become others. The directory is locked.
    pub fn settle(args: &Arguments) -> Result<(Self, Lock)> {
        let file = args.out.join(FILE);
        let is_known = file.exists();
        let options = match is_known {
            true => Self::known(args, &file)?,
            false => Self::fresh(args)?,
        };
        ensure!(
            options.scale != Scale::Small || options.unfamiliar.is_empty(),
            "--unfamiliar has no place at --scale small, which asks about no other images; leave it out, or take --scale unfamiliar or desk"
        );
        for (number, one) in options.unfamiliar.iter().enumerate() {
            ensure!(
                options.unfamiliar[..number]
                    .iter()
                    .all(|other| other.name != one.name),
                "--unfamiliar {}: two sets have this name; give one of them another",
                one.name
            );
        }
        fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
        let lock = Lock::take(&args.out).context("--out")?;
        // Another place of the images is kept once they are known to be the same.
        if !is_known {
            options.keep()?;
        }
        Ok((options, lock))
    }

    /// Writes them beside the runs.
    pub fn keep(&self) -> Result<()> {
        Ok(write_study(&self.out.join(FILE), self)?)
    }

    /// Refuses to join a study of another scale, or one that has asked about other images under the same name.
    pub fn join(&mut self, other: &Path) -> Result<()> {
        let file = other.join(FILE);
        ensure!(
            file.exists(),
            "--merge {}: no study in it; expected what `reproduce --shard` has written",
            other.display()
        );
        let theirs: Self =
            read_study(&file).with_context(|| format!("--merge {}", other.display()))?;
        ensure!(
            theirs.scale == self.scale,
            "--merge {}: a study of scale {}, and this one is of scale {}",
            other.display(),
            theirs.scale.name(),
            self.scale.name()
        );
        for (name, content) in theirs.unfamiliar_contents {
            ensure!(
                self.is_known_as(&name, content),
                "--merge {}: its unfamiliar set {name} has other images than this study's",
                other.display()
            );
        }
        Ok(())
    }

    /// Refuses an unfamiliar set that is not the one that there may be predictions of.
    pub fn know(&mut self, sets: &[(String, Dataset)]) -> Result<()> {
        for (name, set) in sets {
            let content = Digest::of(&serde_json::to_vec(&set.listed())?);
            ensure!(
                self.is_known_as(name, content),
                "--unfamiliar {name}: these are not the images that the study has asked about under this name; give \
                 them another name"
            );
        }
        Ok(())
    }

    /// Whether the unfamiliar set of this name has this content; a new name takes it.
    fn is_known_as(&mut self, name: &str, content: Digest) -> bool {
        let known = self.unfamiliar_contents.entry(name.to_owned());
        *known.or_insert(content) == content
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
            "--scale paper needs --backbone F, torchvision's ResNet-18 (IMAGENET1K_V1), as .pth or safetensors: \
             the embedded one is for 64 pixels"
        );
        Ok(Self {
            out: args.out.clone(),
            scale,
            data: absolute(&data)?,
            backbone: match &args.backbone {
                Some(backbone) => absolute(backbone)?,
                None => "embedded".into(),
            },
            unfamiliar: all_absolute(&args.unfamiliar)?,
            unfamiliar_contents: BTreeMap::new(),
        })
    }

    fn known(args: &Arguments, file: &Path) -> Result<Self> {
        let mut options: Self = read_study(file)?;
        options.out = args.out.clone();
        if let Some(given) = args.scale
            && given != options.scale
        {
            bail!(
                "--scale is {}, the study in {} was started with {}; leave it out to go on",
                given.name(),
                args.out.display(),
                options.scale.name()
            );
        }
        // They may have moved: what the runs have recorded tells whether they are the same.
        if let Some(data) = &args.data {
            options.data = absolute(data)?;
        }
        if let Some(backbone) = &args.backbone {
            options.backbone = absolute(backbone)?;
        }
        if !args.unfamiliar.is_empty() {
            options.unfamiliar = all_absolute(&args.unfamiliar)?;
        }
        Ok(options)
    }
}

/// The same from any directory; words stay.
fn absolute(place: &Location) -> Result<Location> {
    match *place == *"sample" || *place == *"embedded" {
        true => Ok(place.clone()),
        false => Ok(place.absolute()?),
    }
}

fn all_absolute(sets: &[Named]) -> Result<Vec<Named>> {
    let set = |named: &Named| {
        Ok(Named {
            name: named.name.clone(),
            data: absolute(&named.data)?,
        })
    };
    sets.iter().map(set).collect()
}
