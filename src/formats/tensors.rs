//! Named tensors in a safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{FormatError, files, foreign};

/// A dense row-major tensor of f32.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the product of `shape`.
    pub data: Vec<f32>,
}

/// A dense row-major tensor of exact integers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Integers {
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the product of `shape`.
    pub data: Vec<i64>,
}

/// The content of a [safetensors](https://huggingface.co/docs/safetensors) file.
#[derive(Debug, Clone, Default)]
pub struct TensorFile {
    /// What error messages call the file: its path, or the name given with the bytes.
    pub source: String,
    /// F16, BF16 and F32 exactly; F64 rounded to the nearest f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// U8 to U64 and I8 to I64; written as I64.
    pub integers: BTreeMap<String, Integers>,
    /// The `__metadata__` of the header.
    pub metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file is absent or unreadable, and as in [`TensorFile::from_bytes`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let (path, expected) = (path.as_ref(), "a safetensors file");
        // Before all of it is read: it may be large, and something else.
        let (start, length) = files::read_start(path, foreign::START, expected)?;
        require_header(&path.display().to_string(), &start, length)?;
        Self::from_bytes(&path.display().to_string(), &files::read(path, expected)?)
    }

    /// Reads the bytes of a file; `source` is what errors call it.
    ///
    /// # Errors
    /// The bytes are cut short or not safetensors, or a tensor has a dtype
    /// other than F16, BF16, F32, F64 or an integer that fits i64.
    pub fn from_bytes(source: &str, bytes: &[u8]) -> Result<Self, FormatError> {
        let length = bytes.len() as u64;
        let start = &bytes[..bytes.len().min(foreign::START as usize)];
        require_header(source, start, length)?;
        let damaged = |error: safetensors::SafeTensorError| FormatError::NotSafetensors {
            file: source.to_owned(),
            bytes: length,
            found: error.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let views = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let mut file = Self {
            source: source.to_owned(),
            metadata: header.metadata().clone().into_iter().flatten().collect(),
            ..Self::default()
        };
        for (name, view) in views.iter() {
            let shape = view.shape().to_vec();
            if let Some(data) = floats(view.dtype(), view.data()) {
                file.tensors.insert(name.to_owned(), Tensor { shape, data });
            } else if let Some(data) = integers(view.dtype(), view.data()) {
                file.integers
                    .insert(name.to_owned(), Integers { shape, data });
            } else {
                return Err(FormatError::Dtype {
                    file: source.to_owned(),
                    tensor: name.to_owned(),
                    found: view.dtype().to_string(),
                    expected: "F16, BF16, F32, F64 or an integer that fits 64 bits with a sign",
                });
            }
        }
        Ok(file)
    }

    /// Adds or replaces an f32 tensor.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], data: Vec<f32>) {
        let shape = shape.to_vec();
        self.tensors.insert(name.into(), Tensor { shape, data });
    }

    /// Adds or replaces a vector of exact integers.
    pub fn insert_u32s(&mut self, name: impl Into<String>, data: &[u32]) {
        let shape = vec![data.len()];
        let data = data.iter().map(|&v| i64::from(v)).collect();
        self.integers.insert(name.into(), Integers { shape, data });
    }

    /// The integers of a tensor as u32, in row-major order.
    ///
    /// # Errors
    /// No integer tensor has that name, or a value does not fit u32.
    pub fn u32s(&self, name: &str) -> Result<Vec<u32>, FormatError> {
        let integers = self
            .integers
            .get(name)
            .ok_or_else(|| self.missing(name, 1))?;
        integers
            .data
            .iter()
            .map(|&value| {
                u32::try_from(value).map_err(|_| FormatError::Value {
                    file: self.source.clone(),
                    item: format!("an element of `{name}`"),
                    found: value.to_string(),
                    expected: "an unsigned 32-bit number".to_owned(),
                })
            })
            .collect()
    }

    /// Checks that every float is a number.
    ///
    /// # Errors
    /// Names the first tensor (by name) with a NaN or an infinity, and its flat index.
    pub fn require_finite(&self) -> Result<(), FormatError> {
        for (name, tensor) in &self.tensors {
            if let Some(index) = tensor.data.iter().position(|v| !v.is_finite()) {
                return Err(FormatError::NonFinite {
                    file: self.source.clone(),
                    tensor: name.clone(),
                    index,
                    found: tensor.data[index],
                });
            }
        }
        Ok(())
    }

    /// Writes floats as F32 and integers as I64, replacing the file atomically.
    ///
    /// Equal content gives equal bytes as long as `metadata` has at most one
    /// entry: the order of more is left open by the safetensors crate.
    ///
    /// # Errors
    /// A shape contradicts the number of elements, or the file cannot be written.
    pub fn write_atomic(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        let path = path.as_ref();
        files::write_atomic(path, &self.to_bytes(&path.display().to_string())?)
    }

