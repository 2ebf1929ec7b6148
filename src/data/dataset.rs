//! Labelled images and the ways to take parts of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::DataError;
use super::batches::keyed_rng;
use super::identity::{FileIdentity, Identities, Identity};
use super::picture::Picture;
use super::pixels::Pixels;
use crate::formats::{Digest, ManifestFile, ManifestImages};

/// Square RGB images of one size with their labels. The pixels are in host memory, or in files that
/// are decoded when they are read; parts of a set share them.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Height and width of every image, in pixels.
    pub side: usize,
    pixels: Pixels,
    /// `[n]`, the place of each image among `pixels`.
    places: Vec<usize>,
    identities: Identities,
    /// `[n]`, the place of each image among `identities`.
    origins: Vec<usize>,
    /// `[n]`, each below `classes.len()`.
    pub labels: Vec<u32>,
    /// Class names, by label.
    pub classes: Arc<[String]>,
    /// Images left out because they could not be decoded; empty in a [`subset`](Self::subset).
    pub skipped: Vec<SkippedImage>,
    /// What else of a folder was left out, or taken in a way that is not plain, a line each; empty in a
    /// [`subset`](Self::subset).
    pub notes: Vec<String>,
}

/// An image that was left out, and why.
#[derive(Clone, Debug)]
pub struct SkippedImage {
    /// The file.
    pub path: PathBuf,
    /// Why it could not be decoded.
    pub reason: String,
    /// Of the file's bytes, where they could be read.
    pub content: Option<Digest>,
}

impl Dataset {
    /// Images in host memory: `pixels` is `[n, side, side, 3]`, image, row, column, channel (red,
    /// green, blue), 0 to 255 as stored (sRGB); `labels` is `[n]`. An image is known by its index and
    /// the SHA-256 of all pixels and labels.
    ///
    /// # Panics
    ///
    /// If there is not one label per image.
    pub fn new(side: usize, pixels: Vec<u8>, labels: Vec<u32>, classes: Arc<[String]>) -> Self {
        assert_eq!(
            pixels.len(),
            labels.len() * side * side * 3,
            "bytes of pixels"
        );
        let identities = Identities::of_arrays(side, &pixels, &labels);
        let pixels = Pixels::Memory(Arc::new(pixels));
        Self::over(side, pixels, identities, labels, classes)
    }

    /// Pictures in an application's memory with their labels, brought to `side` x `side`.
    ///
    /// # Errors
    /// A picture cannot be used, `side` is 0, or a label is not below the number of classes.
    pub fn from_pictures(
        side: usize,
        pictures: &[(Picture, u32)],
        classes: Arc<[String]>,
    ) -> Result<Self, DataError> {
        let mut pixels = Vec::new();
        for (image, (picture, label)) in pictures.iter().enumerate() {
            if *label as usize >= classes.len() {
                return Err(DataError::NoClass {
                    image,
                    label: *label,
                    classes: classes.len(),
                });
            }
            pixels.extend(picture.square(side)?);
        }
        let labels = pictures.iter().map(|(_, label)| *label).collect();
        Ok(Self::new(side, pixels, labels, classes))
    }

    /// Images of files: their pixels as in [`new`](Self::new), or where to decode them from whenever
    /// they are read; `files` is `[n]`.
    pub(super) fn of_files(
        side: usize,
        pixels: Pixels,
        files: Vec<FileIdentity>,
        labels: Vec<u32>,
        classes: Arc<[String]>,
    ) -> Self {
        let identities = Identities::Files(Arc::new(files));
        Self::over(side, pixels, identities, labels, classes)
    }

