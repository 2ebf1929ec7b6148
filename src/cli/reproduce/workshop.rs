//! What the runs of a study share: the device, the images, and what was computed of them once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{DataManifest, RunDir};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::{Backbone, PLAIN_VIEW};
use bayeslora::low_level::predict::{Budget, Predictor, Source};
use bayeslora::low_level::report::Study;
use bayeslora::low_level::study::{Place, RunSpec, Settings};
use bayeslora::low_level::train::{Prepared, prepare};

use super::options::{Named, Options};
use super::sets::{self, Part, Sets};
use crate::cli::context::{self, Bar, Context};
use crate::cli::environment;
use crate::cli::location::Location;
use crate::cli::run_images::{self, split};

/// Host memory for the features of all sets, in bytes.
const FEATURES: u64 = 6 << 30;

/// The device, the images, and what has been computed of them once for all runs.
pub struct Workshop<'a> {
    context: &'a Context,
    options: Options,
    /// Of this study: the whole directory, or a folder of it.
    out: PathBuf,
    settings: Settings,
    gpu: Gpu,
    backbone: Backbone,
    sets: Sets,
    prepared: [Option<Prepared>; 2],
    sources: HashMap<String, Source>,
    budget: Budget,
}

impl<'a> Workshop<'a> {
    pub fn open(
        context: &'a Context,
        mut options: Options,
        out: PathBuf,
        settings: Settings,
    ) -> Result<Self> {
        let gpu = context.tuned_gpu()?;
        let backbone = context::backbone(&options.backbone)?;
        let sets = Sets::open(&options, &settings)?;
        options.know(&sets.unfamiliar)?;
        Ok(Self {
            context,
            options,
            out,
            settings,
            gpu,
            backbone,
            sets,
            prepared: [None, None],
            sources: HashMap::new(),
            budget: Budget {
                features: Some(FEATURES),
                resident: 0,
            },
        })
    }

    pub fn out(&self) -> &Path {
        &self.out
    }

    /// What `--out` names.
    pub fn whole(&self) -> &Path {
        &self.options.out
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    pub fn context(&self) -> &'a Context {
        self.context
    }

    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The head of the report.
    pub fn study(&self, validation_images: usize) -> Study {
        let Options {
            scale,
            data,
            backbone,
            unfamiliar,
            ..
        } = &self.options;
        let [data, backbone] = [data, backbone].map(Location::seen_from_here);
        let mut command = format!(
            "bayeslora reproduce --out DIR --scale {} --data {data}",
            scale.name()
        );
        if backbone != "embedded" {
            command += &format!(" --backbone {backbone}");
        }
        for Named { name, data } in unfamiliar {
            command += &format!(" --unfamiliar {name}={}", data.seen_from_here());
        }
        let all = &self.sets.all;
        Study {
            scale: scale.name().into(),
            commands: vec![command, "bayeslora report DIR".into()],
            program: format!("bayeslora {}", env!("CARGO_PKG_VERSION")),
            environments: Vec::new(),
            date: environment::today(),
            backbone,
            data,
            classes: all.train.classes.to_vec(),
            train_images: self.train_images(),
            validation_images,
            test_images: all.test.len(),
            resolution: self.settings.resolution,
            epochs: self.settings.epochs,
            resamples: self.settings.resamples,
            intervals: String::new(),
            kappa_by: String::new(),
            seconds: 0.0,
        }
    }
}

impl Workshop<'_> {
    pub fn part(&self, spec: &RunSpec) -> &Part {
        match spec.without_classes {
            true => &self.sets.without,
            false => &self.sets.all,
        }
    }

    /// The training set of a run with its features, computed once for all runs.
    pub fn prepared(&mut self, spec: &RunSpec) -> Result<Prepared> {
        let slot = usize::from(spec.without_classes);
        if let Some(prepared) = &self.prepared[slot] {
            return Ok(prepared.clone());
        }
        let (train, validation) = split(&self.part(spec).train, &spec.config)?;
        let mut observe = self.context.observer();
        let prepared = prepare(
            &self.gpu,
            &self.backbone,
            &spec.config,
            train,
            validation,
            &mut observe,
        )?;
        Ok(self.prepared[slot].insert(prepared).clone())
    }

    /// A set with its features, computed once for all runs.
    pub fn source(&mut self, predictor: &Predictor, name: &str) -> Result<Source> {
        if let Some(source) = self.sources.get(name) {
            return Ok(source.clone());
        }
        let dataset: Dataset = match name {
            "validation" => {
                let prepared = self.prepared[0].as_ref();
                let validation = prepared.and_then(|prepared| prepared.validation.clone());
                return validation.context("the study has no validation images");
            }
            "test" => self.sets.all.test.clone(),
            "known-test" => self.sets.without.test.clone(),
            "held-out-classes" => self.sets.held_out.clone(),
            "corrupted" => {
                let images = self.settings.corrupted_images;
                sets::corrupted(&self.gpu, &self.sets.all.test, images)?
            }
            _ => {
                let mut sets = self.sets.unfamiliar.iter();
                let found = sets.find(|(known, _)| known == name);
                found.expect("asked for by its name").1.clone()
            }
        };
        let (bar, total) = (Bar::default(), dataset.len());
        let progress = |done| bar.show(&format!("caching {name}"), done, total);
        let source = Source::within(
            &mut self.budget,
            predictor.network(),
            predictor.cut(),
            dataset,
            self.settings.resolution,
            &[PLAIN_VIEW],
            progress,
        )?;
        self.sources.insert(name.to_owned(), source.clone());
        Ok(source)
    }

    /// Refuses runs on other images or another backbone: what they have predicted would be held against labels that are
    /// not its own. Else the places of the images are kept, which may be new.
    pub fn check_images(&self, specs: &[RunSpec]) -> Result<()> {
        // With all classes and without two, as `part` has them: one split for all runs.
        let mut now = [None, None];
        for spec in specs {
            for seed in 1..=spec.seeds {
                let place = Place::new(self.out(), &spec.name, seed).run;
                if !place.join("config.toml").exists() {
                    continue;
                }
                let recorded = RunDir::open(&place)?.read_data()?;
                let recorded = run_images::required(recorded.as_ref(), &place)?;
                let now = match &mut now[usize::from(spec.without_classes)] {
                    Some(now) => now,
                    none => none.insert(self.record(spec)?),
                };
                ensure!(
                    run_images::is_same(recorded, now)
                        && run_images::same_images(&recorded.test, &now.test),
                    "--data {}, --backbone {}: {} was trained or is to be tested on other images, or over another \
                     backbone; put back what was there, or give another directory with --out",
                    self.options.data,
                    self.options.backbone,
                    place.display()
                );
            }
        }
        self.options.keep()
    }

    /// What a run keeps of its images.
    fn record(&self, spec: &RunSpec) -> Result<DataManifest> {
        let part = self.part(spec);
        let (train, validation) = split(&part.train, &spec.config)?;
        let sets = (&train, validation.as_ref());
        let mut data = run_images::record(&part.name, sets, &part.inputs, &self.backbone);
        data.test = part.test.listed();
        Ok(data)
    }

    /// Training images, validation taken off.
    pub fn train_images(&self) -> usize {
        let images = self.sets.all.train.len() as f64;
        (images * (1.0 - self.settings.validation)).round() as usize
    }

    /// Of the images that choices are made on.
    pub fn validation_labels(&self, spec: &RunSpec) -> Result<Vec<u32>> {
        let (_, validation) = split(&self.part(spec).train, &spec.config)?;
        let validation = validation.context("the study has no validation images")?;
        Ok(validation.labels)
    }
}
