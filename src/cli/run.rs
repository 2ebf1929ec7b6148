//! A finished run as the commands open it: configuration, adapter, backbone, images.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::data::{self, Dataset, OpenOptions};
use bayeslora::formats::{Adapter, FormatError, LayerAdapter, RunDir, printable};
use bayeslora::model::Backbone;
use bayeslora::predict::Samples;
use bayeslora::train::kl::soft_effective_rank;
use bayeslora::train::{MEMBERS, Method, TrainConfig};
use clap::Args;
use toml::Table;

use super::context::{self, Bar};
use super::ensemble;
use super::location::Location;
use super::output;
use super::train;
use super::train_options::{Inputs, parse_config};

#[derive(Args)]
pub struct RunArgs {
    /// The directory that `train --out` has written
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// The frozen ResNet-18, a safetensors file or `embedded` [default: the run's own]
    #[arg(long, value_name = "F")]
    backbone: Option<Location>,
}

/// Training images, validation images and test images.
pub type AllSplits = (Dataset, Option<Dataset>, Dataset);

/// The images that a run is scored on.
#[derive(Args)]
pub struct TestArgs {
    /// `sample`, a directory in CIFAR-10's or CIFAR-100's binary layout or with MNIST's IDX files, or a
    /// folder of class folders
    #[arg(long, value_name = "D")]
    data: Location,
    /// Use so many test images, as many of each class
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Leave out images that do not decode instead of stopping: damaged or cut ones, and those of more than
    /// 120 million pixels or 256 MiB
    #[arg(long)]
    skip_bad_images: bool,
}

impl TestArgs {
    /// The images, their labels counted as the run counts them.
    pub fn open(&self, run: &Run, bar: &Bar) -> Result<Dataset> {
        let options = OpenOptions {
            side: run.adapter.resolution,
            skip_bad_images: self.skip_bad_images,
            limit_test: self.limit_test,
            progress: Some(&|done, total| bar.show("reading images", done, total)),
            ..Default::default()
        };
        let mut test = data::open_test(&self.data, &options).context("--data")?;
        context::report_skipped(&test);
        run.align(&mut test, &self.data)?;
        Ok(test)
    }
}

/// What a run's directory holds, with the backbone that it names.
pub struct Run {
    pub dir: RunDir,
    pub inputs: Inputs,
    pub config: TrainConfig,
    /// Of an ensemble that of its first member.
    pub adapter: Adapter,
    /// All of an ensemble; none of another run.
    pub members: Vec<Adapter>,
    pub backbone: Backbone,
}

impl RunArgs {
    /// The run's directory.
    pub fn path(&self) -> &Path {
        &self.run
    }

    pub fn open(&self) -> Result<Run> {
        open(&self.run, self.backbone.as_ref())
    }
}

/// Opens a run, with another backbone file than its own where one is given.
pub fn open(path: &PathBuf, backbone: Option<&Location>) -> Result<Run> {
    let dir = RunDir::open(path).context("--run")?;
    let source = path.join("config.toml").display().to_string();
    let table: Table = dir.read_config()?.parse().with_context(|| source.clone())?;
    let (inputs, config) = parse_config(table, &source)?;
    let members = match config.method {
        Method::Ensemble => ensemble::adapters(&dir, config.members.unwrap_or(MEMBERS))?,
        _ => Vec::new(),
    };
    let mut adapter = match members.first() {
        Some(first) => first.clone(),
        None => {
            ensure!(
                dir.adapter_dir().exists(),
                "--run {}: no adapter in it yet; `bayeslora train` writes one after each epoch",
                path.display()
            );
            Adapter::load_peft(dir.adapter_dir()).context("--run")?
        }
    };
    if adapter.resolution == 0 {
        // Other programs' adapters do not say.
        adapter.resolution = config.resolution;
    }
    let backbone = match backbone {
        Some(path) => context::backbone(path)?,
        None => Backbone::load(&inputs.backbone).with_context(|| {
            format!("the backbone in {source} (--backbone names another place for it)")
        })?,
    };
    context::warn_of_unknown_backbone(&adapter, &backbone);
    Ok(Run {
        dir,
        inputs,
        config,
        adapter,
        members,
        backbone,
    })
}

impl Run {
    /// The validation split of the run and its test set, out of `data`.
    pub fn splits(&self, data: &Location, bar: &Bar) -> Result<(Option<Dataset>, Dataset)> {
        let (_, validation, test) = self.all_splits(data, bar)?;
        Ok((validation, test))
    }

