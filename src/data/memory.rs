//! How much host memory images may take.

use std::path::Path;

use super::DataError;

/// Bytes for decoded images where the user names none: half of what is free, so that the features,
/// the adapter's state and other programs have the rest. No bound where the system does not tell.
pub(super) fn default_budget() -> u64 {
    match free() {
        0 => u64::MAX,
        free => free / 2,
    }
}

/// Checks that a file whose images take this many bytes fits in memory.
pub(super) fn check(path: &Path, bytes: u64) -> Result<(), DataError> {
    // Asking takes longer than reading the label files.
    const ALWAYS: u64 = 64 << 20;
    if bytes <= ALWAYS {
        return Ok(());
    }
    match free() {
        free if free > 0 && bytes > free => Err(DataError::BeyondMemory {
            path: path.to_path_buf(),
            bytes,
            free,
        }),
        _ => Ok(()),
    }
}

/// 0 where the system does not tell.
#[cfg(feature = "cli")]
fn free() -> u64 {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};

    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    match system.cgroup_limits() {
        // A container may have less than its machine.
        Some(limits) => {
            let left = limits.total_memory.saturating_sub(limits.rss);
            left.min(system.available_memory())
        }
        None => system.available_memory(),
    }
}

/// An application knows better than a guess what it has left; it names a budget.
#[cfg(not(feature = "cli"))]
fn free() -> u64 {
    0
}
