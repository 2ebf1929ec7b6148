//! NumPy's `.npy`: probabilities and labels from any framework.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar, WriterBuilder};
use thiserror::Error;

use super::open_regular;

/// The longest header that is read, NumPy's own limit: those of plain arrays take some hundred bytes.
const MAX_HEADER: u64 = 10_000;

/// Brackets in brackets of a header; a plain array's has two. The parser calls itself for each.
const MAX_DEPTH: usize = 16;

/// Why an `.npy` file cannot be used.
#[derive(Debug, Error)]
pub enum NpyError {
    /// The file cannot be opened, created, read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It does not start as an `.npy` file does.
    #[error("{}: found no .npy header ({cause}), expected a file written by numpy.save", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        cause: io::Error,
    },
    /// Its numbers are of another type.
    #[error("{}: found dtype {found}, expected {expected}", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// Its dtype.
        found: String,
        /// The dtypes that would do.
        expected: &'static str,
    },
    /// Its axes are others.
    #[error("{}: found shape {found:?}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<u64>,
        /// The shapes that would do.
        expected: &'static str,
    },
    /// It ends early.
    #[error("{}: found {found} bytes of data, expected {expected} for its shape", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes after the header.
        found: u64,
        /// Bytes that its shape and dtype ask for.
        expected: u128,
    },
    /// A label is negative or enormous.
    #[error("{}: found label {found} in row {row}, expected 0 to {}", path.display(), u32::MAX)]
    Label {
        /// The file.
        path: PathBuf,
        /// Row of the label, from zero.
        row: usize,
        /// The label.
        found: i128,
    },
}

/// Class probabilities under one or more samples of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    /// `[samples, examples, classes]`, row-major, whatever order the file had.
    pub values: Vec<f32>,
    /// Number of samples; 1 where the file has two axes.
    pub samples: usize,
    /// Number of examples.
    pub examples: usize,
    /// Number of classes.
    pub classes: usize,
}

/// Reads probabilities of shape `[n, classes]` or `[samples, n, classes]`, of dtype f2, f4 or f8 in either
/// byte order, in C or Fortran order. They are not checked to be distributions.
///
/// # Errors
/// If the file cannot be read, is no `.npy` file, has another dtype or shape, or ends early.
pub fn read_probabilities(path: impl AsRef<Path>) -> Result<Probabilities, NpyError> {
    let file = Npy::open(path.as_ref())?;
    let (samples, examples, classes) = match *file.header.shape() {
        [n, c] => (1, n as usize, c as usize),
        [s, n, c] => (s as usize, n as usize, c as usize),
        _ => return Err(file.wrong_shape("[n, classes] or [samples, n, classes]")),
    };
    let values = match file.scalar() {
        Some((TypeChar::Float, 2)) => file.read(half::f16::to_f32)?,
        Some((TypeChar::Float, 4)) => file.read(|value: f32| value)?,
        Some((TypeChar::Float, 8)) => file.read(|value: f64| value as f32)?,
        _ => return Err(file.wrong_dtype("f2, f4 or f8")),
    };
    Ok(Probabilities {
        values,
        samples,
        examples,
        classes,
    })
}

/// Reads labels of shape `[n]` and any integer dtype.
///
/// # Errors
/// If the file cannot be read, is no `.npy` file, has another dtype or shape, ends early, or holds a
/// number that is not a u32.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u32>, NpyError> {
    let path = path.as_ref();
    let file = Npy::open(path)?;
    if file.header.shape().len() != 1 {
        return Err(file.wrong_shape("[n]"));
    }
    match file.scalar() {
        Some((TypeChar::Int, 1)) => file.read_labels::<i8>(),
        Some((TypeChar::Int, 2)) => file.read_labels::<i16>(),
        Some((TypeChar::Int, 4)) => file.read_labels::<i32>(),
        Some((TypeChar::Int, 8)) => file.read_labels::<i64>(),
        Some((TypeChar::Uint, 1)) => file.read_labels::<u8>(),
        Some((TypeChar::Uint, 2)) => file.read_labels::<u16>(),
        Some((TypeChar::Uint, 4)) => file.read_labels::<u32>(),
        Some((TypeChar::Uint, 8)) => file.read_labels::<u64>(),
        _ => Err(file.wrong_dtype("an integer")),
    }
}

/// Writes f32 values in C order.
///
/// # Errors
/// If the file cannot be created or written.
///
/// # Panics
/// If `values` does not fill `shape`.
pub fn write_npy(path: impl AsRef<Path>, shape: &[usize], values: &[f32]) -> Result<(), NpyError> {
    let path = path.as_ref();
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        encode(&mut file, shape, values)?;
        file.flush()
    };
    write().map_err(|cause| NpyError::Io {
        path: path.to_owned(),
        cause,
    })
}

/// The bytes of the file that [`write_npy`] writes.
///
/// # Panics
/// If `values` does not fill `shape`.
pub fn npy_bytes(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, shape, values).expect("memory can be written");
    bytes
}

fn encode(file: &mut impl Write, shape: &[usize], values: &[f32]) -> io::Result<()> {
    assert_eq!(
        shape.iter().product::<usize>(),
        values.len(),
        "values fill the shape"
    );
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let mut npy = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(file)
        .begin_nd()?;
    npy.extend(values.iter().copied())?;
    npy.finish()
}