    fn over(
        side: usize,
        pixels: Pixels,
        identities: Identities,
        labels: Vec<u32>,
        classes: Arc<[String]>,
    ) -> Self {
        Self {
            side,
            pixels,
            identities,
            places: (0..labels.len()).collect(),
            origins: (0..labels.len()).collect(),
            labels,
            classes,
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: `side * side * 3`.
    pub fn image_bytes(&self) -> usize {
        self.side * self.side * 3
    }

    /// Whether the pixels are in host memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.pixels, Pixels::Memory(_))
    }

    /// What image `i` is.
    ///
    /// # Panics
    ///
    /// If `i` is not below [`len`](Self::len).
    pub fn identity(&self, i: usize) -> Identity {
        self.identities.at(self.origins[i])
    }

    /// The identities of all images, as a run keeps them.
    pub fn listed(&self) -> ManifestImages {
        match &self.identities {
            Identities::Indexed(set) => ManifestImages::indexed(*set, self.origins.iter().copied()),
            Identities::Files(files) => {
                let images = self.origins.iter().zip(&self.labels);
                let file = |(origin, label): (&usize, &u32)| ManifestFile {
                    content: files[*origin].content,
                    label: *label,
                    path: files[*origin].path.to_string(),
                };
                ManifestImages::Files(images.map(file).collect())
            }
        }
    }

    /// Without the images that `others` has too, exact copies of files among them.
    pub fn without(&self, others: &[&Dataset]) -> Dataset {
        let known: HashSet<Identity> = others
            .iter()
            .flat_map(|set| (0..set.len()).map(|i| set.identity(i)))
            .collect();
        let others = (0..self.len()).filter(|i| !known.contains(&self.identity(*i)));
        let mut left = self.subset(&others.collect::<Vec<_>>());
        left.skipped = self.skipped.clone();
        left.notes = self.notes.clone();
        left
    }

    /// Image `i` as `[side, side, 3]`.
    ///
    /// # Errors
    ///
    /// [`DataError::BadImage`] where it has to be decoded and its file has changed.
    ///
    /// # Panics
    ///
    /// If `i` is not below [`len`](Self::len).
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>, DataError> {
        let bytes = self.image_bytes();
        match &self.pixels {
            Pixels::Memory(pixels) => Ok(pixels[self.places[i] * bytes..][..bytes].into()),
            Pixels::Files(_) => self.read(&[i]).map(Cow::from),
        }
    }

    /// The images at `indices` as `[indices, side, side, 3]`; those in files are decoded by all
    /// cores.
    ///
    /// # Errors
    ///
    /// [`DataError::BadImage`] where a file has changed since the set was opened.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn read(&self, indices: &[usize]) -> Result<Vec<u8>, DataError> {
        let places: Vec<usize> = indices.iter().map(|&i| self.places[i]).collect();
        self.pixels.read(&places, self.side)
    }

    /// The images at `indices`, in that order; an index may occur more than once.
    ///
    /// # Panics
    ///
    /// If an index is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[usize]) -> Dataset {
        Dataset {
            side: self.side,
            pixels: self.pixels.clone(),
            places: indices.iter().map(|&i| self.places[i]).collect(),
            identities: self.identities.clone(),
            origins: indices.iter().map(|&i| self.origins[i]).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// At most `n` images, class-balanced: the first `n / classes` of each class, in file order.
    ///
    /// Where `n` is not a multiple of the number of classes the lowest labels get one more; where a
    /// class has fewer images than its share the others fill up. Order is kept. With `n` at or above
    /// [`len`](Self::len) nothing is left out.
    ///
    /// # Errors
    ///
    /// [`DataError::Zero`] for `n = 0`.
    pub fn limit(self, n: usize) -> Result<Dataset, DataError> {
        if n == 0 {
            return Err(DataError::Zero { option: "limit" });
        }
        if n >= self.len() {
            return Ok(self);
        }
        let indices = balanced_prefix(&self.labels, n);
        let mut kept = self.subset(&indices);
        if self.is_in_memory() {
            // A copy, so that the rest is not held on to.
            kept.pixels = Pixels::Memory(Arc::new(self.read(&indices)?));
            kept.places = (0..n).collect();
        }
        kept.skipped = self.skipped;
        kept.notes = self.notes;
        Ok(kept)
    }

    /// The same images in an order of which every beginning is class-balanced: the first of each class,
    /// then the second of each, and so on.
    pub fn interleaved(&self) -> Dataset {
        self.subset(&by_turns(&self.labels))
    }

    /// The images of the classes that are named, and of the others; both count their own classes.
    ///
    /// # Errors
    ///
    /// [`DataError::NoSuchClass`] for a name that is not a class; [`DataError::TooFewLeft`] where
    /// fewer than two others are left.
    pub fn part_classes(&self, names: &[String]) -> Result<(Dataset, Dataset), DataError> {
        if let Some(name) = names.iter().find(|name| !self.classes.contains(name)) {
            return Err(DataError::NoSuchClass {
                name: name.clone(),
                classes: self.classes.to_vec(),
            });
        }
        let left = self.classes.len() - names.len();
        if left < 2 {
            return Err(DataError::TooFewLeft { left });
        }
        let part = |named: bool| {
            let is_in = |label: &u32| names.contains(&self.classes[*label as usize]) == named;
            let labels: Vec<u32> = (0..self.classes.len() as u32).filter(is_in).collect();
            let indices: Vec<usize> = (0..self.len())
                .filter(|&i| is_in(&self.labels[i]))
                .collect();
            let mut part = self.subset(&indices);
            part.skipped = self.skipped.clone();
            part.notes = self.notes.clone();
            for label in &mut part.labels {
                *label = labels.partition_point(|known| known < label) as u32;
            }
            part.classes = labels
                .iter()
                .map(|&label| self.classes[label as usize].clone())
                .collect();
            part
        };
        Ok((part(true), part(false)))
    }

    /// Images of each class, `[classes]`.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in &self.labels {
            counts[*label as usize] += 1;
        }
        counts
    }

    /// Whether its images are files, and not parts of arrays; not where it has none.
    pub fn has_files(&self) -> bool {
        !self.is_empty() && matches!(self.identity(0), Identity::Content(_))
    }

    /// Sets the share `fraction` of every class aside: `(train, validation)`, each in file order.
    ///
    /// The draw depends on `seed` and on each class's own images only. A class gives the nearest whole
    /// number of images, at least one and never its last; a class of one image stays in train.
    ///
    /// # Errors
    ///
    /// [`DataError::Fraction`] unless `0 < fraction < 1`; [`DataError::TooFewToSplit`] where no class
    /// has two images.
    pub fn split_validation(
        &self,
        fraction: f64,
        seed: u64,
    ) -> Result<(Dataset, Dataset), DataError> {
        let each: Vec<usize> = (0..self.len()).collect();
        self.split_validation_by(fraction, seed, &each)
    }

    /// The same with [`groups`](super::Looks::groups) `[n]` that stay together. One that is larger than the share of a class
    /// stays in train, so a class may give fewer images, or none.
    ///
    /// # Errors
    ///
    /// As [`split_validation`](Self::split_validation); [`DataError::TooFewToSplit`] also where every class is one group.
    pub fn split_validation_by(
        &self,
        fraction: f64,
        seed: u64,
        groups: &[usize],
    ) -> Result<(Dataset, Dataset), DataError> {
        let split = stratified_split(&self.labels, groups, fraction, seed)?;
        Ok((self.subset(&split.kept), self.subset(&split.aside)))
    }
}

