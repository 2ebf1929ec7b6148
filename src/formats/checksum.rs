//! Checksums inside the files themselves, so that each file can be checked alone, even if others were
//! renamed.
//!
//! A JSON object has it under an additional key, a text in a comment as its last line, a safetensors file in its
//! header's metadata, and `.npy` files, whose format has no place for it, in a file beside them. A file without one is
//! refused like one with a wrong one: the flipped bit may be in the key.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{FormatError, files};

const KEY: &str = "sha256";
const COMMENT: &str = "# sha256 ";

/// Bytes of the length that a safetensors file begins with.
const LENGTH: usize = 8;

/// What to do about a file that is not what was written.
pub(crate) const PUT_BACK: &str = "put back a copy of it";

/// SHA-256 of parts, one after the other, in hexadecimal.
pub(super) fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a value whose JSON is an object, with its checksum as the last key, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FormatError> {
    files::write_atomic(path, json(&path.display().to_string(), value)?.as_bytes())
}

/// Reads what [`write_json`] has written; `expected` completes "... does not exist, expected", `way_out`
/// says what to do about a damaged one.
pub(crate) fn read_json<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
    way_out: &'static str,
) -> Result<T, FormatError> {
    let bytes = files::read(path, expected)?;
    parse_json(&path.display().to_string(), &bytes, way_out)
}

/// The object in several lines, with its checksum.
pub(super) fn json(file: &str, value: &impl Serialize) -> Result<String, FormatError> {
    let text = serde_json::to_string_pretty(value).map_err(files::json_error(file))?;
    Ok(sealed(file, &text, "\n  ", ": ", "\n")? + "\n")
}

/// The object in one line, with its checksum and a line end.
pub(crate) fn json_line(file: &str, value: &impl Serialize) -> Result<String, FormatError> {
    let text = serde_json::to_string(value).map_err(files::json_error(file))?;
    Ok(sealed(file, &text, "", ":", "")? + "\n")
}

/// Reads the bytes of an object with its checksum.
pub(super) fn parse_json<T: DeserializeOwned>(
    file: &str,
    bytes: &[u8],
    way_out: &'static str,
) -> Result<T, FormatError> {
    let object: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(files::json_error(file))?;
    let (found, content) = part(object);
    require(file, found.as_deref(), &content_sum(&content), way_out)?;
    serde_json::from_value(content.into()).map_err(files::json_error(file))
}

/// The same for a file that early versions wrote without a checksum, and whether it has one.
#[cfg(feature = "study")]
pub(crate) fn open_json(
    file: &str,
    object: Map<String, Value>,
    way_out: &'static str,
) -> Result<(Map<String, Value>, bool), FormatError> {
    let (found, content) = part(object);
    if let Some(found) = &found {
        require(file, Some(found), &content_sum(&content), way_out)?;
    }
    Ok((content, found.is_some()))
}

fn sealed(
    file: &str,
    text: &str,
    before: &str,
    colon: &str,
    after: &str,
) -> Result<String, FormatError> {
    // Read back, so that numbers are what a reader will find.
    let (_, content) = part(serde_json::from_str(text).map_err(files::json_error(file))?);
    let sum = content_sum(&content);
    let open = text
        .strip_suffix('}')
        .expect("an object ends so")
        .trim_end();
    let comma = if content.is_empty() { "" } else { "," };
    Ok(format!(
        "{open}{comma}{before}\"{KEY}\"{colon}\"{sum}\"{after}}}"
    ))
}

/// The checksum of an object, and the rest of it.
fn part(mut object: Map<String, Value>) -> (Option<String>, Map<String, Value>) {
    let found = object.remove(KEY);
    (
        found.and_then(|sum| sum.as_str().map(str::to_owned)),
        object,
    )
}

/// Of the keys in order, without spaces: reformatting a file does no harm.
fn content_sum(content: &Map<String, Value>) -> String {
    sha256(&[&serde_json::to_vec(content).expect("it was JSON")])
}

