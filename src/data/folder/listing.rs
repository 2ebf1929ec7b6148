//! Which image files a part of a folder has, and of which classes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entries::{Entries, class_dirs};
use super::left_out::LeftOut;
use crate::data::DataError;
use crate::data::dataset::balanced_prefix;
use crate::data::image::EXTENSIONS;
use crate::formats::{Digest, printable};

/// The image files of one part, not yet decoded.
#[derive(Clone)]
pub struct Listing {
    pub dir: PathBuf,
    /// What paths are told relative to: the directory that the user named.
    pub root: PathBuf,
    pub files: Vec<PathBuf>,
    /// Of the files' bytes, where [`identify`](Listing::identify) has read them: as many as files, or none.
    pub contents: Vec<Option<Digest>>,
    pub labels: Vec<u32>,
    pub classes: Arc<[String]>,
    /// What is left out or was decided, a line each.
    pub notes: Vec<String>,
}

impl Listing {
    /// The part of `root` in `dir`; `known` is the training directory and the classes to number by.
    pub fn read(
        root: &Path,
        dir: &Path,
        known: Option<(&Path, Arc<[String]>)>,
    ) -> Result<Listing, DataError> {
        let class_dirs = class_dirs(dir)?;
        let beside = Entries::read(dir)?;
        if class_dirs.is_empty() {
            return Err(DataError::NoClassFolders {
                path: dir.to_path_buf(),
                entries: beside.len(),
                images: beside.images.len(),
            });
        }
        let mut left_out = LeftOut::default();
        left_out.add_beside(&beside.images);
        left_out.add_unread(&beside);
        // What links lead back to is not deeper.
        let known_dirs = class_dirs
            .iter()
            .map(|(_, path)| &**path)
            .chain([dir, root]);
        let mut seen: HashSet<PathBuf> = known_dirs.filter_map(|p| p.canonicalize().ok()).collect();
        let (train_dir, classes) =
            known.unwrap_or_else(|| (dir, class_dirs.iter().map(|c| c.0.clone()).collect()));
        let mut listing = Listing {
            dir: dir.to_path_buf(),
            root: root.to_path_buf(),
            files: Vec::new(),
            contents: Vec::new(),
            labels: Vec::new(),
            classes,
            notes: differ_in_case(&class_dirs),
        };
        for (name, path) in class_dirs {
            let Some(label) = listing.classes.iter().position(|class| *class == name) else {
                let alike = |class: &&String| class.to_lowercase() == name.to_lowercase();
                return Err(DataError::UnknownClass {
                    path,
                    train: train_dir.to_path_buf(),
                    alike: listing.classes.iter().find(alike).cloned(),
                });
            };
            let mut entries = Entries::read(&path)?;
            let images = std::mem::take(&mut entries.images);
            left_out.add(&entries, &mut seen);
            if images.is_empty() {
                return Err(DataError::EmptyClass {
                    path,
                    others: entries.len() - entries.unread.len(),
                    unread: entries.unread.len(),
                    kinds: EXTENSIONS.join(", "),
                });
            }
            listing.files.extend(images);
            listing.labels.resize(listing.files.len(), label as u32);
        }
        listing.notes.extend(left_out.notes(dir));
        Ok(listing)
    }

    pub fn limit(self, limit: Option<usize>) -> Listing {
        match limit {
            Some(n) if n < self.files.len() => self.subset(&balanced_prefix(&self.labels, n)),
            _ => self,
        }
    }

    pub fn subset(&self, indices: &[usize]) -> Listing {
        let contents = match self.contents.is_empty() {
            true => Vec::new(),
            false => indices.iter().map(|&i| self.contents[i]).collect(),
        };
        Listing {
            dir: self.dir.clone(),
            root: self.root.clone(),
            files: indices.iter().map(|&i| self.files[i].clone()).collect(),
            contents,
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
            notes: self.notes.clone(),
        }
    }
}

/// Two classes here are one on systems that do not tell capitals from small letters.
fn differ_in_case(class_dirs: &[(String, PathBuf)]) -> Vec<String> {
    let mut known = HashMap::new();
    let pairs = class_dirs.iter().filter_map(|(name, path)| {
        let before = known.insert(name.to_lowercase(), path)?;
        let [first, second] = [before, path].map(|path| printable(path.display()));
        Some(format!(
            "{first} and {second} differ in case only and are two classes"
        ))
    });
    pairs.collect()
}
