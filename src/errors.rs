//! What an error comes to, whatever module it is from: for programs that turn it into a status or an exception.

use std::error::Error;

/// Who can do something about an error. [`GpuError::kind`](crate::GpuError::kind) and those of the other errors say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is wrong, or a file is not what it should be.
    Input,
    /// Something around the program failed: a file, the memory, the driver.
    System,
    /// The device is gone; what was made on it is of no use any more.
    Lost,
    /// No fault: a [`StopHandle`](crate::StopHandle) was used.
    Stopped,
}

/// An error and what it comes from, in one line.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataError, FormatError, GpuError, PredictError, RunError, TrainError};

    fn denied() -> FormatError {
        FormatError::Io {
            action: "read",
            path: "weights".into(),
            source: std::io::Error::other("denied"),
        }
    }

    #[test]
    fn the_kind_is_that_of_the_cause() {
        let lost = || GpuError::Lost {
            reason: "gone".into(),
        };
        let asset = DataError::Asset(denied().into());
        for (kind, expected) in [
            (lost().kind(), ErrorKind::Lost),
            (PredictError::Gpu(lost()).kind(), ErrorKind::Lost),
            (
                TrainError::Predict(PredictError::Gpu(lost())).kind(),
                ErrorKind::Lost,
            ),
            (
                TrainError::Gpu(GpuError::Stopped).kind(),
                ErrorKind::Stopped,
            ),
            (
                PredictError::Run(RunError::Format(denied())).kind(),
                ErrorKind::System,
            ),
            (PredictError::Data(asset).kind(), ErrorKind::System),
            (PredictError::Empty.kind(), ErrorKind::Input),
            (TrainError::Members.kind(), ErrorKind::Input),
        ] {
            assert_eq!(kind, expected);
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = Box::new(DataError::Asset(denied().into()));
        let error = RunError::Config {
            config: "config.toml".into(),
            reason: "odd".into(),
        };
        assert_eq!(in_full(&error), "config.toml: odd");
        assert_eq!(in_full(&*source), "cannot read `weights`: denied");
    }
}
