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

use super::Identity;
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

/// The images that the run was trained on or chosen by.
fn seen(manifest: &DataManifest) -> HashSet<Identity> {
    manifest.seen().into_iter().flat_map(identities).collect()
}

fn shown(path: &Path) -> String {
    printable(path.display())
}
