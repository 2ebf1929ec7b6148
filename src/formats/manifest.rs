//! What a run was trained on: its classes, and which images were training, validation and test.

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::files::{io_error, write_atomic};
use super::{Digest, FormatError, checksum, read_regular};

const VERSION: u32 = 1;

/// The most that a manifest may inflate to, in bytes: some ten million images.
const LARGEST: u64 = 1 << 30;
const MOST_IMAGES: usize = 1 << 31;

/// What a run was trained on, so that it can be told again: `data.json.gz` of its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataManifest {
    version: u32,
    /// What the image set is called.
    pub name: String,
    /// Hex SHA-256 of the backbone's content, [`BackboneFile::sha256`](super::BackboneFile::sha256).
    pub backbone_sha256: String,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Classes of the set that were left out.
    pub held_out_classes: Vec<String>,
    /// Whether the number of images was limited: then there were others that it does not name.
    pub is_limited: bool,
    pub train: ManifestImages,
    /// Training images of each class, where `train` does not say what its images are; earlier versions have not kept them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train_counts: Vec<usize>,
    pub validation: ManifestImages,
    pub test: ManifestImages,
    /// Files that could not be decoded and were left out.
    pub skipped: Vec<Digest>,
    /// Test files that nearly repeat training images; those that are not in `test` were left out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_copies: Vec<Digest>,
    /// Where training went on from another run's adapter: what that was trained on or chosen by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<ManifestImages>,
}

/// The images of one part, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ManifestImages {
    /// Of a folder.
    Files(Vec<ManifestFile>),
    /// Of a set in arrays.
    Indexed {
        /// Of all pixels and labels of the set that the indices count in.
        set: Digest,
        /// Ranges of indices, first and one past the last.
        ranges: Vec<[usize; 2]>,
    },
}

/// An image file; written as its digest, its label and its path with spaces between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ManifestFile {
    /// Of the file's bytes.
    pub content: Digest,
    /// Its class's place among [`DataManifest::classes`].
    pub label: u32,
    /// Below the set's directory, with `/` between the names.
    pub path: String,
}

impl DataManifest {
    /// One with nothing in it yet.
    pub fn new(name: String, classes: Vec<String>) -> Self {
        let none = || ManifestImages::Files(Vec::new());
        Self {
            version: VERSION,
            name,
            backbone_sha256: String::new(),
            classes,
            held_out_classes: Vec::new(),
            is_limited: false,
            train: none(),
            train_counts: Vec::new(),
            validation: none(),
            test: none(),
            skipped: Vec::new(),
            near_copies: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Writes the file atomically: gzipped JSON that carries its own SHA-256. The same manifest is
    /// always the same bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FormatError> {
        let text = checksum::json_line(&path.display().to_string(), self)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let bytes = encoder
            .write_all(text.as_bytes())
            .and_then(|()| encoder.finish())
            .map_err(io_error("compress", path))?;
        write_atomic(path, &bytes)
    }

    /// Reads what [`write`](Self::write) has written.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, is of another version or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let packed = read_regular(path, LARGEST).map_err(io_error("read", path))?;
        let mut text = Vec::new();
        GzDecoder::new(&*packed)
            .take(LARGEST)
            .read_to_end(&mut text)
            .map_err(io_error("unpack", path))?;
        let name = path.display().to_string();
        let manifest: Self = checksum::parse_json(&name, &text, checksum::PUT_BACK)?;
        manifest.check(&name)?;
        Ok(manifest)
    }

    /// Training images of each class; `None` where that is not recorded.
    pub fn train_class_counts(&self) -> Option<Vec<usize>> {
        match &self.train {
            ManifestImages::Files(files) => {
                let mut counts = vec![0; self.classes.len()];
                for file in files {
                    counts[file.label as usize] += 1;
                }
                Some(counts)
            }
            ManifestImages::Indexed { .. } => {
                (!self.train_counts.is_empty()).then(|| self.train_counts.clone())
            }
        }
    }

    /// The parts that the run's own choices were made on: training and validation.
    pub fn own(&self) -> [&ManifestImages; 2] {
        [&self.train, &self.validation]
    }

    /// These, and what the adapter had seen before.
    pub fn seen(&self) -> impl Iterator<Item = &ManifestImages> {
        self.own().into_iter().chain(&self.before)
    }

    fn check(&self, file: &str) -> Result<(), FormatError> {
        let value = |item: &str, found: String, expected: String| {
            Err(FormatError::Value {
                file: file.to_owned(),
                item: item.to_owned(),
                found,
                expected,
            })
        };
        if self.version != VERSION {
            let (found, expected) = (self.version.to_string(), VERSION.to_string());
            return value("version", found, expected);
        }
        for part in self.seen().chain([&self.test]) {
            let ManifestImages::Indexed { ranges, .. } = part else {
                continue;
            };
            let is_sound = |[first, end]: &[usize; 2]| first < end && *end <= MOST_IMAGES;
            if let Some([first, end]) = ranges.iter().find(|range| !is_sound(range)) {
                let expected = format!("a rising one that ends at {MOST_IMAGES} at most");
                return value("a range", format!("{first} to {end}"), expected);
            }
        }
        let counts = &self.train_counts;
        let all = counts.iter().try_fold(0usize, |all, n| all.checked_add(*n));
        let fits = counts.len() == self.classes.len() && all == Some(self.train.len());
        if !(counts.is_empty() || fits) {
            return value(
                "train_counts",
                format!(
                    "{} classes with {} images",
                    counts.len(),
                    all.unwrap_or_default()
                ),
                format!(
                    "{} classes with {} images",
                    self.classes.len(),
                    self.train.len()
                ),
            );
        }
        // Labels of another run count its own classes.
        let parts = self.own().into_iter().chain([&self.test]);
        let mut files = parts.flat_map(|part| match part {
            ManifestImages::Files(listed) => listed.as_slice(),
            ManifestImages::Indexed { .. } => &[],
        });
        let classes = self.classes.len();
        match files.find(|file| file.label as usize >= classes) {
            None => Ok(()),
            Some(file) => value(
                &format!("the label of `{}`", file.path),
                file.label.to_string(),
                format!("one below the number of classes, {classes}"),
            ),
        }
    }
}

impl ManifestImages {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.len(),
            Self::Indexed { ranges, .. } => ranges.iter().map(|[first, end]| end - first).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of a set in arrays: `indices` in their order, neighbours joined.
    pub fn indexed(set: Digest, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut ranges: Vec<[usize; 2]> = Vec::new();
        for index in indices {
            match ranges.last_mut() {
                Some([_, end]) if *end == index => *end += 1,
                _ => ranges.push([index, index + 1]),
            }
        }
        Self::Indexed { set, ranges }
    }
}

impl From<ManifestFile> for String {
    fn from(file: ManifestFile) -> Self {
        format!("{} {} {}", file.content, file.label, file.path)
    }
}

impl TryFrom<String> for ManifestFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.splitn(3, ' ');
        let (Some(content), Some(label), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return Err(format!("`{text}` is not a digest, a label and a path"));
        };
        Ok(Self {
            content: content.parse()?,
            label: label
                .parse()
                .map_err(|_| format!("`{label}` is not the number of a class"))?,
            path: path.to_owned(),
        })
    }
}
