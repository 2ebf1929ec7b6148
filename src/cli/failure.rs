//! What an error means to the caller of the program: its text and its exit status.

use std::error::Error;

use bayeslora::low_level::bench::BenchError;
use bayeslora::low_level::data::{CorruptionError, DataError};
use bayeslora::low_level::formats::FormatError;
use bayeslora::low_level::gpu::GpuError;
use bayeslora::low_level::predict::PredictError;
use bayeslora::low_level::predict::laplace::LaplaceError;
use bayeslora::low_level::train::gauge::GaugeError;
use bayeslora::low_level::train::{ConfigError, PruneError, TrainError};
use clap::Command;

use super::output::Unkept;

/// An error and its causes in one line. The library knows no command line: it names an option in backticks, as a
/// configuration file does, and here it becomes a flag of `program`.
pub fn text(error: &anyhow::Error, program: &Command) -> String {
    let said: Vec<_> = error.chain().map(|cause| said(cause, program)).collect();
    said.join(": ")
}

fn said(cause: &(dyn Error + 'static), program: &Command) -> String {
    if let Some(TrainError::Unkept { epoch, run, .. }) = cause.downcast_ref() {
        return format!(
            "epoch {epoch} could not be kept; once there is a place for it, `bayeslora train --resume --out {}` trains it \
             again",
            run.display()
        );
    }
    let text = cause.to_string();
    if names_options(origin(cause)) {
        return with_flags(&text, program);
    }
    match origin(cause).downcast_ref() {
        Some(FormatError::Unstarted { .. }) => text + " (without --resume)",
        Some(FormatError::NotEmpty { .. }) => {
            text + " (`train --resume` goes on with a run, another --out begins one)"
        }
        Some(FormatError::NoCheckpoint { .. }) => text + " (with --config and another --out)",
        _ => text,
    }
}

/// Whether what is in backticks in an error's own words is an option, and not a file.
fn names_options(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<ConfigError>()
        || cause.is::<TrainError>()
        || cause.is::<PruneError>()
        || matches!(
            cause.downcast_ref(),
            Some(PredictError::Backbone { .. } | PredictError::BackboneBits { .. })
        )
        || matches!(cause.downcast_ref(), Some(GpuError::NoSuchAdapter { .. }))
        || matches!(cause.downcast_ref(), Some(DataError::BadImages { .. }))
}

/// `` `rank 8` `` becomes `--rank 8`, where the program has such an option.
fn with_flags(text: &str, program: &Command) -> String {
    let parts = text.split('`').enumerate().map(|(place, part)| {
        let name = part.split(' ').next().unwrap_or_default();
        match (place % 2 == 1, is_option(name, program)) {
            (false, _) => part.to_owned(),
            (true, true) => format!("--{part}"),
            (true, false) => format!("`{part}`"),
        }
    });
    parts.collect()
}

fn is_option(name: &str, program: &Command) -> bool {
    let mut own = program.get_arguments();
    own.any(|option| option.get_long() == Some(name))
        || program
            .get_subcommands()
            .any(|command| is_option(name, command))
}

/// Whether an error is the loss of the device, whichever module it came through.
pub fn is_device_lost(error: &anyhow::Error) -> bool {
    let lost = |cause| matches!(origin(cause).downcast_ref(), Some(GpuError::Lost { .. }));
    error.chain().any(lost)
}

/// Whether what was computed could not be kept or shown.
pub fn is_unkept(error: &anyhow::Error) -> bool {
    error.is::<Unkept>() || matches!(error.downcast_ref(), Some(TrainError::Unkept { .. }))
}

/// The error that a module's has passed on unchanged, which hides it from the chain of causes.
fn origin<'a>(cause: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let inner: Option<&(dyn Error + 'static)> = if let Some(error) = cause.downcast_ref() {
        match error {
            PredictError::Gpu(error) => Some(error),
            PredictError::Data(error) => Some(error),
            _ => None,
        }
    } else if let Some(error) = cause.downcast_ref() {
        match error {
            TrainError::Config(error) => Some(error),
            TrainError::Set(error) => Some(error),
            TrainError::Gpu(error) => Some(error),
            TrainError::Predict(error) => Some(error),
            TrainError::Gauge(error) => Some(error),
            TrainError::Format(error) => Some(error),
            _ => None,
        }
    } else if let Some(error) = cause.downcast_ref() {
        match error {
            PruneError::Config(error) => Some(error),
            PruneError::Set(error) => Some(error),
            PruneError::Predict(error) => Some(error),
            PruneError::Gauge(error) => Some(error),
            _ => None,
        }
    } else if let Some(GaugeError::Predict(error)) = cause.downcast_ref() {
        Some(error)
    } else if let Some(error) = cause.downcast_ref() {
        match error {
            BenchError::Gpu(error) => Some(error),
            BenchError::Predict(error) => Some(error),
            _ => None,
        }
    } else if let Some(LaplaceError::Predict(error)) = cause.downcast_ref() {
        Some(error)
    } else if let Some(CorruptionError::Gpu(error)) = cause.downcast_ref() {
        Some(error)
    } else {
        None
    };
    inner.map_or(cause, origin)
}
