//! How much host memory images may take.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Bytes for decoded images where the user names none: half of what is free, so that the features,
/// the adapter's state and other programs have the rest. No bound where the system does not tell.
pub(super) fn default_budget() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    let free = match system.cgroup_limits() {
        // A container may have less than its machine.
        Some(limits) => {
            let left = limits.total_memory.saturating_sub(limits.rss);
            left.min(system.available_memory())
        }
        None => system.available_memory(),
    };
    match free {
        0 => u64::MAX,
        free => free / 2,
    }
}
