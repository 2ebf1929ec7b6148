//! Which image files a part of a folder has, and of which classes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entries::{class_dirs, entries, is_image};
use crate::data::DataError;
use crate::data::dataset::balanced_prefix;
use crate::data::image::EXTENSIONS;
use crate::formats::Digest;

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
}

impl Listing {
    /// The part of `root` in `dir`; `known` is the training directory and the classes to number by.
    pub fn read(
        root: &Path,
        dir: &Path,
        known: Option<(&Path, Arc<[String]>)>,
    ) -> Result<Listing, DataError> {
        let class_dirs = class_dirs(dir)?;
        if class_dirs.is_empty() {
            return Err(DataError::NoClassFolders {
                path: dir.to_path_buf(),
                entries: entries(dir)?.len(),
            });
        }
        let (train_dir, classes) =
            known.unwrap_or_else(|| (dir, class_dirs.iter().map(|c| c.0.clone()).collect()));
        let mut listing = Listing {
            dir: dir.to_path_buf(),
            root: root.to_path_buf(),
            files: Vec::new(),
            contents: Vec::new(),
            labels: Vec::new(),
            classes,
        };
        for (name, path) in class_dirs {
            let Some(label) = listing.classes.iter().position(|class| *class == name) else {
                return Err(DataError::UnknownClass {
                    path,
                    train: train_dir.to_path_buf(),
                });
            };
            let entries = entries(&path)?;
            let found = entries.len();
            let before = listing.files.len();
            listing
                .files
                .extend(entries.into_iter().filter(|path| is_image(path)));
            if listing.files.len() == before {
                return Err(DataError::EmptyClass {
                    path,
                    others: found,
                    kinds: EXTENSIONS.join(", "),
                });
            }
            listing.labels.resize(listing.files.len(), label as u32);
        }
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
        }
    }
}
