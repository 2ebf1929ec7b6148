//! Who can do something about an error.

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
