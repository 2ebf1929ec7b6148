//! MNIST and its relatives: IDX files, plain or gzipped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::dataset::Dataset;
use super::{DataError, memory};
use crate::formats::open_regular;

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
        Idx::open(located(dir, self.labels, LABELS)?, LABELS)?.read(1)
    }

    /// Grey is spread over the three channels.
    fn read(&self, dir: &Path, classes: &Arc<[String]>) -> Result<Dataset, DataError> {
        let labels = self.labels(dir)?;
        let images = Idx::open(located(dir, self.images, IMAGES)?, IMAGES)?;
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
        // Each byte and its three.
        let images = images.read(4)?;
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

/// The most that deflate makes of a byte.
const INFLATION: u64 = 1032;

/// A file whose header has been read.
struct Header {
    path: PathBuf,
    shape: Vec<usize>,
    reader: Box<dyn Read>,
    /// The most bytes that can follow.
    most: u64,
}

/// An array of bytes with its shape.
struct Idx {
    path: PathBuf,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// Reads the header of an array of the element type and the number of dimensions that `magic`
    /// stands for.
    fn open(path: PathBuf, magic: u32) -> Result<Header, DataError> {
        let unreadable = |error| DataError::unreadable(&path, error);
        let (file, length) = open_regular(&path).map_err(unreadable)?;
        let (mut reader, most): (Box<dyn Read>, u64) =
            match path.extension().is_some_and(|end| end == "gz") {
                true => (
                    Box::new(MultiGzDecoder::new(file)),
                    length.saturating_mul(INFLATION),
                ),
                false => (Box::new(file), length),
            };
        let dimensions = (magic & 0xff) as usize;
        let header = 4 + 4 * dimensions;
        let mut bytes = Vec::with_capacity(header);
        let begin = reader.by_ref().take(header as u64);
        { begin }.read_to_end(&mut bytes).map_err(unreadable)?;
        let mut words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")));
        let found = words.next();
        if found != Some(magic) {
            let found = found.map_or("fewer than four bytes".into(), |word| format!("{word:08x}"));
            return Err(DataError::IdxMagic {
                path,
                found,
                expected: magic,
                dimensions: magic & 0xff,
            });
        }
        let shape: Vec<usize> = words.map(|size| size as usize).collect();
        let header = Header {
            path,
            shape,
            reader,
            most: most.saturating_sub(header as u64),
        };
        if header.shape.len() < dimensions {
            return Err(header.wrong_length("fewer".into()));
        }
        match header.promised() > header.most {
            true => Err(header.wrong_length(format!("at most {}", header.most))),
            false => Ok(header),
        }
    }
}

impl Header {
    /// The bytes that the header promises; their user takes `copies` times as much memory.
    fn read(mut self, copies: u64) -> Result<Idx, DataError> {
        let promised = self.promised();
        memory::check(&self.path, promised.saturating_mul(copies))?;
        // A gzipped file may go on without end, and is known to be longer by one byte.
        let mut bytes = Vec::new();
        let reader = self.reader.by_ref().take(promised + 1);
        { reader }
            .read_to_end(&mut bytes)
            .map_err(|error| DataError::unreadable(&self.path, error))?;
        match bytes.len() as u64 == promised {
            true => Ok(Idx {
                path: self.path,
                shape: self.shape,
                bytes,
            }),
            false if bytes.len() as u64 > promised => Err(self.wrong_length("more".into())),
            false => Err(self.wrong_length(bytes.len().to_string())),
        }
    }

    fn promised(&self) -> u64 {
        let sizes = self.shape.iter().map(|size| *size as u64);
        sizes.fold(1, u64::saturating_mul)
    }

    fn wrong_length(&self, found: String) -> DataError {
        let shape: Vec<_> = self.shape.iter().map(usize::to_string).collect();
        DataError::IdxLength {
            path: self.path.clone(),
            shape: shape.join(" x "),
            found,
        }
    }
}
