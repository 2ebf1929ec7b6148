//! What was fitted to an adapter on held-out images, in files beside its weights.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FormatError, checksum};

/// What [`Calibration`](crate::predict::Calibration)s are in.
pub(crate) const CALIBRATIONS: &str = "calibration.json";

const WAY_OUT: &str = "fit it again";

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
        false => Err(FormatError::Changed {
            file: path.display().to_string(),
            found: "it was fitted to another adapter than the one that is there now",
            way_out: WAY_OUT,
        }),
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
