//! The images of a run, found again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;

use super::unopened::Unopened;
use super::{Changes, ReuseError, shown};
use crate::data::folder::{self, Listing};
use crate::data::identity::relative;
use crate::data::source::Source;
use crate::data::{Dataset, Identity, OpenOptions, Progress, idx, sample};
use crate::formats::{DataManifest, Digest, ManifestImages};

/// A part of a run's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }

    fn of(self, manifest: &DataManifest) -> &ManifestImages {
        match self {
            Part::Train => &manifest.train,
            Part::Validation => &manifest.validation,
            Part::Test => &manifest.test,
        }
    }
}

/// The set that a run was trained on, perhaps in another place and perhaps changed since. An image of a folder is
/// found by its content and class, whatever its file is called; one in arrays by its index, if the arrays are
/// the same.
pub struct FoundAgain<'a> {
    manifest: &'a DataManifest,
    data: String,
    found: Found,
}

enum Found {
    Arrays { train: Unopened, test: Unopened },
    Files(Files),
}

struct Files {
    all: Unopened,
    /// By part, as [`Part::ALL`] has them: where its images are among all, in the part's order.
    places: [Vec<Option<usize>>; 3],
    /// By part. What was added is with training or test.
    changes: [Changes; 3],
}

impl<'a> FoundAgain<'a> {
    /// Looks for the run's images in `spec`, which is what [`open`](crate::data::open) takes.
    ///
    /// # Errors
    /// The set cannot be read, or is of another kind or has other classes than the run was trained
    /// on: renamed, added, removed, or in another order.
    pub fn look(
        spec: impl AsRef<Path>,
        manifest: &'a DataManifest,
        progress: Option<Progress>,
    ) -> Result<Self, ReuseError> {
        let spec = spec.as_ref();
        let source = Source::locate(spec)?;
        let in_files = matches!(manifest.train, ManifestImages::Files(_));
        if in_files != matches!(source, Source::Folder(_)) {
            let kinds = [
                "arrays (the sample, CIFAR or IDX)",
                "a folder of image files",
            ];
            return Err(ReuseError::Kind {
                data: shown(spec),
                run: kinds[usize::from(in_files)],
                found: kinds[usize::from(!in_files)],
            });
        }
        let arrays = |train: Dataset, test: Dataset| Found::Arrays {
            train: Unopened::Arrays(train),
            test: Unopened::Arrays(test),
        };
        let found = match source {
            Source::Sample => arrays(sample::train()?, sample::test()?),
            Source::Cifar(layout, dir) => arrays(layout.read_train(&dir)?, layout.read_test(&dir)?),
            Source::Idx(dir) => {
                let (train, test) = idx::read(&dir)?;
                arrays(train, test)
            }
            Source::Folder(root) => {
                // Before a file is read: with other classes nothing else matters.
                let names = folder::classes(&root)?;
                compare_classes(&shown(spec), manifest, &names)?;
                let (listing, is_test) = folder::list(&root, progress)?;
                Found::Files(Files::find(listing, &is_test, manifest))
            }
        };
        let found = Self {
            manifest,
            data: shown(spec),
            found,
        };
        compare_classes(&shown(spec), manifest, found.set(Part::Train).classes())?;
        Ok(found)
    }

    /// Of the images that the run was trained on or chosen by, the share that is here, 0 to 1.
    pub fn share(&self) -> f64 {
        match &self.found {
            Found::Arrays { .. } => match self.check_arrays(Part::Train) {
                Ok(()) => 1.0,
                Err(_) => 0.0,
            },
            Found::Files(files) => {
                let seen = || files.places[..2].iter().flatten();
                seen().flatten().count() as f64 / seen().count().max(1) as f64
            }
        }
    }

    /// What has become of the images of these parts.
    pub fn changes(&self, parts: &[Part]) -> Changes {
        let mut all = Changes::default();
        if let Found::Files(files) = &self.found {
            for part in parts {
                let changes = files.changes[*part as usize].clone();
                all.removed.extend(changes.removed);
                all.changed.extend(changes.changed);
                all.added.extend(changes.added);
            }
        }
        all
    }

    /// The images of these parts that are still there, in the order that they had. Images that came later are in no
    /// part.
    ///
    /// # Errors
    /// The arrays differ from those that the run was trained on; none of a part's images is left; an image cannot be
    /// decoded.
    pub fn open<const N: usize>(
        &self,
        parts: [Part; N],
        options: &OpenOptions,
    ) -> Result<[Dataset; N], ReuseError> {
        let mut memory = options.memory();
        let mut opened = Vec::new();
        for part in parts {
            let indices: Vec<usize> = match &self.found {
                Found::Arrays { .. } => {
                    self.check_arrays(part)?;
                    let all = super::identities(part.of(self.manifest)).into_iter();
                    let index = |identity| match identity {
                        Identity::Indexed { index, .. } => Some(index),
                        Identity::Content(_) => None,
                    };
                    all.filter_map(index).collect()
                }
                Found::Files(files) => files.places[part as usize]
                    .iter()
                    .flatten()
                    .copied()
                    .collect(),
            };
            let images = part.of(self.manifest).len();
            if indices.is_empty() && images > 0 {
                return Err(ReuseError::Gone {
                    data: self.data.clone(),
                    part: part.name(),
                    images,
                });
            }
            let set = self.set(part);
            let labels = labels(set.classes(), &self.manifest.classes);
            let classes = self.manifest.classes.as_slice().into();
            let chosen = set.subset(&indices).relabel(&labels, classes);
            opened.push(chosen.open(options, &mut memory)?);
        }
        Ok(opened.try_into().expect("one a part"))
    }

