//! The images that a run is scored on.

use std::collections::HashSet;
use std::path::Path;

use super::unopened::Unopened;
use super::{ClassMatch, ReuseError, match_classes, shown, together};
use crate::data::source::Source;
use crate::data::{Dataset, Identity, OpenOptions, folder, idx, sample};
use crate::formats::DataManifest;

/// Share of the run's training and validation images from which on a folder is the run's own.
const OWN: f64 = 0.5;

/// What a run was trained on, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct TrainedOn<'a> {
    /// Names of its classes, by label.
    pub classes: &'a [String],
    /// Classes that it was trained without.
    pub held_out_classes: &'a [String],
    /// Which images; `None` where it is not recorded.
    pub images: Option<&'a DataManifest>,
    /// Whether a folder without a test part is refused where it is not recorded: the run was trained on some set of
    /// which this may be a copy.
    pub is_cautious: bool,
}

/// How [`open_scored`] reads.
#[derive(Clone, Copy, Default)]
pub struct ScoreOptions<'a> {
    /// [`OpenOptions::limit_train`] has no meaning here.
    pub open: OpenOptions<'a>,
    /// Leave out classes that the run does not know instead of failing.
    pub ignore_unknown_classes: bool,
}

/// Which images of a set are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoredPart {
    /// Its test part.
    Test,
    /// All of a folder without parts.
    All,
    /// Of a folder without parts that the run was trained on: what was set aside for testing.
    HeldOut,
}

/// Images to score a run on, and how they were chosen.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Labels count the run's classes.
    pub images: Dataset,
    pub part: ScoredPart,
    /// Images of the part, or of the whole folder for [`ScoredPart::HeldOut`].
    pub of: usize,
    /// Left out because the run was trained on them or chosen by them, [`ScoredPart::HeldOut`] not counted.
    pub seen: usize,
    /// Images of classes that the run does not know or was trained without.
    pub of_other_classes: usize,
    /// If the set is the run's own: recorded test images that are not there any more, by their content.
    pub gone: usize,
    /// If the whole folder was looked at: the same of images that the run was trained on or chosen by.
    pub gone_seen: usize,
    pub classes: ClassMatch,
}

/// Opens what `spec`, which is what [`open`](crate::data::open) takes, has to score a run on: the test part where
/// there is one; else, of a folder, what the run has held out if it is the run's own, and all of it if it is not.
/// Images that the run was trained on or chosen by are left out wherever they turn up, by their
/// content.
///
/// # Errors
/// The set cannot be read; it has classes that the run does not know; nothing is left to score.
pub fn open_scored(
    spec: impl AsRef<Path>,
    run: TrainedOn,
    options: &ScoreOptions,
) -> Result<Scored, ReuseError> {
    options.open.check()?;
    let spec = spec.as_ref();
    let (all, is_test) = match Source::locate(spec)? {
        Source::Sample => (Unopened::Arrays(sample::test()?), None),
        Source::Cifar(layout, dir) => (Unopened::Arrays(layout.read_test(&dir)?), None),
        Source::Idx(dir) => (Unopened::Arrays(idx::read_test(&dir)?), None),
        Source::Folder(root) => {
            let (listing, is_test) = folder::list_test(&root, options.open.progress)?;
            (Unopened::Files(listing), is_test)
        }
    };
    let classes = match_classes(run.classes, run.held_out_classes, all.classes());
    let is_known = classes.labels.iter().any(Option::is_some);
    if !(classes.unknown.is_empty() || options.ignore_unknown_classes && is_known) {
        return Err(ReuseError::UnknownClasses {
            data: shown(spec),
            unknown: classes.unknown,
            known: run.classes.to_vec(),
        });
    }
    if is_test.is_some() && run.images.is_none() && run.is_cautious {
        let data = shown(spec);
        return Err(ReuseError::Unrecorded { data });
    }
    let known = |i: &usize| classes.labels[all.labels()[*i] as usize].is_some();
    let mut chosen: Vec<usize> = (0..all.len()).filter(known).collect();
    let of_other_classes = all.len() - chosen.len();
    let mut part = match is_test {
        None => ScoredPart::Test,
        Some(_) => ScoredPart::All,
    };
    let (mut left_out, mut gone, mut gone_seen) = (0, 0, 0);
    if let Some(manifest) = run.images {
        let is_in = |i: usize, set: &HashSet<Identity>| {
            all.identity(i)
                .is_some_and(|identity| set.contains(&identity))
        };
        let seen = together(manifest.seen());
        let (tested, own) = (together([&manifest.test]), together(manifest.own()));
        let here: HashSet<Identity> = (0..all.len()).filter_map(|i| all.identity(i)).collect();
        let is_own = is_test.is_some() && share(&here, &own) >= OWN;
        if is_own {
            gone_seen = own.difference(&here).count();
        }
        if is_own || share(&here, &tested) >= OWN {
            gone = tested.difference(&here).count();
        }
        if let Some(is_test) = is_test.filter(|_| is_own) {
            part = ScoredPart::HeldOut;
            let near = manifest.near_copies.iter().copied();
            let near = near.map(Identity::Content).collect();
            chosen.retain(|i| is_in(*i, &tested) || is_test[*i] && !is_in(*i, &near));
        }
        let before = chosen.len();
        chosen.retain(|i| !is_in(*i, &seen));
        left_out = before - chosen.len();
    }
    if chosen.is_empty() {
        return Err(ReuseError::NothingToScore {
            data: shown(spec),
            all: all.len(),
            seen: left_out,
            of_other_classes,
        });
    }
    let scored = all
        .subset(&chosen)
        .relabel(&classes.labels, run.classes.into());
    let scored = scored.limit(options.open.limit_test)?;
    let mut memory = options.open.memory();
    Ok(Scored {
        images: scored.open(&options.open, &mut memory)?,
        part,
        of: all.len(),
        seen: left_out,
        of_other_classes,
        gone,
        gone_seen,
        classes,
    })
}

/// Of recorded images, the share that is here.
fn share(here: &HashSet<Identity>, recorded: &HashSet<Identity>) -> f64 {
    here.intersection(recorded).count() as f64 / recorded.len().max(1) as f64
}
