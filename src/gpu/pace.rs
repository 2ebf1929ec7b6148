//! How much work a submission may hold.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::DispatchInfo;

/// Work a submission may hold at most: some systems reset a device that is busy for seconds.
const LARGEST: f64 = 40e9;
/// Work in a second, until some has been measured: less than any device does.
const SLOWEST: f64 = 5e9;

/// FLOPs, and the bytes that dispatches without many of them are paid by.
pub(super) fn work(dispatch: &DispatchInfo) -> f64 {
    dispatch.flops as f64 + dispatch.bytes as f64
}

/// How much work a device does in a second, as the last submissions have shown.
#[derive(Default)]
pub(super) struct Pace(Mutex<Option<f64>>);

impl Pace {
    /// The work for a submission of this length.
    pub fn most(&self, length: Option<Duration>) -> f64 {
        let Some(length) = length else {
            return LARGEST;
        };
        let pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (pace.unwrap_or(SLOWEST) * length.as_secs_f64()).min(LARGEST)
    }

    /// Learns from a submission that was waited for.
    pub fn learn(&self, work: f64, took: Duration) {
        let found = work / took.as_secs_f64().max(1e-6);
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Submissions differ in how they use a device; a mean of the last few is steadier than the last.
        *pace = Some(pace.map_or(found, |known| known + 0.25 * (found - known)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_become_as_long_as_they_should() {
        let (pace, length) = (Pace::default(), Duration::from_millis(4));
        assert_eq!(pace.most(None), LARGEST);
        let device = 80e9;
        for _ in 0..40 {
            let work = pace.most(Some(length));
            pace.learn(work, Duration::from_secs_f64(work / device));
        }
        let took = pace.most(Some(length)) / device;
        assert!((took / length.as_secs_f64() - 1.0).abs() < 1e-3, "{took}");
    }
}
