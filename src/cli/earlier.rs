//! `train --from`: the adapter that a run begins with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::data::reuse::shared;
use bayeslora::low_level::formats::{Adapter, DataManifest, FormatError, RunDir, printable};
use bayeslora::low_level::model::{Backbone, BackboneBits};
use bayeslora::low_level::predict::fitted;
use bayeslora::low_level::train::{TrainConfig, Trainer, initial_head};
use toml::{Table, Value};

use super::context;
use super::location::Location;
use super::output;

/// What the adapter says, so that options cannot.
const ITS_OWN: [&str; 4] = ["rank", "auto-rank", "lora-alpha", "targets"];

/// What a new run takes over from the options of the one before, unless it is told otherwise: the backbone, and the split,
/// so that images set aside before stay so.
const TAKEN_OVER: [&str; 4] = ["backbone", "resolution", "split-seed", "validation"];

/// An adapter to begin with.
pub struct Earlier {
    path: PathBuf,
    /// And not a PEFT directory.
    is_run: bool,
    adapter: Adapter,
    /// What it was trained on, where that was recorded.
    data: Option<DataManifest>,
}

impl Earlier {
    /// Opens a run's adapter or a PEFT directory, and puts what follows from it into the table of options.
    pub fn open(path: &Path, options: &mut Table) -> Result<Self> {
        let option = || format!("--from {}", path.display());
        if let Some(key) = ITS_OWN.iter().find(|key| options.contains_key(**key)) {
            let key = key.trim_start_matches("auto-");
            bail!(
                "--{key} cannot be used with --from: layers, ranks and scale are those of the adapter in {}; leave it out",
                path.display()
            );
        }
        let is_run = path.join("config.toml").exists();
        let (mut adapter, before, data) = match is_run {
            true => {
                let run = RunDir::open(path).with_context(option)?;
                let before: Table = run.read_config()?.parse().with_context(option)?;
                let is_ensemble = before.get("method").and_then(Value::as_str) == Some("ensemble");
                ensure!(
                    !is_ensemble,
                    "--from {}: an ensemble; take one of its members, such as {}",
                    path.display(),
                    run.member_dir(0).display()
                );
                let data = run.read_data().with_context(option)?;
                (run.read_adapter(0).with_context(option)?, before, data)
            }
            false => {
                let backbone = options.get("backbone").cloned();
                let backbone = backbone.map(Value::try_into::<Location>).transpose()?;
                let adapter = open_peft(path, &backbone.unwrap_or("embedded".into()));
                (adapter.with_context(option)?, Table::new(), None)
            }
        };
        ensure!(
            !adapter.layers.is_empty(),
            "--from {}: it has no adapted layer to go on with",
            path.display()
        );
        for key in TAKEN_OVER {
            if let (Some(value), false) = (before.get(key), options.contains_key(key)) {
                options.insert(key.into(), value.clone());
            }
        }
        let bits = BackboneBits::of_hash(&adapter.backbone_sha256);
        if !bits.is_full() && !options.contains_key("backbone-bits") {
            options.insert("backbone-bits".into(), Value::try_from(bits)?);
        }
        if adapter.resolution > 0 && !options.contains_key("resolution") {
            options.insert("resolution".into(), (adapter.resolution as i64).into());
        }
        // One of another program goes on at the resolution that is trained at.
        let resolution = options.get("resolution").and_then(Value::as_integer);
        adapter.resolution = match resolution {
            Some(resolution) => resolution as usize,
            None => TrainConfig::default().resolution,
        };
        give_method(&adapter, path, options)?;
        let layers = adapter.layers.iter().map(|layer| layer.name.clone());
        let targets: Vec<Value> = layers.map(Value::from).collect();
        options.insert("targets".into(), targets.into());
        options.insert("rank".into(), (adapter.initial_rank as i64).into());
        options.insert("lora-alpha".into(), f64::from(adapter.lora_alpha).into());
        Ok(Self {
            path: path.to_owned(),
            is_run,
            adapter,
            data,
        })
    }

    /// What the run that it is of was trained on.
    pub fn record_of(&self) -> Option<&DataManifest> {
        self.data.as_ref()
    }

