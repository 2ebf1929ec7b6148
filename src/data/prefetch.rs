//! Batches prepared by their own threads, ahead of the GPU.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Batches in the making at a time. Decoding one uses all cores already; the second keeps them busy
/// while the first waits for its slowest image.
const WORKERS: usize = 2;

/// How often a consumer that waits may look after other things.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Runs `consume` while other threads call `fetch` for 0, 1, ... up to `count`, at most four numbers
/// ahead. What they return arrives in that order, whatever the threads do.
pub fn prefetch<T: Send, R>(
    count: usize,
    fetch: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut Prefetched<T>) -> R,
) -> R {
    thread::scope(|scope| {
        let fetch = &fetch;
        let workers = (0..WORKERS).map(|worker| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                let mut numbers = (worker..count).step_by(WORKERS);
                // Ends early where the consumer does.
                numbers.all(|number| sender.send(fetch(number)).is_ok())
            });
            receiver
        });
        let mut fetched = Prefetched {
            workers: workers.collect(),
            next: 0,
        };
        let result = consume(&mut fetched);
        drop(fetched);
        result
    })
}

/// The receiving end of [`prefetch`].
pub struct Prefetched<T> {
    workers: Vec<Receiver<T>>,
    next: usize,
}

impl<T> Prefetched<T> {
    /// The next batch, `None` after the last. While it is not ready, `waiting` is called every
    /// millisecond.
    pub fn next(&mut self, mut waiting: impl FnMut()) -> Option<T> {
        let worker = &self.workers[self.next % WORKERS];
        self.next += 1;
        if let Ok(ready) = worker.try_recv() {
            return Some(ready);
        }
        loop {
            waiting();
            match worker.recv_timeout(LOOK_EVERY) {
                Ok(ready) => return Some(ready),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}
