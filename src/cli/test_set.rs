//! The images that a run is scored on, and how they are described in the output.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use bayeslora::low_level::data::reuse::{
    ReuseError, ScoreOptions, Scored, ScoredPart, TrainedOn, open_scored,
};
use bayeslora::low_level::data::{Dataset, Identity, OpenOptions};
use bayeslora::low_level::formats::printable;
use clap::Args;
use serde::Serialize;

use super::context::{self, Bar};
use super::location::Location;
use super::output;
use super::run::Run;
use super::run_images::is_own;

/// What a run is scored on.
#[derive(Args, Clone, Default)]
#[group(requires = "run")]
pub struct ScoredArgs {
    /// What to score: `sample`, a directory in CIFAR-10's or CIFAR-100's binary layout or with MNIST's IDX files, or
    /// a folder of class folders [default: the run's own]
    ///
    /// If the set has a test part, that part is scored. A folder without parts is scored as a whole or, if it is the run's
    /// own, only what was held out of its training. Classes are matched by name. Images that the run was trained on are
    /// left out wherever they are.
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// Use only N test images, the same number of each class
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Leave out images that cannot be decoded instead of stopping: damaged or truncated ones, and those of more than
    /// 120 million pixels or 256 MiB
    #[arg(long)]
    skip_bad_images: bool,
    /// Leave out images of classes that the run does not know instead of stopping
    #[arg(long)]
    ignore_unknown_classes: bool,
    /// Whether the user has just been told of what is left out.
    #[arg(skip)]
    is_quiet: bool,
}

/// The same for commands that may need the run's own images too.
#[derive(Args)]
pub struct TestArgs {
    #[command(flatten)]
    scored: ScoredArgs,
    /// Where the run's own training and validation images are, if they have moved and --data is another set
    #[arg(long, value_name = "D")]
    run_data: Option<Location>,
}

impl ScoredArgs {
    /// A run's own images, right after its training.
    pub fn quietly() -> Self {
        Self {
            is_quiet: true,
            ..Self::default()
        }
    }

    /// The same, with what the run was told of images that cannot be decoded, where these are its own.
    pub fn as_trained(&self, run: &Run) -> Self {
        let is_own = self.data.is_none();
        Self {
            skip_bad_images: self.skip_bad_images || is_own && run.inputs.skip_bad_images,
            ..self.clone()
        }
    }

    /// The images, their labels counted as the run counts them, and how they were chosen.
    pub fn open(&self, run: &Run, bar: &Bar) -> Result<(Dataset, ScoredOn)> {
        let data = self.data.as_ref().unwrap_or(&run.inputs.data);
        ensure!(
            !data.is_empty(),
            "--data is missing: {} does not say what the run was trained on",
            run.config_file()
        );
        if run.data.is_none() {
            output::note(&format!(
                "warning: --run {}: nothing says which images it was trained on (no data.json.gz: an earlier version \
                 or another program made it); if any are in {data}, they are scored too",
                run.dir.path().display()
            ));
        }
        let options = ScoreOptions {
            open: OpenOptions {
                side: run.adapter.resolution,
                skip_bad_images: self.skip_bad_images,
                limit_test: self.limit_test,
                progress: Some(&|done, total| bar.show("reading images", done, total)),
                ..Default::default()
            },
            ignore_unknown_classes: self.ignore_unknown_classes,
        };
        let trained_on = TrainedOn {
            classes: &run.adapter.classes,
            held_out_classes: run.held_out_classes(),
            images: run.data.as_ref(),
            is_cautious: !run.inputs.data.is_empty(),
        };
        let scored = open_scored(data, trained_on, &options).map_err(|error| match &error {
            ReuseError::UnknownClasses { .. } => anyhow::Error::from(error).context(
                "--data: leave these classes out with --ignore-unknown-classes, if the rest is to be scored",
            ),
            _ if self.data.is_some() => anyhow::Error::from(error).context("--data"),
            _ => anyhow::Error::from(error).context(format!(
                "the images that {} names; --data names another place for them",
                run.config_file()
            )),
        })?;
        if !self.is_quiet {
            context::report_skipped(&scored.images);
        }
        let near: HashSet<Identity> = match &run.data {
            None => HashSet::new(),
            Some(data) => data
                .near_copies
                .iter()
                .copied()
                .map(Identity::Content)
                .collect(),
        };
        let places = 0..scored.images.len();
        let near = places.filter(|i| near.contains(&scored.images.identity(*i)));
        let said = ScoredOn::new(data, &scored, near.count());
        if let (false, Some(doubt)) = (self.is_quiet, said.doubt()) {
            output::note(&format!("warning: {doubt}"));
        }
        Ok((scored.images, said))
    }
}

impl TestArgs {
    /// Images that are scored at most.
    pub fn limit(&self) -> Option<usize> {
        self.scored.limit_test
    }

    /// Whether images that cannot be decoded are left out.
    pub fn skips_bad_images(&self) -> bool {
        self.scored.skip_bad_images
    }

