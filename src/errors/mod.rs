//! What an error comes to, whatever module it is from: for programs that turn it into a status or an exception.

mod chain;
mod kind;

pub use chain::in_full;
pub use kind::ErrorKind;

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
