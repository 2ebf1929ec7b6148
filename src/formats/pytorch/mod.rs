//! Weights in the zip archives that `torch.save` writes since PyTorch 1.6. Their pickle is read by [`pickle`], which knows
//! tensors only and executes nothing.

mod archive;
mod pickle;
mod strided;

use std::collections::BTreeMap;

use archive::Archive;
use pickle::{Pickle, Value};
use strided::Strided;

use super::tensors::{floats, integers};
use super::{FormatError, Integers, Tensor, TensorFile, foreign, printable};

/// The largest `data.pkl` that is read: that of a ResNet-152 takes a tenth of it.
const PICKLE_LIMIT: usize = 1 << 20;

/// What training programs keep the weights under, beside the state of an optimiser and the like.
const KEYS: [&str; 2] = ["state_dict", "model_state_dict"];

/// Why a file is refused: what completes "the file ...", and what to do about it.
#[derive(Debug)]
struct Refused {
    found: String,
    way_out: &'static str,
}

const AGAIN: &str = "download or copy it again";
const SAVE: &str =
    "save the weights alone, with `torch.save(model.state_dict(), FILE)`, where it comes from";

impl Refused {
    fn damaged(what: impl std::fmt::Display) -> Self {
        Self {
            found: format!("is damaged or cut short: {what}"),
            way_out: AGAIN,
        }
    }

    fn other(found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            way_out: SAVE,
        }
    }
}

/// Whether a file that begins so is such an archive.
pub(super) fn is_archive(start: &[u8]) -> bool {
    foreign::is_archive_of_pytorch(start)
}

/// Reads an archive; `source` is what errors call it.
///
/// The tensors are those of the state dict that was saved, or of the one under `state_dict` or `model_state_dict` in a
/// dictionary. Memory stays within a few times the archive's length.
///
/// # Errors
/// The archive is damaged, cut short, compressed or big-endian, its pickle holds anything but numbers, texts, containers
/// and tensors of f16, bf16, f32, f64 or i64, or a tensor lies outside its storage.
pub(super) fn read(source: &str, bytes: &[u8]) -> Result<TensorFile, FormatError> {
    let mut file = tensors(bytes).map_err(|refused| FormatError::PyTorch {
        file: source.to_owned(),
        found: refused.found,
        way_out: refused.way_out,
    })?;
    file.source = source.to_owned();
    Ok(file)
}

fn tensors(bytes: &[u8]) -> Result<TensorFile, Refused> {
    let archive = Archive::open(bytes)?;
    let content = archive.require("data.pkl")?;
    if content.len() > PICKLE_LIMIT {
        let length = content.len();
        return Err(Refused::other(format!(
            "has {length} bytes in `data.pkl`, expected at most {PICKLE_LIMIT}"
        )));
    }
    let pickle = Pickle::read(content)?;
    let named = state_dict(&pickle)?;
    // Many may share a storage, or be expanded from one value: what they claim together stays bounded.
    let claimed = named.iter().try_fold(0usize, |sum, (_, tensor)| {
        sum.checked_add(tensor.bytes()?)
            .filter(|&sum| sum <= bytes.len())
    });
    if claimed.is_none() {
        return Err(Refused::other(
            "claims more in its tensors than the whole file has",
        ));
    }
    let mut by_storage = BTreeMap::<_, Vec<_>>::new();
    for (name, tensor) in named {
        let of_storage = by_storage.entry(tensor.storage.key).or_default();
        of_storage.push((name, tensor));
    }
    let (mut file, mut read) = (TensorFile::default(), 0);
    for (key, tensors) in by_storage {
        let storage = tensors[0].1.storage;
        if tensors.iter().any(|(_, tensor)| tensor.storage != storage) {
            return Err(Refused::damaged(format!(
                "the storage `{}` is described in two ways",
                printable(key)
            )));
        }
        let name = format!("data/{key}");
        let content = archive.require(&name)?;
        if storage.bytes() != Some(content.len()) {
            let (length, elements) = (content.len(), storage.elements);
            return Err(Refused::damaged(format!(
                "`{}` has {length} bytes, expected {elements} elements of {}",
                printable(name),
                storage.dtype
            )));
        }
        // Entries of a forged archive may overlap.
        read += content.len();
        if read > bytes.len() {
            return Err(Refused::damaged("its storages overlap"));
        }
        if let Some(values) = floats(storage.dtype, content) {
            for (name, tensor) in tensors {
                let (shape, data) = (tensor.shape.clone(), tensor.gather(&values));
                file.tensors.insert(name.into(), Tensor { shape, data });
            }
        } else if let Some(values) = integers(storage.dtype, content) {
            for (name, tensor) in tensors {
                let (shape, data) = (tensor.shape.clone(), tensor.gather(&values));
                file.integers.insert(name.into(), Integers { shape, data });
            }
        }
    }
    Ok(file)
}

/// The named tensors of the state dict.
fn state_dict<'a, 'b>(pickle: &'b Pickle<'a>) -> Result<Vec<(&'a str, &'b Strided<'a>)>, Refused> {
    let Some(root) = pickle.entries(pickle.root) else {
        let found = pickle.value(pickle.root).kind();
        return Err(Refused::other(format!(
            "holds {found}, expected a dictionary of tensors"
        )));
    };
    let under = root.iter().find_map(|&(key, value)| {
        let is_known = matches!(pickle.value(key), Value::Text(key) if KEYS.contains(key));
        is_known.then(|| pickle.entries(value)).flatten()
    });
    let mut named = BTreeMap::new();
    for &(key, value) in under.unwrap_or(root) {
        let name = match pickle.value(key) {
            Value::Text(name) => *name,
            other => {
                let found = other.kind();
                return Err(Refused::other(format!(
                    "has {found} for a tensor's name, expected a text"
                )));
            }
        };
        let Value::Tensor(tensor) = pickle.value(value) else {
            let found = pickle.value(value).kind();
            return Err(Refused::other(format!(
                "has {found} under `{}`, expected a tensor",
                printable(name)
            )));
        };
        if named.insert(name, &**tensor).is_some() {
            return Err(Refused::damaged(format!(
                "`{}` is there twice",
                printable(name)
            )));
        }
    }
    Ok(named.into_iter().collect())
}
