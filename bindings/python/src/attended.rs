//! Work on a thread of its own, while the caller's waits.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bayeslora::StopHandle;
use pyo3::prelude::*;

use crate::errors::{Failure, bug};

/// How long a signal may wait to be heard.
const POLL: Duration = Duration::from_millis(10);

/// Runs `work` with the interpreter released. `hear` is called here, with it, for what `work` tells, which waits for it: an
/// exception of its, or of a signal's handler, stops the work by `stop` and comes out instead of its result.
pub fn attended<T: Send, News: Send>(
    py: Python,
    stop: &StopHandle,
    work: impl FnOnce(&SyncSender<News>) -> Result<T, Failure> + Send,
    mut hear: impl FnMut(News) -> PyResult<()>,
) -> PyResult<T> {
    let (tell, mut news) = sync_channel(0);
    thread::scope(|scope| {
        let work = scope.spawn(move || work(&tell));
        let mut attended = Ok(());
        while attended.is_ok() {
            let next;
            (next, news) = py.detach(move || (news.recv_timeout(POLL), news));
            attended = match next {
                Ok(told) => hear(told),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            attended = attended.and_then(|()| py.check_signals());
        }
        if attended.is_err() {
            stop.stop();
        }
        drop(news);
        let result = py.detach(|| work.join());
        attended?;
        Ok(result.map_err(|panic| bug(&*panic))??)
    })
}
