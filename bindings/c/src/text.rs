//! Strings of the caller's.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use crate::status::Failure;

/// A string, or `None` for null.
pub fn optional<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the header asks for a string that ends in zero.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_str();
    text.map(Some)
        .map_err(|_| Failure::invalid(format!("{what} is not UTF-8")))
}

pub fn required<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    optional(text, what)?.ok_or_else(|| Failure::invalid(format!("{what} is null")))
}

pub fn path(text: *const c_char, what: &str) -> Result<PathBuf, Failure> {
    required(text, what).map(PathBuf::from)
}
