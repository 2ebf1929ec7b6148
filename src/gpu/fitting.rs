//! Work in the largest pieces that a device has memory for.

use super::GpuError;

/// What is made for `most` rows, or for half as many and so on where the device has too little memory;
/// how many rows a plan has changes no result.
///
/// # Errors
/// Not even one row fits, or the GPU fails in another way.
pub fn largest_that_fits<T>(
    most: usize,
    make: impl Fn(usize) -> Result<T, GpuError>,
) -> Result<(usize, T), GpuError> {
    let mut rows = most;
    loop {
        match make(rows) {
            Ok(made) => return Ok((rows, made)),
            Err(GpuError::BufferTooLarge { .. } | GpuError::OutOfMemory { .. }) if rows > 1 => {
                rows /= 2;
            }
            Err(error) => return Err(error),
        }
    }
}
