//! CIFAR-10 and CIFAR-100 in the official binary layout.

use std::path::Path;
use std::sync::Arc;

use super::dataset::Dataset;
use super::{DataError, memory};
use crate::formats::{open_regular, read_regular};

/// Height and width of every CIFAR image.
pub(super) const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;

/// The longest file of class names that is read.
const NAMES_BYTES: u64 = 1 << 20;

/// One of the two sets: its files, its records and its classes. A record is `label_bytes` label bytes,
/// the last of which is the label used, then 3072 pixel bytes as `[3, 32, 32]`.
pub(super) struct Layout {
    pub name: &'static str,
    /// What the official archive unpacks to.
    pub directory: &'static str,
    /// What the archive for Python unpacks to.
    pickle_directory: &'static str,
    archive: &'static str,
    pub train: &'static [&'static str],
    pub test: &'static str,
    pub classes: &'static [&'static str],
    names_file: &'static str,
    label_bytes: usize,
}

impl Layout {
    /// Whether `dir` holds any of the set's files.
    pub fn is_in(&self, dir: &Path) -> bool {
        self.files().any(|file| dir.join(file).is_file())
    }

    /// Refuses the other form that the set is published in, Python's pickles, which are under the same
    /// names but for their ending.
    pub fn refuse_pickles(&self, dir: &Path) -> Result<(), DataError> {
        let pickled = [dir.to_path_buf(), dir.join(self.pickle_directory)]
            .into_iter()
            .flat_map(|dir| {
                self.files()
                    .map(move |file| dir.join(file).with_extension(""))
            })
            .find(|path| path.is_file());
        match pickled {
            Some(path) => Err(DataError::Pickles {
                path,
                set: self.name,
                archive: self.archive,
            }),
            None => Ok(()),
        }
    }

    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }

    pub fn read_train(&self, dir: &Path) -> Result<Dataset, DataError> {
        self.read(dir, self.train)
    }

    pub fn read_test(&self, dir: &Path) -> Result<Dataset, DataError> {
        self.read(dir, &[self.test])
    }

    pub fn default_names(&self) -> Arc<[String]> {
        self.classes.iter().map(|s| s.to_string()).collect()
    }

    fn read(&self, dir: &Path, files: &[&str]) -> Result<Dataset, DataError> {
        let missing: Vec<&str> = files
            .iter()
            .copied()
            .filter(|file| !dir.join(file).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(DataError::Missing {
                path: dir.to_path_buf(),
                missing: missing.join(", "),
                set: self.name,
                expected: self.files().collect::<Vec<_>>().join(", "),
            });
        }
        let classes = self.names(dir)?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for file in files {
            self.append(&dir.join(file), &mut pixels, &mut labels)?;
        }
        if labels.is_empty() {
            return Err(DataError::NoImages {
                path: dir.join(files[0]),
            });
        }
        Ok(Dataset::new(SIDE, pixels, labels, classes))
    }

    fn append(
        &self,
        path: &Path,
        pixels: &mut Vec<u8>,
        found: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let unreadable = |error| DataError::unreadable(path, error);
        let (_, length) = open_regular(path).map_err(unreadable)?;
        let record_bytes = self.label_bytes + 3 * PIXELS;
        let check_whole = |bytes: u64| match bytes.is_multiple_of(record_bytes as u64) {
            true => Ok(()),
            false => Err(DataError::Truncated {
                path: path.to_path_buf(),
                bytes,
                record: record_bytes,
                set: self.name,
            }),
        };
        check_whole(length)?;
        memory::check(path, length.saturating_mul(2))?;
        let bytes = read_regular(path, length).map_err(unreadable)?;
        // It may have changed since.
        check_whole(bytes.len() as u64)?;
        pixels.reserve(bytes.len() / record_bytes * 3 * PIXELS);
        for (index, record) in bytes.chunks_exact(record_bytes).enumerate() {
            let (labels, planes) = record.split_at(self.label_bytes);
            let label = labels[self.label_bytes - 1];
            if usize::from(label) >= self.classes.len() {
                return Err(DataError::LabelOutOfRange {
                    path: path.to_path_buf(),
                    record: index,
                    label,
                    max: self.classes.len() - 1,
                    set: self.name,
                });
            }
            found.push(u32::from(label));
            let (red, rest) = planes.split_at(PIXELS);
            let (green, blue) = rest.split_at(PIXELS);
            for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
                pixels.extend_from_slice(&[r, g, b]);
            }
        }
        Ok(())
    }

    fn names(&self, dir: &Path) -> Result<Arc<[String]>, DataError> {
        let path = dir.join(self.names_file);
        if !path.is_file() {
            return Ok(self.default_names());
        }
        let unreadable = |error| DataError::unreadable(&path, error);
        let text = read_regular(&path, NAMES_BYTES).map_err(unreadable)?;
        let text = String::from_utf8(text).map_err(|error| {
            unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        })?;
        let names: Arc<[String]> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(String::from)
            .collect();
        if names.len() != self.classes.len() {
            return Err(DataError::ClassNames {
                path,
                found: names.len(),
                expected: self.classes.len(),
            });
        }
        Ok(names)
    }
}

pub(super) static CIFAR10: Layout = Layout {
    name: "cifar10",
    directory: "cifar-10-batches-bin",
    pickle_directory: "cifar-10-batches-py",
    archive: "cifar-10-binary.tar.gz",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    classes: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    names_file: "batches.meta.txt",
    label_bytes: 1,
};

/// The second label byte, the fine one, is used.
pub(super) static CIFAR100: Layout = Layout {
    name: "cifar100",
    directory: "cifar-100-binary",
    pickle_directory: "cifar-100-python",
    archive: "cifar-100-binary.tar.gz",
    train: &["train.bin"],
    test: "test.bin",
    classes: &FINE_NAMES,
    names_file: "fine_label_names.txt",
    label_bytes: 2,
};

#[rustfmt::skip]
static FINE_NAMES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];
