//! What a call comes to, and why.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bayeslora::low_level::train::gauge::GaugeError;
use bayeslora::{DataError, ErrorKind, FormatError, GpuError, PredictError, TrainError, in_full};

/// What a call comes to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bl_status {
    BL_OK = 0,
    /// Something around the program failed: a file, the memory, the driver.
    BL_FAILED = 1,
    /// An argument is wrong, or a file is not what it should be.
    BL_INVALID = 2,
    /// The device is gone. What was made on it can only be freed.
    BL_GPU_LOST = 3,
    /// bl_stop_request was called.
    BL_STOPPED = 4,
    /// A bug in the library. What was in use can only be freed.
    BL_PANIC = 5,
}

use bl_status::*;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// A failure with its status.
pub(crate) struct Failure(pub bl_status, pub String);

impl Failure {
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self(BL_INVALID, reason.into())
    }
}

macro_rules! failures {
    ($($error:ident),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let status = match error.kind() {
                    ErrorKind::Input => BL_INVALID,
                    ErrorKind::Lost => BL_GPU_LOST,
                    ErrorKind::Stopped => BL_STOPPED,
                    _ => BL_FAILED,
                };
                Self(status, in_full(&error))
            }
        }
    )*};
}

failures!(
    DataError,
    FormatError,
    GaugeError,
    GpuError,
    PredictError,
    TrainError
);

fn remember(message: String) {
    let text: Vec<u8> = message
        .into_bytes()
        .into_iter()
        .filter(|byte| *byte != 0)
        .collect();
    LAST.set(CString::new(text).expect("no zero is left"));
}

/// Does the work of a call; nothing unwinds out of it.
pub(crate) fn guard(work: impl FnOnce() -> Result<(), Failure>) -> bl_status {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("no reason given");
        Err(Failure(
            BL_PANIC,
            format!("a bug, please report it: {reason}"),
        ))
    });
    match result {
        Ok(()) => BL_OK,
        Err(Failure(status, message)) => {
            remember(message);
            status
        }
    }
}

/// Frees what `into_handle` gave.
pub(crate) fn free<T>(handle: *mut T) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the header asks for a handle of this library's that was not freed before.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(unsafe { Box::from_raw(handle) })));
}

/// Gives a value to the caller as a handle.
pub(crate) fn give<T>(value: T, out: *mut *mut T) {
    // SAFETY: `writable` has seen it, and the header asks for a place that can be written.
    unsafe { *out = Box::into_raw(Box::new(value)) };
}

/// Refuses a null place for a handle, and clears it.
pub(crate) fn writable<T>(out: *mut *mut T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::invalid("the place for the handle is null"));
    }
    // SAFETY: not null; the header asks for a place that can be written.
    unsafe { *out = std::ptr::null_mut() };
    Ok(())
}

/// What a handle points to.
pub(crate) fn shared<'a, T>(handle: *const T, what: &str) -> Result<&'a T, Failure> {
    // SAFETY: the header asks for null or a live handle that no other thread uses.
    unsafe { handle.as_ref() }.ok_or_else(|| Failure::invalid(format!("{what} is null")))
}

/// The same, to change it.
pub(crate) fn exclusive<'a, T>(handle: *mut T, what: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the header asks for null or a live handle that no other thread uses.
    unsafe { handle.as_mut() }.ok_or_else(|| Failure::invalid(format!("{what} is null")))
}

/// Why the last call failed in this thread: a sentence, or nothing where none has failed. Valid until the next failure in
/// this thread; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bl_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero inside"),
    };

/// The library's version, as in "0.1.0"; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bl_version() -> *const c_char {
    VERSION.as_ptr()
}
