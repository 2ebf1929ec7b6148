//! Everything that can be wrong with an image set, one sentence each.

use std::path::{Path, PathBuf};

/// Why an image set, or one image, cannot be used. Every message names the file or option, what
/// was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{path}: no such directory; expected {EXPECTED}", path = .path.display())]
    NotFound { path: PathBuf },

    #[error("{path}: a file, not a directory; expected {EXPECTED}", path = .path.display())]
    NotADirectory { path: PathBuf },

    #[error(
        "{path}: no class folders among its {entries} entries; expected {EXPECTED}",
        path = .path.display()
    )]
    NoClassFolders { path: PathBuf, entries: usize },

    #[error(
        "{path}: holds both {first} and {second}; name one of the two directories",
        path = .path.display()
    )]
    Ambiguous {
        path: PathBuf,
        first: &'static str,
        second: &'static str,
    },

    #[error(
        "{path}: {missing} not found; {set} is expected to have {expected} there",
        path = .path.display()
    )]
    Missing {
        path: PathBuf,
        missing: String,
        set: &'static str,
        expected: String,
    },

    #[error("{path}: cannot be read: {reason}", path = .path.display())]
    Unreadable { path: PathBuf, reason: String },

    #[error(
        "{path}: {bytes} bytes, which is not a multiple of the {record} bytes of a {set} record; \
         the file is truncated or has another layout",
        path = .path.display()
    )]
    Truncated {
        path: PathBuf,
        bytes: usize,
        record: usize,
        set: &'static str,
    },

    #[error(
        "{path}: record {record} has label {label}; expected 0 to {max} for {set}",
        path = .path.display()
    )]
    LabelOutOfRange {
        path: PathBuf,
        /// Counted from 0.
        record: usize,
        label: u8,
        max: usize,
        set: &'static str,
    },

    #[error(
        "{path}: begins with {found}; expected {expected:08x}, unsigned bytes in {dimensions} \
         dimension(s): another file under this name, or one that has to be unpacked",
        path = .path.display()
    )]
    IdxMagic {
        path: PathBuf,
        found: String,
        expected: u32,
        dimensions: u32,
    },

    #[error(
        "{path}: its header says {shape} bytes and {found} follow; the file is truncated or \
         damaged: download it again",
        path = .path.display()
    )]
    IdxLength {
        path: PathBuf,
        shape: String,
        found: usize,
    },

    #[error(
        "{images}: {count} images, but {labels} has {label_count} labels; expected two files of \
         one set",
        images = .images.display(),
        labels = .labels.display()
    )]
    IdxCounts {
        images: PathBuf,
        count: usize,
        labels: PathBuf,
        label_count: usize,
    },

    #[error(
        "{path}: images of {height} x {width} pixels; expected square ones: write them as image \
         files in class folders instead",
        path = .path.display()
    )]
    IdxShape {
        path: PathBuf,
        height: usize,
        width: usize,
    },

    #[error("{path}: {found} class names; expected {expected}, one a line", path = .path.display())]
    ClassNames {
        path: PathBuf,
        found: usize,
        expected: usize,
    },

    #[error(
        "{path}: the class folder has no images ({others} other entries); expected at least one \
         of {kinds}",
        path = .path.display()
    )]
    EmptyClass {
        path: PathBuf,
        others: usize,
        kinds: String,
    },

    #[error(
        "{path}: every one of the {count} images of this class folder was skipped as unreadable; \
         expected at least one that can be read",
        path = .path.display()
    )]
    AllSkipped { path: PathBuf, count: usize },

    #[error(
        "{path}: a class that {train} does not have; expected only classes that can be trained",
        path = .path.display(),
        train = .train.display()
    )]
    UnknownClass { path: PathBuf, train: PathBuf },

    #[error("{path}: {found} class folder; expected at least two to train on", path = .path.display())]
    TooFewClasses { path: PathBuf, found: usize },

    #[error("{path}: zero images; expected at least one", path = .path.display())]
    NoImages { path: PathBuf },

    #[error(
        "{bad} of {total} images cannot be decoded ({listed}); expected readable image files: \
         repair or remove them, or pass --skip-bad-images to leave them out"
    )]
    BadImages {
        bad: usize,
        total: usize,
        /// The first few, each with its reason.
        listed: String,
    },

    #[error("{path}: cannot be decoded as an image: {reason}", path = .path.display())]
    BadImage { path: PathBuf, reason: String },

    #[error("{option} is 0; expected at least 1")]
    Zero { option: &'static str },

    #[error("validation fraction {fraction}; expected more than 0 and less than 1")]
    Fraction { fraction: f64 },

    #[error(
        "{images} images in {classes} class(es) are too few to set a share of {fraction} aside; \
         expected at least two images in some class"
    )]
    TooFewToSplit {
        images: usize,
        classes: usize,
        fraction: f64,
    },
    #[error("found no class {name:?} among {}; the nearest is {}", classes.len(), nearest(name, classes).unwrap_or_default())]
    NoSuchClass { name: String, classes: Vec<String> },
    #[error("found {left} classes beside those named, expected at least two")]
    TooFewLeft { left: usize },
}

/// The most similar of `names`, for whoever has mistyped one.
pub fn nearest<'a>(name: &str, names: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let names = names.iter().map(AsRef::as_ref);
    let similarity =
        |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    names.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
}

impl DataError {
    pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Self {
        DataError::Unreadable {
            path: path.to_path_buf(),
            reason: error.to_string(),
        }
    }
}

const EXPECTED: &str = "`sample`, a directory with data_batch_1.bin to data_batch_5.bin and \
    test_batch.bin (CIFAR-10), one with train.bin and test.bin (CIFAR-100), one with \
    train-images-idx3-ubyte and so on (MNIST), or a folder of class folders such as DIR/train/CLASS/*.png with DIR/test/CLASS/*.png, or DIR/CLASS/*.png";
