//! MNIST and its kin: IDX files, plain or gzipped.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::DataError;
use super::dataset::Dataset;

/// Unsigned bytes in one dimension.
const LABELS: u32 = 0x0801;
/// Unsigned bytes in three dimensions.
const IMAGES: u32 = 0x0803;

const TRAIN: Part = Part {
    images: "train-images",
    labels: "train-labels",
};
const TEST: Part = Part {
    images: "t10k-images",
    labels: "t10k-labels",
};

/// Whether `dir` holds any of the set's files.
pub(super) fn is_in(dir: &Path) -> bool {
    let files = [&TRAIN, &TEST].map(|part| [(part.images, IMAGES), (part.labels, LABELS)]);
    let mut files = files.as_flattened().iter();
    files.any(|(stem, magic)| find(dir, stem, *magic).is_some())
}

/// The training and the test set; the classes are the training labels' numbers.
pub(super) fn read(dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    let classes = class_names(&TRAIN.labels(dir)?);
    Ok((TRAIN.read(dir, &classes)?, TEST.read(dir, &classes)?))
}

/// The test set; where the training labels are missing its own tell the classes.
pub(super) fn read_test(dir: &Path) -> Result<Dataset, DataError> {
    let known = match find(dir, TRAIN.labels, LABELS) {
        Some(_) => TRAIN.labels(dir)?,
        None => TEST.labels(dir)?,
    };
    TEST.read(dir, &class_names(&known))
}

/// How two files of a set begin.
struct Part {
    images: &'static str,
    labels: &'static str,
}

impl Part {
    fn labels(&self, dir: &Path) -> Result<Idx, DataError> {
        Idx::read(located(dir, self.labels, LABELS)?, LABELS)
    }

    /// Grey is spread over the three channels.
    fn read(&self, dir: &Path, classes: &Arc<[String]>) -> Result<Dataset, DataError> {
        let labels = self.labels(dir)?;
        let images = Idx::read(located(dir, self.images, IMAGES)?, IMAGES)?;
        let [count, height, width] = images.shape[..] else {
            unreachable!("the magic number says three dimensions");
        };
        if count != labels.shape[0] {
            return Err(DataError::IdxCounts {
                images: images.path,
                count,
                labels: labels.path,
                label_count: labels.shape[0],
            });
        }
        if count == 0 {
            return Err(DataError::NoImages { path: images.path });
        }
        if height != width || height == 0 {
            return Err(DataError::IdxShape {
                path: images.path,
                height,
                width,
            });
        }
        if let Some(record) = labels
            .bytes
            .iter()
            .position(|l| usize::from(*l) >= classes.len())
        {
            return Err(DataError::LabelOutOfRange {
                label: labels.bytes[record],
                path: labels.path,
                record,
                max: classes.len() - 1,
                set: "this set, as its training labels have it",
            });
        }
        let pixels = images.bytes.iter().flat_map(|grey| [*grey; 3]).collect();
        let labels = labels.bytes.iter().map(|label| u32::from(*label)).collect();
        Ok(Dataset::new(height, pixels, labels, classes.clone()))
    }
}

/// "0" to the largest label.
fn class_names(labels: &Idx) -> Arc<[String]> {
    let largest = labels.bytes.iter().max().copied().unwrap_or(0);
    (0..=largest).map(|class| class.to_string()).collect()
}

/// A file's names: the official one, what some programs unpack it to, and both gzipped.
fn names(stem: &str, magic: u32) -> [String; 4] {
    let kind = format!("idx{}-ubyte", magic & 0xff);
    [
        format!("{stem}-{kind}"),
        format!("{stem}-{kind}.gz"),
        format!("{stem}.{kind}"),
        format!("{stem}.{kind}.gz"),
    ]
}

fn find(dir: &Path, stem: &str, magic: u32) -> Option<PathBuf> {
    let mut paths = names(stem, magic).into_iter().map(|name| dir.join(name));
    paths.find(|path| path.is_file())
}

fn located(dir: &Path, stem: &str, magic: u32) -> Result<PathBuf, DataError> {
    find(dir, stem, magic).ok_or_else(|| DataError::Missing {
        path: dir.to_path_buf(),
        missing: names(stem, magic)[0].clone(),
        set: "an IDX set (MNIST)",
        expected: "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                   t10k-labels-idx1-ubyte, each plain or with .gz,"
            .into(),
    })
}

/// An array of bytes with its shape.
struct Idx {
    path: PathBuf,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// Reads an array of the element type and the number of dimensions that `magic` stands for.
    fn read(path: PathBuf, magic: u32) -> Result<Self, DataError> {
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(
                |mut file| match path.extension().is_some_and(|end| end == "gz") {
                    true => MultiGzDecoder::new(file).read_to_end(&mut bytes),
                    false => file.read_to_end(&mut bytes),
                },
            )
            .map_err(|error| DataError::unreadable(&path, error))?;
        let word = |number: usize| {
            let word = bytes.get(4 * number..4 * number + 4)?;
            Some(u32::from_be_bytes(word.try_into().expect("four bytes")))
        };
        let found = word(0);
        if found != Some(magic) {
            let found = found.map_or("fewer than four bytes".into(), |word| format!("{word:08x}"));
            return Err(DataError::IdxMagic {
                path,
                found,
                expected: magic,
                dimensions: magic & 0xff,
            });
        }
        let dimensions = (magic & 0xff) as usize;
        let shape: Option<Vec<usize>> = (1..=dimensions)
            .map(|number| Some(word(number)? as usize))
            .collect();
        let shape = shape.unwrap_or_default();
        let header = 4 + 4 * dimensions;
        let promised = shape
            .iter()
            .try_fold(1, |product: usize, n| product.checked_mul(*n));
        if shape.is_empty() || promised != bytes.len().checked_sub(header) {
            return Err(DataError::IdxLength {
                shape: shape
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(" x "),
                found: bytes.len().saturating_sub(header),
                path,
            });
        }
        bytes.drain(..header);
        Ok(Self { path, shape, bytes })
    }
}