    /// What the run was trained on, and the same.
    pub fn all_splits(&self, data: &Location, bar: &Bar) -> Result<AllSplits> {
        let inputs = Inputs {
            data: data.clone(),
            ..self.inputs.clone()
        };
        let progress = |done, total| bar.show("reading images", done, total);
        let splits = inputs.open(self.adapter.resolution, &progress)?;
        context::report_skipped(&splits.train);
        let (train, validation) = train::split(&splits.train, &self.config)?;
        Ok((train, validation, splits.test))
    }

    /// sum_i 1/(1 + alpha_i), or the number of ranks where there are no gates; of all members.
    pub fn effective_rank(&self) -> f64 {
        match self.members.is_empty() {
            true => effective_rank(&self.adapter),
            false => self.members.iter().map(effective_rank).sum(),
        }
    }

    /// What tells the adapter, or all of an ensemble together, from every other one.
    pub fn sha256(&self) -> Result<String> {
        match self.members.is_empty() {
            true => Ok(self.adapter.sha256()?),
            false => {
                let members = self.members.iter().map(Adapter::sha256);
                Ok(members.collect::<Result<Vec<_>, _>>()?.join(" "))
            }
        }
    }

    /// The same run for its only writer, or why the directory cannot be written: what is computed is shown all
    /// the same then.
    pub fn lock(&self) -> Result<Result<RunDir, FormatError>> {
        match self.dir.clone().lock() {
            Err(error @ FormatError::Locked { .. }) => Err(error).context("--run"),
            lock => Ok(lock),
        }
    }

    /// Where temperatures that were fitted to the run are kept.
    pub fn temperature_dir(&self) -> PathBuf {
        match self.members.is_empty() {
            true => self.dir.adapter_dir(),
            false => self.dir.path().to_owned(),
        }
    }

    /// The samples that were asked for; the mean weights where nothing is drawn, as by an ensemble's members.
    pub fn samples(&self, asked: Samples) -> Samples {
        let drawn = |layer: &LayerAdapter| layer.log_alpha.is_some() && layer.rank() > 0;
        match self.members.is_empty() && self.adapter.layers.iter().any(drawn) {
            true => asked,
            false => Samples::MEAN,
        }
    }

    /// For commands that work on one adapter.
    pub fn refuse_ensemble(&self, command: &str) -> Result<()> {
        ensure!(
            self.members.is_empty(),
            "--run {}: an ensemble; {command} takes one of its members, such as {}",
            self.dir.path().display(),
            self.dir.member_dir(0).display()
        );
        Ok(())
    }

    /// Makes the labels of a data set count the adapter's classes: the same names in another order
    /// are put in order, other names are taken as they come and warned of.
    pub fn align(&self, data: &mut Dataset, named: &Location) -> Result<()> {
        let known = &self.adapter.classes;
        ensure!(
            data.classes.len() == known.len(),
            "--data {named} has {} classes ({}), the adapter of {} has {} ({})",
            data.classes.len(),
            listed(&data.classes),
            self.dir.path().display(),
            known.len(),
            listed(known)
        );
        let places: Option<Vec<u32>> = data
            .classes
            .iter()
            .map(|class| Some(known.iter().position(|name| name == class)? as u32))
            .collect();
        match places {
            Some(places) => {
                for label in &mut data.labels {
                    *label = places[*label as usize];
                }
                data.classes = known.as_slice().into();
            }
            None => output::note(&format!(
                "warning: --data {named} has other class names ({}) than the adapter ({}); they \
                 are matched by their number",
                listed(&data.classes),
                listed(known)
            )),
        }
        Ok(())
    }
}

/// sum_i 1/(1 + alpha_i), or the number of ranks where there are no gates.
pub fn effective_rank(adapter: &Adapter) -> f64 {
    let mut gates = Vec::new();
    let mut ungated = 0;
    for layer in &adapter.layers {
        match &layer.log_alpha {
            Some(stored) => {
                let (a, b) = (&layer.lora_a, &layer.lora_b);
                let log_alpha = adapter.gates.log_alpha(stored, a, b);
                gates.extend(log_alpha.into_iter().map(f64::from));
            }
            None => ungated += layer.rank(),
        }
    }
    soft_effective_rank(&gates) + ungated as f64
}

/// The first few names.
fn listed(names: &[String]) -> String {
    const NAMED: usize = 3;
    let more = if names.len() > NAMED { ", ..." } else { "" };
    printable(names[..names.len().min(NAMED)].join(", ")) + more
}
