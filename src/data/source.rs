//! From what the user named to a training and a test set.

use std::path::{Path, PathBuf};

use super::cifar::{CIFAR10, CIFAR100, Layout};
use super::{DataError, Dataset, folder, idx, memory, sample};

/// Called from any thread with `(images done, images in this set)` while a folder is decoded; the
/// count starts again for the test set, and comes once before where a folder has to be divided.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A set to train on and a set to report on.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Images to train on, those for validation among them.
    pub train: Dataset,
    /// Images to report on.
    pub test: Dataset,
    /// `cifar10-sample`, `cifar10`, `cifar100`, or the directory's own name.
    pub name: String,
    /// What was decided on the user's behalf and should be shown to them.
    pub note: Option<String>,
}

/// How [`open`] and [`open_test`] read.
#[derive(Clone, Copy)]
pub struct OpenOptions<'a> {
    /// Height and width in pixels that a folder's images are brought to, as [`decode_image`] does
    /// it; CIFAR and IDX images stay as they are.
    ///
    /// [`decode_image`]: super::decode_image
    pub side: usize,
    /// Leave out images that cannot be decoded, and list them in [`Dataset::skipped`], instead of failing.
    pub skip_bad_images: bool,
    /// At most this many training images, chosen as [`Dataset::limit`] does it. In a folder the choice
    /// comes before the decoding, so skipped images are not replaced.
    pub limit_train: Option<usize>,
    /// The same for test images.
    pub limit_test: Option<usize>,
    /// Bytes of host memory for a folder's images. Where they take more, they are decoded whenever
    /// they are read, to the same bits; opening still decodes each once, to find the bad ones. By
    /// default half of what is free, without the feature `cli` no bound. CIFAR and IDX sets are always read into memory.
    pub host_memory: Option<u64>,
    /// Is told how far the decoding of a folder is.
    pub progress: Option<Progress<'a>>,
}

impl Default for OpenOptions<'_> {
    /// 64 pixels, every image, failing on bad ones.
    fn default() -> Self {
        OpenOptions {
            side: 64,
            skip_bad_images: false,
            limit_train: None,
            limit_test: None,
            host_memory: None,
            progress: None,
        }
    }
}

/// Opens an image set to train on.
///
/// `spec` is one of
///
/// * `sample`: 5,000 + 1,000 images of CIFAR-10 that come with the program, classes interleaved (a directory of
///   that name is `./sample`);
/// * a directory with CIFAR-10 in the official binary layout (`data_batch_1.bin` to `data_batch_5.bin`,
///   `test_batch.bin`, optionally `batches.meta.txt`), or with CIFAR-100 (`train.bin`, `test.bin`,
///   optionally `fine_label_names.txt`; fine labels), or the directory above
///   `cifar-10-batches-bin` or `cifar-100-binary`;
/// * a directory with MNIST's four IDX files, or those of another set under the same names
///   (`train-images-idx3-ubyte` and so on, plain or `.gz`): grey images, classes by number;
/// * `DIR/train/CLASS/*` with `DIR/test/CLASS/*` or `DIR/val/CLASS/*` (`test` where both are there),
///   or `DIR/CLASS/*`, of which a fifth of each class, in expectation, are set aside as the test set. The
///   content of a file decides, so that copies fall on one side and a file stays on its side
///   when others come or go; a class with two contents has one on each side. [`Splits::note`] says
///   so. Parts may be called `training`, `testing`, `valid` or `validation` too, in capitals or not.
///   Images are PNG, JPEG, WebP, BMP, TIFF or GIF within the limits of
///   [`decode_image`](super::decode_image); names that begin with a dot are ignored, and what else is
///   left out is told by [`Dataset::notes`]. Classes are numbered by sorted name.
///
/// # Errors
///
/// One sentence that names the file or option, what was found and what was expected: see [`DataError`].
pub fn open(spec: impl AsRef<Path>, options: &OpenOptions<'_>) -> Result<Splits, DataError> {
    options.check()?;
    let (train, test, name) = match Source::locate(spec.as_ref())? {
        Source::Sample => (sample::train()?, sample::test()?, "cifar10-sample"),
        Source::Cifar(layout, dir) => (
            layout.read_train(&dir)?,
            layout.read_test(&dir)?,
            layout.name,
        ),
        Source::Idx(dir) => {
            let (train, test) = idx::read(&dir)?;
            return splits(train, test, &folder::name(&dir), options);
        }
        Source::Folder(root) => return folder::open(&root, options),
    };
    splits(train, test, name, options)
}