/// A text with its checksum in a comment as the last line.
pub(super) fn text(text: &str) -> String {
    format!("{text}{COMMENT}{}\n", sha256(&[text.as_bytes()]))
}

/// The text before its checksum.
pub(super) fn parse_text<'a>(
    file: &str,
    text: &'a str,
    way_out: &'static str,
) -> Result<&'a str, FormatError> {
    let start = text
        .trim_end_matches('\n')
        .rfind('\n')
        .map_or(0, |end| end + 1);
    let (content, last) = text.split_at(start);
    let found = last.strip_prefix(COMMENT).map(str::trim_end);
    require(file, found, &sha256(&[content.as_bytes()]), way_out)?;
    Ok(content)
}

/// The bytes of a safetensors file with their checksum in the metadata, and the header's keys in order: equal
/// content gives equal bytes.
pub(super) fn tensors(bytes: &[u8]) -> Vec<u8> {
    let (header, data) = split(bytes).expect("safetensors were given");
    let (_, mut header) = part_header(header);
    let sum = header_sum(&header, data);
    let metadata = header.entry(METADATA).or_insert_with(|| Map::new().into());
    let metadata = metadata.as_object_mut().expect("metadata is an object");
    metadata.insert(KEY.to_owned(), sum.into());
    let mut text = serde_json::to_vec(&header).expect("it was JSON");
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text, data].concat()
}

/// Whether safetensors bytes have a checksum, right or wrong.
pub(super) fn has_tensors_checksum(bytes: &[u8]) -> bool {
    split(bytes).is_some_and(|(header, _)| part_header(header).0.is_some())
}

/// Checks the bytes of a file that [`tensors`] has made. Bytes that are not safetensors at all pass: their
/// reader says more about them.
pub(super) fn check_tensors(
    file: &str,
    bytes: &[u8],
    way_out: &'static str,
) -> Result<(), FormatError> {
    let Some((header, data)) = split(bytes) else {
        return Ok(());
    };
    let (found, header) = part_header(header);
    require(file, found.as_deref(), &header_sum(&header, data), way_out)
}

/// The checksum of a file whose format has no place for one, as `sha256sum` writes it.
#[cfg(feature = "study")]
pub(crate) fn line(file: &Path, bytes: &[u8]) -> String {
    let name = file.file_name().unwrap_or_default();
    format!("{}  {}\n", sha256(&[bytes]), name.display())
}

/// Checks a file against what [`line`] gave for it.
#[cfg(feature = "study")]
pub(crate) fn check_line(
    file: &Path,
    line: &Path,
    way_out: &'static str,
) -> Result<(), FormatError> {
    let bytes = files::read(line, "a checksum")?;
    let found = bytes.split(|byte| *byte == b' ').next();
    let found = found.map(String::from_utf8_lossy);
    let expected = sha256(&[&files::read(file, "predictions")?]);
    require(
        &file.display().to_string(),
        found.as_deref(),
        &expected,
        way_out,
    )
}

const METADATA: &str = "__metadata__";

/// Header and data.
fn split(bytes: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(header).ok()?, data))
}

/// The checksum in a header, and the rest of it.
fn part_header(mut header: Map<String, Value>) -> (Option<String>, Map<String, Value>) {
    let found = match header.remove(METADATA) {
        Some(Value::Object(metadata)) => {
            let (found, rest) = part(metadata);
            if !rest.is_empty() {
                header.insert(METADATA.to_owned(), rest.into());
            }
            found
        }
        _ => None,
    };
    (found, header)
}

fn header_sum(header: &Map<String, Value>, data: &[u8]) -> String {
    sha256(&[&serde_json::to_vec(header).expect("it was JSON"), data])
}

fn require(
    file: &str,
    found: Option<&str>,
    expected: &str,
    way_out: &'static str,
) -> Result<(), FormatError> {
    let found = match found {
        Some(found) if found == expected => return Ok(()),
        Some(_) => "its checksum does not fit its content",
        None => "it has no checksum",
    };
    Err(FormatError::Changed {
        file: file.to_owned(),
        found,
        way_out,
    })
}
