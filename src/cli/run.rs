//! A finished run as the commands open it: configuration, adapter, backbone, images.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::data::reuse::{Part, match_classes};
use bayeslora::low_level::formats::{Adapter, DataManifest, FormatError, RunDir};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::predict::{Ensemble, Evaluated, Predictor, Samples, Source, evaluate};
use bayeslora::low_level::train::kl::effective_rank;
use bayeslora::low_level::train::{MEMBERS, Method, TrainConfig};
use clap::Args;
use toml::Table;

use super::context::{self, Bar};
use super::ensemble;
use super::location::Location;
use super::run_images::{self, Changed, Own};
use super::train_options::{Inputs, parse_config};

#[derive(Args)]
pub struct RunArgs {
    /// The run directory that `train --out` wrote
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// The frozen backbone: a file of safetensors or PyTorch, or `embedded` [default: the run's own]
    #[arg(long, value_name = "F")]
    backbone: Option<Location>,
}

/// What a run's directory holds, with the backbone that it names.
pub struct Run {
    pub dir: RunDir,
    pub inputs: Inputs,
    pub config: TrainConfig,
    /// What it was trained on; `None` where an earlier version or another program has made it.
    pub data: Option<DataManifest>,
    /// Of an ensemble that of its first member.
    pub adapter: Adapter,
    /// All of an ensemble; none of another run.
    pub members: Vec<Adapter>,
    pub backbone: Backbone,
}

impl RunArgs {
    /// Where the backbone of the run is.
    pub fn backbone<'a>(&'a self, run: &'a Run) -> &'a Location {
        self.backbone.as_ref().unwrap_or(&run.inputs.backbone)
    }

    /// Opens it, as commands do that ask it for answers.
    pub fn open(&self) -> Result<Run> {
        let run = open(&self.run, self.backbone.as_ref())?;
        let path = self.run.display();
        ensure!(
            run.adapter.head.trained,
            "--run {path}: its head was never trained, as its adapter was imported without a classifier, so its answers would \
             mean nothing; `train --from {path} --data D --out RUN` makes a run with a trained one"
        );
        Ok(run)
    }
}

/// Opens a run, with another backbone file than its own where one is given.
pub fn open(path: &Path, backbone: Option<&Location>) -> Result<Run> {
    let dir = RunDir::open(path).context("--run")?;
    let source = path.join("config.toml").display().to_string();
    let table: Table = dir.read_config()?.parse().with_context(|| source.clone())?;
    let (inputs, config) = parse_config(table, &source)?;
    let members = match config.method {
        Method::Ensemble => {
            ensemble::adapters(&dir, config.members.unwrap_or(MEMBERS), config.resolution)?
        }
        _ => Vec::new(),
    };
    let adapter = match members.first() {
        Some(first) => first.clone(),
        None => dir.read_adapter(config.resolution).context("--run")?,
    };
    let backbone = match backbone {
        Some(path) => context::backbone(path)?,
        None => Backbone::load(&inputs.backbone).with_context(|| {
            format!("the backbone in {source} (--backbone names another place for it)")
        })?,
    };
    let backbone = backbone.in_bits(config.backbone_bits);
    let data = dir.read_data().context("--run")?;
    if let Some(data) = &data {
        run_images::check_backbone(data, &backbone)?;
    }
    context::warn_of_unknown_backbone(&adapter, &backbone);
    Ok(Run {
        dir,
        inputs,
        config,
        data,
        adapter,
        members,
        backbone,
    })
}

impl Run {
    /// The file that says what the run reads, for messages.
    pub fn config_file(&self) -> String {
        let path = self.dir.path().join("config.toml");
        path.display().to_string()
    }

    /// What it reads, with the images elsewhere where a place is given.
    pub fn inputs_at(&self, data: Option<&Location>) -> Result<Inputs> {
        let mut inputs = self.inputs.clone();
        if let Some(data) = data {
            inputs.data = data.clone();
        }
        inputs.absolute()
    }

    /// Classes of its set that it was trained without.
    pub fn held_out_classes(&self) -> &[String] {
        match &self.data {
            Some(data) => &data.held_out_classes,
            None => self.inputs.hold_out_classes.as_deref().unwrap_or_default(),
        }
    }

    /// What it was trained on, for commands that cannot do without.
    pub fn recorded(&self) -> Result<&DataManifest> {
        run_images::required(self.data.as_ref(), self.dir.path()).context("--run")
    }

    /// Its own images, which may be elsewhere.
    pub fn own<'a>(&'a self, data: &'a Location, changed: Changed) -> Result<Own<'a>> {
        ensure!(
            !data.is_empty(),
            "--data is missing: {} does not say what the run was trained on",
            self.config_file()
        );
        Ok(Own {
            recorded: self.recorded()?,
            data,
            side: self.adapter.resolution,
            host_memory: self.inputs.host_memory,
            changed,
        })
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

    /// The images that it has set aside for choices, never the test set, which `what` needs.
    pub fn validation<'a>(
        &'a self,
        what: &str,
        data: impl FnOnce() -> Result<&'a Location>,
        bar: &Bar,
    ) -> Result<Dataset> {
        ensure!(
            self.config.validation > 0.0,
            "{what}: the run was trained with --validation 0, so there are no held-out images for it; train it with \
             --validation 0.1"
        );
        let open = || {
            let [validation] = self
                .own(data()?, Changed::Say)?
                .open([Part::Validation], bar)?;
            self.align(validation)
        };
        open().with_context(|| what.to_owned())
    }

    /// What it answers to images with labels, all members of an ensemble together.
    pub fn evaluate(
        &self,
        gpu: &Gpu,
        source: &Source,
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Evaluated> {
        let rank = self.effective_rank();
        Ok(match self.members.is_empty() {
            true => {
                let predictor = Predictor::new(gpu, &self.backbone, &self.adapter)?;
                evaluate(&predictor, source, samples, rank, progress)?
            }
            false => {
                let ensemble = Ensemble::new(gpu, &self.backbone, &self.members)?;
                evaluate(&ensemble, source, samples, rank, progress)?
            }
        })
    }

    /// Where what was fitted to the run is kept.
    pub fn fitted_dir(&self) -> PathBuf {
        match self.members.is_empty() {
            true => self.dir.adapter_dir(),
            false => self.dir.path().to_owned(),
        }
    }

    /// The samples that were asked for; the mean weights where nothing is drawn, as by an ensemble's members.
    pub fn samples(&self, asked: Samples) -> Samples {
        match self.members.is_empty() && self.adapter.draws() {
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

    /// The run's own images with labels that count the adapter's classes, should another program have put these in
    /// another order.
    pub fn align(&self, mut own: Dataset) -> Result<Dataset> {
        let known = &self.adapter.classes;
        let matched = match_classes(known, &[], &own.classes);
        ensure!(
            matched.unknown.is_empty() && own.classes.len() == known.len(),
            "--run {}: its adapter has other classes ({}) than the images that the run was trained on ({})",
            self.dir.path().display(),
            known.join(", "),
            own.classes.join(", ")
        );
        for label in &mut own.labels {
            *label = matched.labels[*label as usize].expect("all are known");
        }
        own.classes = known.as_slice().into();
        Ok(own)
    }
}