/// Opens only the test set of what [`open`] takes; the training files need not be there.
///
/// Of `DIR/CLASS/*` these are all images: nothing says that any were trained on. Where `DIR/train` is there it names and
/// numbers the classes, else the test folders do.
///
/// # Errors
///
/// As [`open`]; a single class is not an error here.
pub fn open_test(spec: impl AsRef<Path>, options: &OpenOptions<'_>) -> Result<Dataset, DataError> {
    options.check()?;
    let test = match Source::locate(spec.as_ref())? {
        Source::Sample => sample::test()?,
        Source::Cifar(layout, dir) => layout.read_test(&dir)?,
        Source::Idx(dir) => idx::read_test(&dir)?,
        Source::Folder(root) => return folder::open_test(&root, options),
    };
    limited(test, options.limit_test)
}

impl OpenOptions<'_> {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let zero = [
            ("side", self.side == 0),
            ("limit_train", self.limit_train == Some(0)),
            ("limit_test", self.limit_test == Some(0)),
        ]
        .into_iter()
        .find(|(_, is_zero)| *is_zero);
        zero.map_or(Ok(()), |(option, _)| Err(DataError::Zero { option }))
    }

    pub(super) fn memory(&self) -> u64 {
        self.host_memory.unwrap_or_else(memory::default_budget)
    }
}

fn splits(
    train: Dataset,
    test: Dataset,
    name: &str,
    options: &OpenOptions<'_>,
) -> Result<Splits, DataError> {
    Ok(Splits {
        train: limited(train, options.limit_train)?,
        test: limited(test, options.limit_test)?,
        name: name.to_string(),
        note: None,
    })
}

fn limited(data: Dataset, limit: Option<usize>) -> Result<Dataset, DataError> {
    match limit {
        Some(n) => data.limit(n),
        None => Ok(data),
    }
}

pub(super) enum Source {
    Sample,
    Cifar(&'static Layout, PathBuf),
    Idx(PathBuf),
    Folder(PathBuf),
}

impl Source {
    pub fn locate(path: &Path) -> Result<Source, DataError> {
        if path.as_os_str() == "sample" {
            return Ok(Source::Sample);
        }
        if !path.exists() {
            return Err(DataError::NotFound { path: path.into() });
        }
        if !path.is_dir() {
            return Err(DataError::NotADirectory { path: path.into() });
        }
        let layouts = [&CIFAR10, &CIFAR100];
        if let Some(layout) = layouts.into_iter().find(|layout| layout.is_in(path)) {
            return Ok(Source::Cifar(layout, path.into()));
        }
        if idx::is_in(path) {
            return Ok(Source::Idx(path.into()));
        }
        match layouts.map(|layout| path.join(layout.directory).is_dir()) {
            [true, true] => Err(DataError::Ambiguous {
                path: path.into(),
                first: CIFAR10.directory,
                second: CIFAR100.directory,
            }),
            [true, false] => Ok(Source::Cifar(&CIFAR10, path.join(CIFAR10.directory))),
            [false, true] => Ok(Source::Cifar(&CIFAR100, path.join(CIFAR100.directory))),
            [false, false] => {
                for layout in layouts {
                    layout.refuse_pickles(path)?;
                }
                Ok(Source::Folder(path.into()))
            }
        }
    }
}