/// A partition of `0..n`, both parts ascending.
pub(super) struct Split {
    pub kept: Vec<usize>,
    pub aside: Vec<usize>,
}

/// See [`Dataset::split_validation`].
fn stratified_split(
    labels: &[u32],
    groups: &[usize],
    fraction: f64,
    seed: u64,
) -> Result<Split, DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Fraction { fraction });
    }
    let by_class = indices_by_class(labels);
    let classes = by_class.len();
    // Images that each class may still give.
    let mut left: Vec<usize> = by_class
        .iter()
        .map(|indices| match indices.len() {
            0 | 1 => 0,
            n => ((n as f64 * fraction).round() as usize).clamp(1, n - 1),
        })
        .collect();
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, group) in groups.iter().enumerate() {
        members.entry(*group).or_default().push(i);
    }
    let mut is_decided = vec![false; labels.len()];
    let mut is_aside = is_decided.clone();
    for (class, mut indices) in by_class.into_iter().enumerate() {
        indices.shuffle(&mut keyed_rng("validation", seed, class as u64));
        for i in indices {
            if left[class] == 0 {
                break;
            }
            if std::mem::replace(&mut is_decided[groups[i]], true) {
                continue;
            }
            let group = &members[&groups[i]];
            let of = |class: usize| {
                group
                    .iter()
                    .filter(|i| labels[**i] as usize == class)
                    .count()
            };
            let fits = (0..left.len()).all(|class| of(class) <= left[class]);
            if fits {
                for i in group {
                    is_aside[*i] = true;
                    left[labels[*i] as usize] -= 1;
                }
            }
        }
    }
    let (aside, kept): (Vec<_>, Vec<_>) = (0..labels.len()).partition(|&i| is_aside[i]);
    if aside.is_empty() {
        return Err(DataError::TooFewToSplit {
            images: labels.len(),
            classes,
            fraction,
        });
    }
    Ok(Split { kept, aside })
}

/// Ascending indices of the class-balanced prefix that [`Dataset::limit`] describes.
pub(super) fn balanced_prefix(labels: &[u32], n: usize) -> Vec<usize> {
    let mut kept = by_turns(labels);
    kept.truncate(n);
    kept.sort_unstable();
    kept
}

/// The first of each class, then the second of each, and so on.
fn by_turns(labels: &[u32]) -> Vec<usize> {
    let mut order: Vec<(usize, u32, usize)> = indices_by_class(labels)
        .into_iter()
        .zip(0..)
        .flat_map(|(indices, label)| {
            let ranked = indices.into_iter().enumerate();
            ranked.map(move |(rank, i)| (rank, label, i))
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, i)| i).collect()
}

fn indices_by_class(labels: &[u32]) -> Vec<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |&m| m as usize + 1);
    let mut by_class = vec![Vec::new(); classes];
    for (i, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(i);
    }
    by_class
}
