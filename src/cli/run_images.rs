//! The images that a run is trained and tested on: drawn once, and from then on what the run has recorded.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::reuse::{Before, FoundAgain, Part, ReuseError};
use bayeslora::low_level::data::{Dataset, Identity, Looks, OpenOptions, Splits};
use bayeslora::low_level::formats::{DataManifest, Digest, ManifestFile, ManifestImages};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::train::TrainConfig;

use super::context::{self, Bar};
use super::location::Location;
use super::train_options::Inputs;
use super::{near, output};

/// The sets of a run.
pub struct RunImages {
    pub name: String,
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Dataset,
    /// What was decided on the user's behalf.
    pub note: Option<String>,
    skipped: Vec<Digest>,
    near_copies: Vec<Digest>,
}

impl RunImages {
    /// Those of a new run, of which the validation split is drawn now; images of the run that it goes on from stay on their side.
    pub fn draw(
        inputs: &Inputs,
        config: &TrainConfig,
        before: Option<&DataManifest>,
        bar: &Bar,
    ) -> Result<Self> {
        let splits = inputs.open(config.resolution, &|done, total| {
            bar.show("reading images", done, total)
        })?;
        context::report_skipped(&splits.train);
        context::report_skipped(&splits.test);
        Self::part(splits, config, before)
    }

    /// Sets the validation split aside.
    fn part(splits: Splits, config: &TrainConfig, before: Option<&DataManifest>) -> Result<Self> {
        let (train, validation) = match before {
            None => split(&splits.train, config)?,
            Some(before) => split_as_before(&splits.train, config, before)?,
        };
        // A user's own test part stays what it is.
        let is_ours = splits.note.is_some();
        let (test, near_copies) = near::unlike(splits.test, &splits.train, is_ours)?;
        let skipped = [&splits.train.skipped, &test.skipped];
        let skipped = skipped.into_iter().flatten();
        Ok(Self {
            train,
            validation,
            near_copies,
            skipped: skipped.filter_map(|image| image.content).collect(),
            name: splits.name,
            test,
            note: splits.note,
        })
    }

    /// Those that a run has recorded, found again where `inputs` say.
    pub fn again(
        recorded: &DataManifest,
        inputs: &Inputs,
        config: &TrainConfig,
        changed: Changed,
        bar: &Bar,
    ) -> Result<Self> {
        let parts = [Part::Train, Part::Validation, Part::Test];
        let own = Own {
            recorded,
            data: &inputs.data,
            side: config.resolution,
            host_memory: inputs.host_memory,
            changed,
        };
        let [train, validation, test] = own.open(parts, bar)?;
        Ok(Self {
            name: recorded.name.clone(),
            train,
            validation: (!validation.is_empty()).then_some(validation),
            test,
            note: None,
            skipped: recorded.skipped.clone(),
            near_copies: recorded.near_copies.clone(),
        })
    }

    /// What the run keeps of them.
    pub fn record(&self, inputs: &Inputs, backbone: &Backbone) -> DataManifest {
        let sets = (&self.train, self.validation.as_ref());
        let mut data = record(&self.name, sets, inputs, backbone);
        data.test = self.test.listed();
        data.skipped = self.skipped.clone();
        data.near_copies = self.near_copies.clone();
        data
    }
}

/// What a run keeps of its training and validation images.
pub fn record(
    name: &str,
    (train, validation): (&Dataset, Option<&Dataset>),
    inputs: &Inputs,
    backbone: &Backbone,
) -> DataManifest {
    let mut record = DataManifest::new(name.to_owned(), train.classes.to_vec());
    record.backbone_sha256 = backbone.sha256.clone();
    record.held_out_classes = inputs.hold_out_classes.clone().unwrap_or_default();
    record.is_limited = inputs.limit_train.is_some() || inputs.limit_test.is_some();
    record.train = train.listed();
    if let ManifestImages::Indexed { .. } = record.train {
        record.train_counts = train.class_counts();
    }
    if let Some(validation) = validation {
        record.validation = validation.listed();
    }
    record
}

/// The training set proper and the validation split.
pub fn split(train: &Dataset, config: &TrainConfig) -> Result<(Dataset, Option<Dataset>)> {
    if config.validation == 0.0 {
        return Ok((train.clone(), None));
    }
    let (share, seed) = (config.validation, config.split_seed.unwrap_or(config.seed));
    let (train, validation) = match Looks::of(train)? {
        None => train.split_validation(share, seed),
        Some(looks) => near::together(train, &looks, share, seed),
    }
    .with_context(|| format!("--validation {share}"))?;
    let validation = apart(validation, &train, "--validation", "validation")?;
    Ok((train, Some(validation)))
}

/// The same, where images of an earlier run stay on the side that they had there and others are divided anew.
fn split_as_before(
    all: &Dataset,
    config: &TrainConfig,
    before: &DataManifest,
) -> Result<(Dataset, Option<Dataset>)> {
    let mut found = Before::of(all, before);
    if config.validation == 0.0 || found.new.len() == all.len() {
        return split(all, config);
    }
    near::follow(all, &mut found)?;
    let new = all.subset(&found.new);
    let (share, seed) = (config.validation, config.split_seed.unwrap_or(config.seed));
    // Too few to divide: all of them are trained on.
    let divided = match Looks::of(&new)? {
        None => new.split_validation(share, seed).ok(),
        Some(looks) => new.split_validation_by(share, seed, &looks.groups()).ok(),
    };
    let drawn: HashSet<Identity> = divided.map_or_else(HashSet::new, |(_, aside)| {
        (0..aside.len()).map(|i| aside.identity(i)).collect()
    });
    let mut aside = found.aside;
    let is_drawn = |i: &usize| drawn.contains(&all.identity(*i));
    aside.extend(found.new.iter().copied().filter(is_drawn));
    aside.sort_unstable();
    let kept: Vec<usize> = (0..all.len())
        .filter(|i| aside.binary_search(i).is_err())
        .collect();
    let (train, validation) = (all.subset(&kept), all.subset(&aside));
    match validation.is_empty() {
        true => split(all, config),
        false => {
            let validation = apart(validation, &train, "--validation", "validation")?;
            Ok((train, Some(validation)))
        }
    }
}