    /// Refuses another backbone than the one it was trained on.
    pub fn check(&self, backbone: &Backbone) -> Result<()> {
        fitted(backbone, &self.adapter)
            .with_context(|| format!("--from {}", self.path.display()))?;
        context::warn_of_unknown_backbone(&self.adapter, backbone);
        Ok(())
    }

    /// Notes in the record of a new run what the adapter has seen, and refuses to score it on what it was trained on.
    pub fn record(&self, new: &mut DataManifest) -> Result<()> {
        let path = self.path.display();
        let Some(seen) = &self.data else {
            output::note(&format!(
                "warning: --from {path}: nothing says which images it was trained on; if some of them are held out here, its \
                 scores on these are too good"
            ));
            return Ok(());
        };
        let trained = || [&seen.train].into_iter().chain(&seen.before);
        for (part, count) in [
            ("validation", shared(&new.validation, trained())),
            ("test", shared(&new.test, seen.seen())),
        ] {
            ensure!(
                count == 0,
                "--from {path}: {count} of the {part} images are among those that it was trained on or chosen by, so scores on \
                 them would be too good; take the --data, --validation and --split-seed that it had, or remove these images"
            );
        }
        let own = new.own().map(Clone::clone);
        let before = seen
            .seen()
            .filter(|part| !own.contains(part) && !part.is_empty());
        new.before = before.cloned().collect();
        Ok(())
    }

    /// Gives its weights to a trainer that has not begun.
    pub fn give(&self, trainer: &mut Trainer) -> Result<()> {
        let known = trainer
            .start_from(&self.adapter)
            .with_context(|| format!("--from {}", self.path.display()))?;
        let classes = &trainer.training_set().dataset.classes;
        if let Some(note) = self.head_note(known, classes) {
            output::note(&format!("note: --from {}: {note}", self.path.display()));
        }
        Ok(())
    }

    /// What becomes of its head where that is not simply gone on with.
    fn head_note(&self, known: usize, classes: &[String]) -> Option<String> {
        let its = &self.adapter.classes;
        if !self.adapter.head.trained {
            let why = match self.is_run {
                true if known < classes.len() => {
                    "its head was never trained, and is for other classes than the images have"
                }
                true => "its head was never trained",
                false => "it was saved without a classifier",
            };
            return Some(format!("{why}, so the head is trained from the start"));
        }
        if known == 0 {
            return Some(
                "its head tells other classes apart than the images have, so the head is trained from the start"
                    .into(),
            );
        }
        let beside = |some: &[String], others: &[String]| -> Vec<String> {
            let missing = some.iter().filter(|class| !others.contains(class));
            missing.map(printable).collect()
        };
        let (new, gone) = (beside(classes, its), beside(its, classes));
        let parts = [(new, "is new", "are new"), (gone, "goes", "go")];
        let parts = parts.into_iter().filter(|(names, ..)| !names.is_empty());
        let said: Vec<String> = parts
            .map(|(names, one, many)| {
                let verb = if names.len() == 1 { one } else { many };
                format!("{} {verb}", names.join(", "))
            })
            .collect();
        (!said.is_empty()).then(|| {
            format!(
                "its head goes on for {known} classes; {}",
                said.join(", and ")
            )
        })
    }
}

/// The method is the adapter's, where it has gates; plain ones may get some.
fn give_method(adapter: &Adapter, path: &Path, options: &mut Table) -> Result<()> {
    let asked = options.get("method").and_then(Value::as_str);
    ensure!(
        asked != Some("ensemble"),
        "--method ensemble cannot be used with --from, as its members would all begin as the same; take another method"
    );
    if !adapter.draws() {
        return Ok(());
    }
    let own = &adapter.method;
    ensure!(
        asked.is_none_or(|asked| asked == own),
        "--method {} cannot be used with --from: the adapter in {} has the gates of {own}; leave it out",
        asked.unwrap_or_default(),
        path.display()
    );
    options.insert("method".into(), own.clone().into());
    Ok(())
}

/// A PEFT directory. Where it was saved without a classifier it has that of the backbone, or an untrained one: for which
/// classes is not known before the images are.
fn open_peft(path: &Path, backbone: &Location) -> Result<Adapter, FormatError> {
    let backbone = Backbone::load(backbone)?;
    let own = context::classifier(&backbone);
    let untrained = || initial_head(2, backbone.resnet.features(), 0);
    Adapter::load_peft_over(path, Some(&own.unwrap_or_else(untrained)))
}
