//! Image sets of a trained run: its own ones found again, and others to score it on.

mod again;
mod changes;
mod classes;
mod error;
mod scored;
mod unopened;

pub use again::{FoundAgain, Part};
pub use changes::Changes;
pub use classes::{ClassMatch, match_classes};
pub use error::ReuseError;
pub use scored::{ScoreOptions, Scored, ScoredPart, TrainedOn, open_scored};

use std::collections::HashSet;
use std::path::Path;

use super::{Dataset, Identity};
use crate::formats::{DataManifest, ManifestImages, printable};

/// What the images of a part are.
fn identities(images: &ManifestImages) -> Vec<Identity> {
    match images {
        ManifestImages::Files(files) => files
            .iter()
            .map(|file| Identity::Content(file.content))
            .collect(),
        ManifestImages::Indexed { set, ranges } => ranges
            .iter()
            .flat_map(|[first, end]| *first..*end)
            .map(|index| Identity::Indexed { set: *set, index })
            .collect(),
    }
}

/// The images of several parts together.
fn together<'a>(parts: impl IntoIterator<Item = &'a ManifestImages>) -> HashSet<Identity> {
    parts.into_iter().flat_map(identities).collect()
}

/// How many of `images` are in other parts too, by their content.
pub fn shared<'a>(
    images: &ManifestImages,
    others: impl IntoIterator<Item = &'a ManifestImages>,
) -> usize {
    let others = together(others);
    let images = identities(images);
    images.iter().filter(|image| others.contains(image)).count()
}

/// Places of images by what a run has made of them before.
pub struct Before {
    /// It was trained on these, or whatever it went on from was.
    pub trained: Vec<usize>,
    /// It has set these aside.
    pub aside: Vec<usize>,
    /// It has not had these.
    pub new: Vec<usize>,
}

impl Before {
    /// Of each image of a set, what the run that left this record has made of it.
    pub fn of(images: &Dataset, record: &DataManifest) -> Self {
        let aside = together([&record.validation]);
        let trained = together([&record.train].into_iter().chain(&record.before));
        let mut found = Self {
            trained: Vec::new(),
            aside: Vec::new(),
            new: Vec::new(),
        };
        for place in 0..images.len() {
            let identity = images.identity(place);
            let part = match (trained.contains(&identity), aside.contains(&identity)) {
                (true, _) => &mut found.trained,
                (false, true) => &mut found.aside,
                (false, false) => &mut found.new,
            };
            part.push(place);
        }
        found
    }
}

fn shown(path: &Path) -> String {
    printable(path.display())
}