    pub(super) fn to_bytes(&self, file: &str) -> Result<Vec<u8>, FormatError> {
        let floats = self.tensors.iter().map(|(name, tensor)| {
            let bytes = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, Dtype::F32, &tensor.shape, bytes)
        });
        let integers = self.integers.iter().map(|(name, tensor)| {
            let bytes = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, Dtype::I64, &tensor.shape, bytes)
        });
        let encoded: Vec<(_, _, _, Vec<u8>)> = floats.chain(integers).collect();
        let views = encoded
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let view = TensorView::new(*dtype, shape.to_vec(), bytes);
                view.map(|view| (name, view))
                    .map_err(|_| FormatError::Shape {
                        file: file.to_owned(),
                        tensor: name.to_string(),
                        found: shape.to_vec(),
                        expected: format!(
                            "a shape of {} elements",
                            bytes.len() * 8 / dtype.bitsize()
                        ),
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let metadata = (!metadata.is_empty()).then_some(metadata);
        safetensors::serialize(views, metadata).map_err(|error| FormatError::Value {
            file: file.to_owned(),
            item: "the safetensors header".to_owned(),
            found: error.to_string(),
            expected: "one of at most 100 MB".to_owned(),
        })
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Tensor, FormatError> {
        let tensor = self.tensors.remove(name);
        tensor.ok_or_else(|| self.missing(name, 1))
    }

    pub(super) fn missing(&self, tensor: &str, count: usize) -> FormatError {
        if self.integers.contains_key(tensor) {
            return FormatError::Dtype {
                file: self.source.clone(),
                tensor: tensor.to_owned(),
                found: "of integers".into(),
                expected: "F16, BF16, F32 or F64 (quantised weights are not read)",
            };
        }
        FormatError::Missing {
            file: self.source.clone(),
            tensor: tensor.to_owned(),
            count,
        }
    }

    pub(super) fn bad_shape(
        &self,
        tensor: &str,
        found: &[usize],
        expected: impl Into<String>,
    ) -> FormatError {
        FormatError::Shape {
            file: self.source.clone(),
            tensor: tensor.to_owned(),
            found: found.to_vec(),
            expected: expected.into(),
        }
    }

    /// Gives every tensor another name.
    ///
    /// # Errors
    /// Two tensors have the same name afterwards.
    pub(super) fn rename(
        &mut self,
        model: &'static str,
        name: impl Fn(&str) -> String,
    ) -> Result<(), FormatError> {
        for (raw, tensor) in std::mem::take(&mut self.tensors) {
            if self.tensors.insert(name(&raw), tensor).is_some() {
                return Err(FormatError::Unexpected {
                    file: self.source.clone(),
                    tensor: raw,
                    count: 1,
                    expected: model,
                });
            }
        }
        Ok(())
    }

    /// Refuses tensors that were not used.
    pub(super) fn require_empty(&self, model: &'static str) -> Result<(), FormatError> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(first) => Err(FormatError::Unexpected {
                file: self.source.clone(),
                tensor: first.clone(),
                count: self.tensors.len(),
                expected: model,
            }),
        }
    }
}

/// Refuses what is known to be something else, and a header that says it is longer than the file.
fn require_header(file: &str, start: &[u8], length: u64) -> Result<(), FormatError> {
    foreign::refuse(file, start, length)?;
    let found = match foreign::header(start) {
        None => "it has not even the length of its header".to_owned(),
        Some(header) if header > length - 8 => format!("its header says it has {header} bytes"),
        Some(_) => return Ok(()),
    };
    Err(FormatError::NotSafetensors {
        file: file.to_owned(),
        bytes: length,
        found,
    })
}

pub(super) fn without_prefixes<'a>(mut name: &'a str, prefixes: &[&str]) -> &'a str {
    while let Some(rest) = prefixes.iter().find_map(|p| name.strip_prefix(p)) {
        name = rest;
    }
    name
}

/// Little-endian elements of a float; `None` for other types.
pub(super) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F16 => Some(elements(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(elements(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Some(elements(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(elements(bytes, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    }
}

/// Little-endian elements of an integer; `None` for other types, and where one does not fit.
pub(super) fn integers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<i64>> {
    match dtype {
        Dtype::U8 => Some(elements(bytes, |b| u8::from_le_bytes(b).into())),
        Dtype::I8 => Some(elements(bytes, |b| i8::from_le_bytes(b).into())),
        Dtype::U16 => Some(elements(bytes, |b| u16::from_le_bytes(b).into())),
        Dtype::I16 => Some(elements(bytes, |b| i16::from_le_bytes(b).into())),
        Dtype::U32 => Some(elements(bytes, |b| u32::from_le_bytes(b).into())),
        Dtype::I32 => Some(elements(bytes, |b| i32::from_le_bytes(b).into())),
        Dtype::I64 => Some(elements(bytes, i64::from_le_bytes)),
        Dtype::U64 => elements(bytes, |b| u64::from_le_bytes(b).try_into().ok())
            .into_iter()
            .collect(),
        _ => None,
    }
}

fn elements<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|&chunk| convert(chunk)).collect()
}
