//! What can go wrong between the host and the GPU.

use crate::errors::ErrorKind;

/// An error of the `gpu` module; each message is one sentence that says how to go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum GpuError {
    #[error("no GPU adapter was found; {hint}")]
    NoAdapter { hint: String },
    #[error("no adapter matches `adapter {wanted}`; this system has {available}")]
    NoSuchAdapter { wanted: String, available: String },
    #[error("the adapter {adapter:?} refused to open a device: {reason}")]
    Device { adapter: String, reason: String },
    #[error(
        "the device was opened with {limit} = {has}, and the kernels need {needs}: open it with WebGPU's default limits or \
         higher ones, or let `Gpu::open_on` open another on its adapter"
    )]
    Limit {
        limit: &'static str,
        has: u32,
        needs: u32,
    },
    #[error("{what} needs {wanted} bytes in one buffer and the adapter allows {allowed}")]
    BufferTooLarge {
        what: String,
        wanted: u64,
        allowed: u64,
    },
    /// `wanted` is 0 where only the driver knows.
    #[error("the GPU has too little memory for {what}{}", of_bytes(*.wanted))]
    OutOfMemory { what: String, wanted: u64 },
    #[error("the GPU refused {what}: {reason} (a bug, please report it)")]
    Validation { what: String, reason: String },
    /// By a [`StopHandle`](super::StopHandle).
    #[error("stopped")]
    Stopped,
    #[error("the GPU device was lost: {reason}")]
    Lost { reason: String },
    #[error("the GPU failed while {during}: {reason}")]
    Failed { during: String, reason: String },
}

impl GpuError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lost { .. } => ErrorKind::Lost,
            Self::Stopped => ErrorKind::Stopped,
            Self::NoSuchAdapter { .. } => ErrorKind::Input,
            _ => ErrorKind::System,
        }
    }
}

fn of_bytes(wanted: u64) -> String {
    match wanted {
        0 => String::new(),
        wanted => format!(", which takes {wanted} bytes"),
    }
}