/// Without exact copies of training images: on these a model is not asked but reminded.
pub fn apart(set: Dataset, train: &Dataset, option: &str, part: &str) -> Result<Dataset> {
    let left = set.without(&[train]);
    let copies = set.len() - left.len();
    ensure!(
        !left.is_empty(),
        "{option}: every one of the {copies} {part} images is an exact copy of a training image; remove the copies"
    );
    if copies > 0 {
        output::note(&format!(
            "warning: {copies} of {} {part} images are exact copies of training images and are left out",
            set.len()
        ));
    }
    Ok(left)
}

/// What to do where a run's images are not what they were.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Stop, for a command that trains on them or sums over them.
    Refuse,
    /// Go on with those still there: `--with-changed-data`.
    GoOn,
    /// The same, for a command that only asks about them.
    Say,
}

impl From<bool> for Changed {
    /// From `--with-changed-data`.
    fn from(go_on: bool) -> Self {
        match go_on {
            true => Self::GoOn,
            false => Self::Refuse,
        }
    }
}

/// A run's own images, to be found again.
pub struct Own<'a> {
    pub recorded: &'a DataManifest,
    pub data: &'a Location,
    pub side: usize,
    pub host_memory: Option<u64>,
    pub changed: Changed,
}

impl Own<'_> {
    pub fn open<const N: usize>(&self, parts: [Part; N], bar: &Bar) -> Result<[Dataset; N]> {
        let data = self.data;
        let progress = |done, total| bar.show("reading images", done, total);
        let found = FoundAgain::look(data, self.recorded, Some(&progress));
        let found = found.with_context(|| {
            format!("the run's own images (--data names another place for them, if they moved from {data})")
        })?;
        let mut changes = found.changes(&parts);
        if self.changed == Changed::Say {
            changes.added.clear();
        }
        if !changes.is_empty() {
            if self.changed == Changed::Refuse {
                let error = ReuseError::Changed {
                    data: data.to_string(),
                    changes,
                };
                return Err(error).context(
                    "put them back as they were, or go on with those still there by --with-changed-data",
                );
            }
            let added = match changes.added.is_empty() {
                true => "",
                false => "; those that were added are left out",
            };
            output::note(&format!(
                "warning: {data}: not what the run was trained on: {changes}; going on with the images that are \
                 still there{added}"
            ));
        }
        let options = OpenOptions {
            side: self.side,
            host_memory: self.host_memory,
            progress: Some(&progress),
            ..Default::default()
        };
        Ok(found.open(parts, &options)?)
    }
}

/// Whether most of what a run was trained on is in `data`.
pub fn is_own(recorded: &DataManifest, data: &Location, bar: &Bar) -> bool {
    const MOST: f64 = 0.5;
    let progress = |done, total| bar.show("reading images", done, total);
    let found = FoundAgain::look(data, recorded, Some(&progress));
    found.is_ok_and(|found| found.share() >= MOST)
}

/// What a run has recorded of its images, for commands that cannot do without.
pub fn required<'a>(recorded: Option<&'a DataManifest>, run: &Path) -> Result<&'a DataManifest> {
    recorded.with_context(|| {
        format!(
            "{} is not there: an earlier version of this program made the run, so nothing says which images were \
             set aside; train it again",
            run.join("data.json.gz").display()
        )
    })
}

/// Refuses a backbone with other weights than those the run was trained over.
pub fn check_backbone(recorded: &DataManifest, backbone: &Backbone) -> Result<()> {
    let short = |sha: &str| sha.chars().take(12).collect::<String>();
    ensure!(
        recorded.backbone_sha256 == backbone.sha256,
        "--backbone {}: its weights (SHA-256 {}...) are not those that the run was trained over \
         ({}...); give the backbone of the run with --backbone",
        backbone.name,
        short(&backbone.sha256),
        short(&recorded.backbone_sha256)
    );
    Ok(())
}

/// Whether two runs are trained, and were chosen, on the same images over the same backbone, wherever they lie.
pub fn is_same(one: &DataManifest, other: &DataManifest) -> bool {
    one.backbone_sha256 == other.backbone_sha256
        && one.classes == other.classes
        && same_images(&one.train, &other.train)
        && same_images(&one.validation, &other.validation)
}

/// The same contents with the same labels in the same order, wherever they lie.
pub fn same_images(one: &ManifestImages, other: &ManifestImages) -> bool {
    match (one, other) {
        (ManifestImages::Files(one), ManifestImages::Files(other)) => {
            let contents = |files: &[ManifestFile]| -> Vec<_> {
                let each = files.iter();
                each.map(|file| (file.content, file.label)).collect()
            };
            contents(one) == contents(other)
        }
        (one, other) => one == other,
    }
}
