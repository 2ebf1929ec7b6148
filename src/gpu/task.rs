//! Work that waits, as a future.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::StopHandle;

/// Work on a thread of its own, as a future of what it returns: the asynchronous form of everything here that waits (opening,
/// caching, training, evaluation, prediction), for any executor. Polling it never blocks. A panic of the work goes on where
/// the task is awaited.
///
/// Dropped before its end, it stops the work through the handle that it was started with.
///
/// ```no_run
/// # async fn answer(gpu: bayeslora::Gpu, photo: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
/// use bayeslora::{Picture, Session, SessionOptions, StopHandle, Task};
///
/// let stop = StopHandle::new();
/// let gpu = gpu.stopped_by(&stop);
/// let answers = Task::start(&stop, move || {
///     let mut session = Session::open(&gpu, "runs/first", SessionOptions::default())?;
///     session.predict(&[Picture::Encoded(&photo)])
/// })?;
/// println!("{:?}", answers.await?[0].classes[0].class);
/// # Ok(())
/// # }
/// ```
#[must_use = "it stops the work when it is dropped"]
pub struct Task<T> {
    state: Arc<Mutex<State<T>>>,
    stop: StopHandle,
}

enum State<T> {
    /// With whom to wake.
    Working(Option<Waker>),
    Done(thread::Result<T>),
    Taken,
}

impl<T: Send + 'static> Task<T> {
    /// Starts work that `stop` stops, or that never waits for what it stops.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(stop: &StopHandle, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::Working(None)));
        let told = state.clone();
        let run = move || {
            // Whatever the panic left goes with it to whoever awaits.
            let done = catch_unwind(AssertUnwindSafe(work));
            let mut state = told.lock().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *state, State::Done(done));
            drop(state);
            if let State::Working(Some(waker)) = before {
                waker.wake();
            }
        };
        thread::Builder::new()
            .name("bayeslora task".into())
            .spawn(run)?;
        Ok(Self {
            state,
            stop: stop.clone(),
        })
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    /// # Panics
    /// The work has panicked, or its result was taken before.
    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Working(waker) = &mut *state {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let State::Done(done) = std::mem::replace(&mut *state, State::Taken) else {
            panic!("a task was awaited again after its end");
        };
        drop(state);
        Poll::Ready(done.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Working(_)) {
            self.stop.stop();
        }
    }
}
