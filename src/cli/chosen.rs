//! What `train` decides where nothing was said, and says.

use std::path::Path;

use anyhow::{Result, ensure};
use bayeslora::low_level::formats::{Claim, FormatError, RunDir, Stem, printable};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::train::TrainConfig;
use toml::Table;

use super::location::Location;
use super::output;

/// Epochs for sets of up to so many images: those of `reproduce`'s studies of 200, 500, 2,000 and 10,000.
const EPOCHS: [(usize, usize); 3] = [(300, 40), (1_000, 24), (5_000, 12)];

/// Side of the images that backbones of others with ImageNet's stem were trained on, in pixels.
const IMAGENET_SIDE: usize = 224;

/// Options that were not given, and what became of them.
pub struct Open {
    epochs: bool,
    resolution: bool,
    chosen: Vec<String>,
}

impl Open {
    /// Of the options given.
    pub fn of(table: &Table) -> Self {
        Self {
            epochs: !table.contains_key("epochs"),
            resolution: !table.contains_key("resolution"),
            chosen: Vec::new(),
        }
    }

    /// Where all has been said, as in a run that goes on.
    pub fn nothing() -> Self {
        Self {
            epochs: false,
            resolution: false,
            chosen: Vec::new(),
        }
    }

    /// Sets the resolution to that of the backbone; the default is that of the embedded one.
    pub fn set_resolution(&mut self, config: &mut TrainConfig, backbone: &Backbone) {
        if !self.resolution || backbone.resnet.stem != Stem::ImageNet {
            return;
        }
        // Wherever it lies.
        let embedded = Backbone::load("embedded");
        let is_it =
            |embedded: Backbone| embedded.in_bits(backbone.bits()).sha256 == backbone.sha256;
        if !embedded.is_ok_and(is_it) {
            config.resolution = IMAGENET_SIDE;
            self.chosen.push(format!(
                "{IMAGENET_SIDE} pixels, as the backbone was trained at (--resolution)"
            ));
        }
    }

    /// Sets the number of epochs by that of the training images.
    pub fn set_epochs(&mut self, config: &mut TrainConfig, images: usize) {
        if self.epochs {
            let fitting = EPOCHS.iter().find(|(most, _)| images <= *most);
            if let Some((_, epochs)) = fitting {
                config.epochs = *epochs;
            }
            let (epochs, s) = (config.epochs, if images == 1 { "" } else { "s" });
            self.chosen.push(format!(
                "{epochs} epochs for {images} training image{s} (--epochs)"
            ));
        }
    }

    /// Names the directory that was chosen for the run.
    pub fn set_place(&mut self, place: &Path) {
        let shown = printable(place.display());
        self.chosen.push(format!("the run in {shown} (--out)"));
    }

    /// In one line, with the options that decide otherwise.
    pub fn in_words(&self) -> Option<String> {
        (!self.chosen.is_empty()).then(|| format!("chosen    {}", self.chosen.join("; ")))
    }
}

/// Where the run of a command is.
pub enum Place {
    /// It is there, and this process is its only writer.
    Run(RunDir),
    /// It is to be made there, and by no other process.
    New(Claim),
}

/// `runs/NAME` after the images, with a number where there is one already or another process begins one.
///
/// # Errors
/// That would be among the images, or cannot be made.
pub fn place(data: &Location) -> Result<Claim> {
    let data: &Path = data.as_ref();
    if let (Ok(data), Ok(here)) = (data.canonicalize(), Path::new(".").canonicalize()) {
        ensure!(
            !here.starts_with(&data),
            "--out is missing: runs/ would lie among the images in {}; name a directory elsewhere",
            printable(data.display())
        );
    }
    let absolute = std::path::absolute(data).ok();
    let name = absolute.as_deref().and_then(Path::file_name);
    let name = name.unwrap_or("run".as_ref());
    let numbered = |number: usize| {
        let mut name = name.to_owned();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        Path::new("runs").join(name)
    };
    let mut number = 1;
    loop {
        match Claim::take(numbered(number)) {
            Ok(claim) => {
                if number > 1 {
                    tell_of_unfinished(&numbered(number - 1), claim.path());
                }
                return Ok(claim);
            }
            Err(
                FormatError::NotEmpty { .. }
                | FormatError::NotADirectory { .. }
                | FormatError::Locked { .. },
            ) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// That the run before may be what is wanted.
fn tell_of_unfinished(before: &Path, place: &Path) {
    // One that is being written has not stopped.
    let Ok(run) = RunDir::open(before).and_then(RunDir::lock) else {
        return;
    };
    // An imported run has no checkpoint.
    let can_go_on = run.read_checkpoint().is_ok();
    if can_go_on && run.read_results().is_ok_and(|results| results.is_null()) {
        let (before, place) = (printable(before.display()), printable(place.display()));
        output::note(&format!(
            "note: the run in {before} has not come to its end; `bayeslora train --resume --out {before}` goes on with it, and \
             this is a new one in {place}"
        ));
    }
}