    fn set(&self, part: Part) -> &Unopened {
        match (&self.found, part) {
            (Found::Files(files), _) => &files.all,
            (Found::Arrays { test, .. }, Part::Test) => test,
            (Found::Arrays { train, .. }, _) => train,
        }
    }

    fn check_arrays(&self, part: Part) -> Result<(), ReuseError> {
        let ManifestImages::Indexed { set: run, ranges } = part.of(self.manifest) else {
            // Nothing was set aside for it.
            return Ok(());
        };
        let set = self.set(part);
        let found = match (0..set.len()).next().and_then(|first| set.identity(first)) {
            Some(Identity::Indexed { set, .. }) => set,
            _ => unreachable!("readers refuse empty sets, and arrays have indices"),
        };
        let within = ranges.iter().all(|[_, end]| *end <= set.len());
        if found == *run && within {
            return Ok(());
        }
        Err(ReuseError::Arrays {
            data: self.data.clone(),
            part: match part {
                Part::Test => "test",
                Part::Train | Part::Validation => "training",
            },
            run: run.to_string(),
            found: found.to_string(),
        })
    }
}

impl Files {
    fn find(all: Listing, is_test: &[bool], manifest: &DataManifest) -> Self {
        let labels = labels(&all.classes, &manifest.classes);
        let paths: Vec<Box<str>> = all
            .files
            .iter()
            .map(|path| relative(path, &all.root))
            .collect();
        let mut unclaimed: HashMap<(Digest, u32), VecDeque<usize>> = HashMap::new();
        for (i, content) in all.contents.iter().enumerate() {
            if let (Some(content), Some(label)) = (content, labels[all.labels[i] as usize]) {
                unclaimed.entry((*content, label)).or_default().push_back(i);
            }
        }
        let by_path: BTreeMap<&str, usize> = paths.iter().map(|path| &**path).zip(0..).collect();
        let mut changed_now = HashSet::new();
        let mut changes: [Changes; 3] = Default::default();
        let places = Part::ALL.map(|part| {
            let ManifestImages::Files(files) = part.of(manifest) else {
                return Vec::new();
            };
            let changes = &mut changes[part as usize];
            let places = files.iter().map(|file| {
                let same = unclaimed.get_mut(&(file.content, file.label));
                let place = same.and_then(VecDeque::pop_front);
                if place.is_none() {
                    match by_path.get(&*file.path) {
                        // Else it has moved to another class, and stands where another was.
                        Some(there) if all.contents[*there] != Some(file.content) => {
                            changed_now.insert(*there);
                            changes.changed.push(file.path.clone());
                        }
                        _ => changes.removed.push(file.path.clone()),
                    }
                }
                place
            });
            places.collect()
        });
        // Of a part of a set nobody knows what else there was.
        if !manifest.is_limited {
            let left_out = manifest.skipped.iter().chain(&manifest.near_copies);
            let left_out: HashSet<&Digest> = left_out.collect();
            let left = unclaimed
                .iter()
                .filter(|((content, _), _)| !left_out.contains(content));
            let mut added: Vec<usize> = left.flat_map(|(_, places)| places).copied().collect();
            added.retain(|i| !changed_now.contains(i));
            added.sort_unstable();
            for i in added {
                let part = if is_test[i] { Part::Test } else { Part::Train };
                changes[part as usize].added.push(paths[i].to_string());
            }
        }
        Self {
            all: Unopened::Files(all),
            places,
            changes,
        }
    }
}

/// By the labels of `found`: the run's.
fn labels(found: &[String], run: &[String]) -> Vec<Option<u32>> {
    let place = |name| Some(run.iter().position(|known| known == name)? as u32);
    found.iter().map(place).collect()
}

/// What the run was trained without may have any place, or be gone.
fn compare_classes(
    data: &str,
    manifest: &DataManifest,
    found: &[String],
) -> Result<(), ReuseError> {
    let left_out = &manifest.held_out_classes;
    let kept = found.iter().filter(|name| !left_out.contains(name));
    let kept: Vec<String> = kept.cloned().collect();
    match kept == manifest.classes {
        true => Ok(()),
        false => Err(ReuseError::Classes {
            data: data.to_owned(),
            run: manifest.classes.clone(),
            found: kept,
        }),
    }
}