/// A file whose header has been read, and whose data is known to be all there.
struct Npy<'a> {
    path: &'a Path,
    header: NpyHeader,
    reader: BufReader<File>,
}

impl<'a> Npy<'a> {
    fn open(path: &'a Path) -> Result<Self, NpyError> {
        let io = |cause| NpyError::Io {
            path: path.to_owned(),
            cause,
        };
        let (file, length) = open_regular(path).map_err(io)?;
        let mut reader = BufReader::new(file);
        let header = read_header(&mut reader).map_err(|cause| NpyError::Header {
            path: path.to_owned(),
            cause,
        })?;
        if header.shape().contains(&0) {
            return Err(NpyError::Shape {
                path: path.to_owned(),
                found: header.shape().to_vec(),
                expected: "at least one element",
            });
        }
        let found = length.saturating_sub(reader.stream_position().map_err(io)?);
        // Before anything is allocated: a damaged shape may ask for any amount of memory.
        let item = header.dtype().num_bytes().unwrap_or(0) as u128;
        let expected = header
            .shape()
            .iter()
            .fold(item, |bytes, &size| bytes.saturating_mul(size.into()));
        if u128::from(found) < expected {
            return Err(NpyError::Truncated {
                path: path.to_owned(),
                found,
                expected,
            });
        }
        Ok(Self {
            path,
            header,
            reader,
        })
    }

    /// Kind and size in bytes of the numbers, unless they are records.
    fn scalar(&self) -> Option<(TypeChar, u64)> {
        match self.header.dtype() {
            DType::Plain(scalar) => Some((scalar.type_char(), scalar.size_field())),
            _ => None,
        }
    }

    /// Reads and converts all elements, in C order.
    fn read<T: Deserialize, U: Copy>(self, convert: impl Fn(T) -> U) -> Result<Vec<U>, NpyError> {
        let io = |cause| NpyError::Io {
            path: self.path.to_owned(),
            cause,
        };
        let order = self.header.order();
        let shape: Vec<usize> = self
            .header
            .shape()
            .iter()
            .map(|&size| size as usize)
            .collect();
        let stored = NpyFile::with_header(self.header, self.reader)
            .data::<T>()
            .map_err(|cause| io(io::Error::other(cause)))?
            .map(|value| value.map(&convert))
            .collect::<Result<Vec<U>, _>>()
            .map_err(io)?;
        Ok(match order {
            Order::C => stored,
            Order::Fortran => from_fortran(&stored, &shape),
        })
    }

    fn read_labels<T: Deserialize + Copy + Into<i128>>(self) -> Result<Vec<u32>, NpyError> {
        let path = self.path;
        let labels = self.read(|label: T| (u32::try_from(label.into()).ok(), label))?;
        let labels = labels.into_iter().enumerate();
        labels
            .map(|(row, (label, stored))| {
                label.ok_or_else(|| NpyError::Label {
                    path: path.to_owned(),
                    row,
                    found: stored.into(),
                })
            })
            .collect()
    }

    fn wrong_shape(&self, expected: &'static str) -> NpyError {
        NpyError::Shape {
            path: self.path.to_owned(),
            found: self.header.shape().to_vec(),
            expected,
        }
    }

    fn wrong_dtype(&self, expected: &'static str) -> NpyError {
        NpyError::DType {
            path: self.path.to_owned(),
            found: self.header.dtype().descr(),
            expected,
        }
    }
}

/// Reads the header if it is of a plain array's size: it says itself how long it is, and memory of that
/// size would be taken.
fn read_header(reader: &mut BufReader<File>) -> io::Result<NpyHeader> {
    let mut begin = Vec::new();
    // Magic, version, and a length of four bytes from version 2 on.
    let limit = 12 + MAX_HEADER;
    reader.by_ref().take(limit).read_to_end(&mut begin)?;
    let (start, size) = match begin[..] {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, u64::from(u16::from_le_bytes([a, b]))),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            (12, u64::from(u32::from_le_bytes([a, b, c, d])))
        }
        _ => (begin.len(), 0),
    };
    let mut depth = 0usize;
    let mut deepest = 0;
    for byte in begin[start..].iter().take(size as usize) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    // Any other file's first bytes may say anything here: its lack of the magic is what counts.
    if begin.starts_with(b"\x93NUMPY") && (size > MAX_HEADER || deepest > MAX_DEPTH) {
        let text = format!("a header of {size} bytes and {deepest} nested brackets");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    reader.rewind()?;
    NpyHeader::from_reader(reader)
}

/// Reorders values whose first axis varies fastest so that the last one does.
fn from_fortran<T: Copy>(stored: &[T], shape: &[usize]) -> Vec<T> {
    (0..stored.len())
        .map(|index| {
            // Peel the C index off axis by axis from the last; its Fortran stride is the product of the
            // sizes before it.
            let mut rest = index;
            let mut stride = stored.len();
            let mut at = 0;
            for &size in shape.iter().rev() {
                stride /= size;
                at += rest % size * stride;
                rest /= size;
            }
            stored[at]
        })
        .collect()
}
