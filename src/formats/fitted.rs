//! What was fitted to an adapter on held-out images, in files beside its weights.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FormatError, TensorFile, checksum, files};

/// What [`Calibration`](crate::predict::Calibration)s are in.
pub(crate) const CALIBRATIONS: &str = "calibration.json";

/// What an [`OodDetector`](crate::predict::ood::OodDetector) is in.
pub(crate) const OOD: &str = "ood.safetensors";

pub(crate) const WAY_OUT: &str = "fit it again";

/// The metadata of a file of tensors.
const METADATA: &str = "fitted";

/// The content of such a file.
#[derive(Serialize, Deserialize)]
struct Fitted<T> {
    adapter_sha256: String,
    // The name in files of earlier versions.
    #[serde(alias = "temperatures")]
    fitted: Vec<T>,
}

/// All of a file; none where there is no file. `adapter` is the [`Adapter::sha256`](super::Adapter::sha256) of what they are
/// to be used with, `what` they are called in messages.
///
/// # Errors
/// The file cannot be read, is damaged, or speaks of another adapter.
pub(crate) fn load<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
    adapter: &str,
) -> Result<Vec<T>, FormatError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let found: Fitted<T> = checksum::read_json(path, what, WAY_OUT)?;
    match found.adapter_sha256 == adapter {
        true => Ok(found.fitted),
        false => Err(of_another(path)),
    }
}

/// Adds one, in the order of `place`. An earlier one of the same place goes, and so do those of other adapters.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save<T: Clone + Serialize + DeserializeOwned, P: Ord>(
    path: &Path,
    what: &'static str,
    adapter: &str,
    one: &T,
    place: impl Fn(&T) -> P,
) -> Result<(), FormatError> {
    // What cannot be read is about to be fitted again.
    let mut fitted: Vec<T> = load(path, what, adapter).unwrap_or_default();
    fitted.retain(|other| place(other) != place(one));
    fitted.push(one.clone());
    fitted.sort_by_key(|one| place(one));
    let content = Fitted {
        adapter_sha256: adapter.to_owned(),
        fitted,
    };
    checksum::write_json(path, &content)
}

/// What such a file says beside its tensors.
#[derive(Serialize, Deserialize)]
struct Head<T> {
    adapter_sha256: String,
    #[serde(flatten)]
    fitted: T,
}

/// Writes tensors that were fitted to an adapter, and what else there is to say of them, a JSON object; atomically.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save_tensors(
    path: &Path,
    adapter: &str,
    fitted: &impl Serialize,
    mut file: TensorFile,
) -> Result<(), FormatError> {
    let name = path.display().to_string();
    let head = Head {
        adapter_sha256: adapter.to_owned(),
        fitted,
    };
    let head = serde_json::to_string(&head).map_err(files::json_error(&name))?;
    file.metadata.insert(METADATA.to_owned(), head);
    files::write_atomic(path, &checksum::tensors(&file.to_bytes(&name)?))
}

/// What [`save_tensors`] has written. `adapter` as for [`load`].
///
/// # Errors
/// The file cannot be read, is damaged, or speaks of another adapter.
pub(crate) fn load_tensors<T: DeserializeOwned>(
    path: &Path,
    adapter: &str,
) -> Result<(T, TensorFile), FormatError> {
    let name = path.display().to_string();
    let bytes = files::read(path, "a detector")?;
    checksum::check_tensors(&name, &bytes, WAY_OUT)?;
    let file = TensorFile::from_bytes(&name, &bytes)?;
    let head = file.metadata.get(METADATA).map_or("", String::as_str);
    let found: Head<T> = serde_json::from_str(head).map_err(files::json_error(&name))?;
    match found.adapter_sha256 == adapter {
        true => Ok((found.fitted, file)),
        false => Err(of_another(path)),
    }
}

fn of_another(path: &Path) -> FormatError {
    FormatError::Changed {
        file: path.display().to_string(),
        found: "it was fitted to another adapter than the one that is there now",
        way_out: WAY_OUT,
    }
}