    /// As [`ScoredArgs::open`].
    pub fn open(&self, run: &Run, bar: &Bar) -> Result<(Dataset, ScoredOn)> {
        self.scored.open(run, bar)
    }

    /// For commands that need the run's own images only sometimes, and not now.
    pub fn refuse_run_data(&self, unless: &str) -> Result<()> {
        ensure!(
            self.run_data.is_none(),
            "--run-data says where the run's own images are, and they are not needed without {unless}; leave it out"
        );
        Ok(())
    }

    /// Where the run's own images are: where it is told, where --data is if these are they, or where they were.
    pub fn own_data<'a>(&'a self, run: &'a Run, bar: &Bar) -> Result<&'a Location> {
        let recorded = run.recorded()?;
        match (&self.run_data, &self.scored.data) {
            (Some(place), _) => Ok(place),
            (None, Some(data)) if data.absolute()? == run.inputs.data => Ok(data),
            (None, Some(data)) if is_own(recorded, data, bar) => Ok(data),
            _ => Ok(&run.inputs.data),
        }
    }
}

/// What was scored, for people and for programs.
#[derive(Serialize)]
pub struct ScoredOn {
    data: Location,
    /// `test`, `held-out` or `all`.
    part: &'static str,
    images: usize,
    /// Images in the folder, or in its test part.
    of: usize,
    /// Left out because the run was trained on them or chosen by them; those outside the held-out part of its own
    /// folder are not counted.
    seen: usize,
    /// Scored although they nearly repeat images that the run was trained on, as far as its record says.
    near_copies: usize,
    /// Left out because the run was trained without their classes or does not know them.
    of_other_classes: usize,
    /// Of the test images that the run has recorded, those that are not there any more, if this is its own set.
    gone: usize,
    /// Of those that it was trained on or chosen by, if this is the folder that all of them were in.
    gone_seen: usize,
    held_out_classes: Vec<String>,
    unknown_classes: Vec<String>,
    /// `name` or `number`.
    classes_by: &'static str,
}

impl ScoredOn {
    fn new(data: &Location, scored: &Scored, near_copies: usize) -> Self {
        Self {
            data: data.clone(),
            part: match scored.part {
                ScoredPart::Test => "test",
                ScoredPart::HeldOut => "held-out",
                ScoredPart::All => "all",
            },
            images: scored.images.len(),
            of: scored.of,
            seen: scored.seen,
            near_copies,
            of_other_classes: scored.of_other_classes,
            gone: scored.gone,
            gone_seen: scored.gone_seen,
            held_out_classes: scored.classes.held_out.clone(),
            unknown_classes: scored.classes.unknown.clone(),
            classes_by: match scored.classes.by_number {
                true => "number",
                false => "name",
            },
        }
    }

    /// One line.
    pub fn line(&self) -> String {
        let mut line = format!("scoring {}", self.images(&printable(&self.data)));
        for left_out in self.left_out() {
            line += &format!("; left out: {left_out}");
        }
        if let Some(gone) = self.gone() {
            line += &format!("; {gone}");
        }
        if self.classes_by == "number" {
            line += "; classes are matched by their number";
        }
        line
    }

    /// Which images, as in `the test part of photos, 200 images`, for a file that others may read.
    pub fn images_seen_from_here(&self) -> String {
        self.images(&self.data.seen_from_here())
    }

    fn images(&self, data: &str) -> String {
        let Self { images, of, .. } = self;
        match self.part {
            "held-out" => format!("{images} images held out, of {of} in {data}"),
            "test" if images == of => format!("the test part of {data}, {images} images"),
            "test" => format!("{images} of the {of} images in the test part of {data}"),
            _ if images == of => format!("all {images} images in {data}"),
            _ => format!("{images} of the {of} images in {data}"),
        }
    }

    /// Which images of the run's record are not there any more, or have another content.
    fn gone(&self) -> Option<String> {
        let kinds = [
            (self.gone, "of its test images"),
            (self.gone_seen, "that it was trained on or chosen by"),
        ];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = kinds
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        (!said.is_empty()).then(|| {
            format!(
                "removed or changed since the run was made: {}",
                said.join(" and ")
            )
        })
    }

    /// Why the scores are too good, where they are.
    pub fn doubt(&self) -> Option<String> {
        (self.near_copies > 0).then(|| {
            format!(
                "{} of {} scored images nearly repeat images that the run was trained on: scores are too good by that",
                self.near_copies, self.images
            )
        })
    }

    /// Which were not, and why.
    pub fn left_out(&self) -> Vec<String> {
        let mut left_out = Vec::new();
        if self.seen > 0 {
            left_out.push(format!(
                "{} that the run was trained on or chosen by",
                self.seen
            ));
        }
        for (classes, why) in [
            (&self.held_out_classes, "that the run was trained without"),
            (&self.unknown_classes, "that the run does not know"),
        ] {
            if !classes.is_empty() {
                let names = printable(classes.join(", "));
                left_out.push(format!("classes {why} ({names})"));
            }
        }
        left_out
    }
}
