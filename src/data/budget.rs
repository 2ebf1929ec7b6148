//! Memory that all cores share.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of bytes that threads claim parts of: one that finds too few left waits until others are done.
/// A thread that holds a claim must not wait for another of the same budget.
pub(super) struct Budget {
    limit: u64,
    free: Mutex<u64>,
    returned: Condvar,
}

/// Bytes of a budget, until it is dropped.
pub(super) struct Claim<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub const fn new(limit: u64) -> Self {
        Self {
            limit,
            free: Mutex::new(limit),
            returned: Condvar::new(),
        }
    }

    /// Waits until there are as many left; a claim of more than all is one of all.
    pub fn claim(&self, bytes: u64) -> Claim<'_> {
        let bytes = bytes.min(self.limit);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .returned
            .wait_while(free, |free| *free < bytes)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Claim {
            budget: self,
            bytes,
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let free = self.budget.free.lock();
        *free.unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::Budget;

    #[test]
    fn claims_never_exceed_the_budget_and_none_waits_for_ever() {
        let budget = Budget::new(100);
        let (held, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for worker in 0..8u64 {
                let (budget, held, peak) = (&budget, &held, &peak);
                scope.spawn(move || {
                    for round in 0..200 {
                        // One of more than all among them.
                        let bytes = [1, 30, 70, 100, 5000][((worker + round) % 5) as usize];
                        let _claim = budget.claim(bytes);
                        let counted = bytes.min(100);
                        let now = held.fetch_add(counted, Ordering::SeqCst) + counted;
                        peak.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(counted, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(peak.into_inner(), 100);
        assert_eq!(*budget.free.lock().unwrap(), 100);
    }
}
