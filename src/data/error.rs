//! Everything that can be wrong with an image set, one sentence each.

use std::path::{Path, PathBuf};

use crate::errors::ErrorKind;
use crate::formats::{FormatError, printable};

/// Why an image set, or one image, cannot be used. Every message names the file or option, what
/// was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum DataError {
    /// The sample is not to be had.
    #[error(transparent)]
    Asset(Box<FormatError>),

    #[error("{path}: no such directory; expected {EXPECTED}", path = shown(.path))]
    NotFound { path: PathBuf },

    #[error("{path}: a file, not a directory; expected {EXPECTED}", path = shown(.path))]
    NotADirectory { path: PathBuf },

    #[error(
        "{path}: no class folders among its {entries} entries, {images} of them images; expected \
         {EXPECTED}",
        path = shown(.path)
    )]
    NoClassFolders {
        path: PathBuf,
        entries: usize,
        images: usize,
    },

    #[error(
        "{path}: holds images and no class folders, and a part of a set is no class; expected \
         {path}/CLASS/*",
        path = shown(.path)
    )]
    FlatPart { path: PathBuf },

    #[error(
        "{first} and {second} are both the same part of the set; rename the one that is not meant",
        first = shown(.first),
        second = shown(.second)
    )]
    PartTwice { first: PathBuf, second: PathBuf },

    #[error(
        "{first} and {second} lead to the same folder; expected the images of each to be others",
        first = shown(.first),
        second = shown(.second)
    )]
    FolderTwice { first: PathBuf, second: PathBuf },

    #[error("{path}: a class name that is no Unicode text; rename the folder", path = shown(.path))]
    ClassNotText { path: PathBuf },

    #[error(
        "{first} and {second} are one name written in two ways (Unicode's composed and decomposed \
         letters); rename or join the folders",
        first = .first.display().to_string().escape_default(),
        second = .second.display().to_string().escape_default()
    )]
    ClassTwice { first: PathBuf, second: PathBuf },

    #[error(
        "{path}: holds both {first} and {second}; name one of the two directories",
        path = shown(.path)
    )]
    Ambiguous {
        path: PathBuf,
        first: &'static str,
        second: &'static str,
    },

    #[error(
        "{path}: {missing} not found; {set} is expected to have {expected} there",
        path = shown(.path)
    )]
    Missing {
        path: PathBuf,
        missing: String,
        set: &'static str,
        expected: String,
    },

    #[error("{path}: cannot be read: {reason}", path = shown(.path))]
    Unreadable { path: PathBuf, reason: String },

    #[error(
        "{path}: {bytes} bytes, which is not a multiple of the {record} bytes of a {set} record; \
         the file is truncated or has another layout",
        path = shown(.path)
    )]
    Truncated {
        path: PathBuf,
        bytes: u64,
        record: usize,
        set: &'static str,
    },

    #[error(
        "{path}: one of {set}'s Python pickles, which are not read; get {archive} from \
         https://www.cs.toronto.edu/~kriz/ and unpack it",
        path = shown(.path)
    )]
    Pickles {
        path: PathBuf,
        set: &'static str,
        archive: &'static str,
    },

    #[error(
        "{path}: its images take {bytes} bytes of memory and {free} are free; expected a set that \
         fits: such sets are read whole",
        path = shown(.path)
    )]
    BeyondMemory {
        path: PathBuf,
        bytes: u64,
        free: u64,
    },

    #[error(
        "{path}: record {record} has label {label}; expected 0 to {max} for {set}",
        path = shown(.path)
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
        path = shown(.path)
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
        path = shown(.path)
    )]
    IdxLength {
        path: PathBuf,
        shape: String,
        found: String,
    },

    #[error(
        "{images}: {count} images, but {labels} has {label_count} labels; expected two files of \
         one set",
        images = shown(.images),
        labels = shown(.labels)
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
        path = shown(.path)
    )]
    IdxShape {
        path: PathBuf,
        height: usize,
        width: usize,
    },

    #[error("{path}: {found} class names; expected {expected}, one a line", path = shown(.path))]
    ClassNames {
        path: PathBuf,
        found: usize,
        expected: usize,
    },

    #[error(
        "{path}: the class folder has no images ({others} other entries, {unread} pictures in formats \
         that are not read); expected at least one of {kinds}",
        path = shown(.path)
    )]
    EmptyClass {
        path: PathBuf,
        others: usize,
        unread: usize,
        kinds: String,
    },

    #[error(
        "{path}: every one of the {count} images of this class folder was skipped as unreadable; \
         expected at least one that can be read",
        path = shown(.path)
    )]
    AllSkipped { path: PathBuf, count: usize },

    #[error(
        "{path}: a class that {train} does not have{}; expected only classes that can be trained",
        .alike.as_ref().map_or(String::new(), |class| format!(", which has {}", printable(class))),
        path = shown(.path),
        train = shown(.train)
    )]
    UnknownClass {
        path: PathBuf,
        train: PathBuf,
        /// The same but for capitals.
        alike: Option<String>,
    },

    #[error("{path}: {found} class folder; expected at least two to train on", path = shown(.path))]
    TooFewClasses { path: PathBuf, found: usize },

    #[error("{path}: zero images; expected at least one", path = shown(.path))]
    NoImages { path: PathBuf },

    #[error(
        "{bad} of {total} images cannot be decoded ({listed}); expected readable image files: \
         repair or remove them, or leave them out by `skip-bad-images`"
    )]
    BadImages {
        bad: usize,
        total: usize,
        /// The first few, each with its reason.
        listed: String,
    },

    #[error("{path}: cannot be decoded as an image: {reason}", path = shown(.path))]
    BadImage { path: PathBuf, reason: String },

    #[error("picture {image} has label {label}, and there are {classes} classes")]
    NoClass {
        image: usize,
        label: u32,
        classes: usize,
    },

    /// One that an application handed over.
    #[error("the picture cannot be used: {reason}")]
    BadPicture { reason: String },

    #[error(
        "{path}: has changed since the set was opened; let nothing write to the images while they are in use",
        path = .path.display()
    )]
    ChangedImage { path: PathBuf },

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
    #[error("found no class {} among {}; the nearest is {}", printable(name), some(classes), printable(nearest(name, classes).unwrap_or_default()))]
    NoSuchClass { name: String, classes: Vec<String> },
    #[error("found {left} classes beside those named, expected at least two")]
    TooFewLeft { left: usize },
}

/// The first few names.
fn some(names: &[String]) -> String {
    const NAMED: usize = 20;
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    printable(names[..names.len().min(NAMED)].join(", ")) + &more
}

fn shown(path: &Path) -> String {
    printable(path.display())
}

/// The most similar of `names`, for whoever has mistyped one.
pub fn nearest<'a>(name: &str, names: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let names = names.iter().map(AsRef::as_ref);
    let similarity =
        |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    names.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
}

impl DataError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Asset(error) => error.kind(),
            _ => ErrorKind::Input,
        }
    }

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
