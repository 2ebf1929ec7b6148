//! Why a set cannot be used with a run.

use super::Changes;
use crate::data::DataError;
use crate::formats::printable;

/// Why an image set cannot be used with a run. Every message names the set, what was found and what
/// the run was trained on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReuseError {
    #[error(transparent)]
    Data(#[from] DataError),

    #[error(
        "{data}: its classes are not those that the run was trained on\n{}",
        side_by_side(run, found)
    )]
    Classes {
        data: String,
        /// In the order of the labels.
        run: Vec<String>,
        found: Vec<String>,
    },

    #[error("{data}: found {found}, but the run was trained on {run}")]
    Kind {
        data: String,
        run: &'static str,
        found: &'static str,
    },

    #[error(
        "{data}: the pixels or labels of its {part} set are not those that the run was trained \
         with (SHA-256 {found}, expected {run})"
    )]
    Arrays {
        data: String,
        part: &'static str,
        run: String,
        found: String,
    },

    #[error("{data}: the images are not those that the run was trained on: {changes}")]
    Changed { data: String, changes: Changes },

    #[error("{data}: none of the {images} {part} images of the run is there")]
    Gone {
        data: String,
        part: &'static str,
        images: usize,
    },

    #[error(
        "{data}: the run does not know {} ({}); it knows {}",
        match unknown.len() { 1 => "this class".into(), n => format!("these {n} classes") },
        listed(unknown, 10),
        listed(known, 10)
    )]
    UnknownClasses {
        data: String,
        unknown: Vec<String>,
        known: Vec<String>,
    },

    #[error(
        "{data}: no image is left to score: the run was trained on {seen} of its {all} images or chosen by them, \
         and {of_other_classes} are of classes that it was trained without or does not know"
    )]
    NothingToScore {
        data: String,
        all: usize,
        seen: usize,
        of_other_classes: usize,
    },

    #[error(
        "{data}: the run does not say which images it was trained on (an earlier version made it), and this \
         folder has no test part: they would be among those that are scored; put the images to score into \
         test/CLASS/* of a folder, or train the run again"
    )]
    Unrecorded { data: String },
}

/// The first few of them.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let shown = names
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let shown = printable(shown);
    match names.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// Old and new names that differ, in two columns.
fn side_by_side(run: &[String], found: &[String]) -> String {
    const SHOWN: usize = 20;
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        from.iter()
            .filter(|name| !of.contains(name))
            .cloned()
            .collect()
    };
    let (gone, new) = (missing(run, found), missing(found, run));
    let mut rows: Vec<(String, String)> = match (gone.len(), new.len()) {
        (0, 0) => run.iter().cloned().zip(found.iter().cloned()).collect(),
        // As many: most likely renamed.
        (old, now) if old == now => gone.into_iter().zip(new).collect(),
        _ => {
            let gone = gone.into_iter().map(|name| (name, "-".to_owned()));
            gone.chain(new.into_iter().map(|name| ("-".to_owned(), name)))
                .collect()
        }
    };
    rows.retain(|(old, new)| old != new);
    for name in rows.iter_mut().flat_map(|(old, new)| [old, new]) {
        *name = printable(&*name);
    }
    let more = rows.len().saturating_sub(SHOWN);
    rows.truncate(SHOWN);
    rows.insert(0, ("run".into(), "now".into()));
    let width = rows.iter().map(|(old, _)| old.chars().count()).max();
    let width = width.unwrap_or_default();
    let lines = rows
        .iter()
        .map(|(old, new)| format!("  {old:width$}  {new}"));
    let mut lines: Vec<_> = lines.collect();
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn names_that_differ_stand_side_by_side() {
        let show = |run, found| side_by_side(&names(run), &names(found));
        assert_eq!(show("ant cat", "ant kitten"), "  run  now\n  cat  kitten");
        assert_eq!(show("ant cat", "ant"), "  run  now\n  cat  -");
        assert_eq!(
            show("ant", "ant hedgehog bee"),
            "  run  now\n  -    hedgehog\n  -    bee"
        );
        assert_eq!(
            show("ant bee cat", "ant cat bee"),
            "  run  now\n  bee  cat\n  cat  bee"
        );
        let many: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        assert!(side_by_side(&many, &names("x y")).ends_with("and 12 more"));
    }
}
