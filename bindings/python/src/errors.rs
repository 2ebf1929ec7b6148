//! The library's errors as exceptions, with its own texts.

use bayeslora::{
    DataError, ErrorKind, FormatError, GpuError, PredictError, RunError, TrainError, in_full,
};
use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    bayeslora,
    GpuLost,
    PyRuntimeError,
    "The device is gone; what was made on it is of no use any more."
);

/// A failure that has crossed from a thread without the interpreter.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    text: String,
}

impl Failure {
    pub fn input(text: String) -> Self {
        let kind = ErrorKind::Input;
        Self { kind, text }
    }

    /// The same with what it is about before it.
    pub fn within(self, place: &str) -> Self {
        let text = format!("{place}: {}", self.text);
        Self { text, ..self }
    }
}

macro_rules! failures {
    ($($error:ident),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let (kind, text) = (error.kind(), in_full(&error));
                Self { kind, text }
            }
        }
    )*};
}

failures!(DataError, FormatError, GpuError, PredictError, RunError);

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let (kind, text) = (error.kind(), in_full(&error));
        let text = match error {
            // These may name files.
            TrainError::Gpu(_)
            | TrainError::Predict(_)
            | TrainError::Gauge(_)
            | TrainError::Format(_)
            | TrainError::Unkept { .. } => text,
            _ => keywords(&text),
        };
        Self { kind, text }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            ErrorKind::Input => PyValueError::new_err(failure.text),
            ErrorKind::Lost => GpuLost::new_err(failure.text),
            _ => PyRuntimeError::new_err(failure.text),
        }
    }
}

/// What went wrong in a thread that panicked.
pub fn bug(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let reason = text.unwrap_or("no reason given");
    PyRuntimeError::new_err(format!("a bug, please report it: {reason}"))
}

/// A text with the library's `batch-size 8`, which is a configuration file's, as Python's `batch_size 8`.
fn keywords(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(place, part)| {
        let (name, rest) = part.split_at(part.find(' ').unwrap_or(part.len()));
        match place % 2 {
            0 => part.to_owned(),
            _ => name.replace('-', "_") + rest,
        }
    });
    parts.collect::<Vec<_>>().join("`")
}
