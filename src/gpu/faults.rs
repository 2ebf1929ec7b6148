//! What goes wrong on a device: caught where it arises, kept until a call that can fail returns it.
//! Without this, wgpu would end the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::GpuError;

/// What a device has come to since it was last asked. Shared with wgpu's callbacks.
#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    /// Why the device is gone; for good.
    lost: Option<String>,
    /// The first error since the last look.
    error: Option<GpuError>,
}

impl Faults {
    /// Hears of the loss of a device, and of errors outside of every scope. Only for a device of our
    /// own: an application's has its own handlers.
    pub fn listen(self: &Arc<Self>, device: &wgpu::Device) {
        let faults = self.clone();
        device.set_device_lost_callback(move |_, message| faults.lose(&message));
        let faults = self.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            faults.keep(typed("an operation".into(), 0, error));
        }));
    }

    /// The first error since the last look; a lost device always says so.
    pub fn check(&self) -> Result<(), GpuError> {
        let mut state = self.lock();
        match &state.lost {
            None => state.error.take().map_or(Ok(()), Err),
            Some(reason) => Err(GpuError::Lost {
                reason: reason.clone(),
            }),
        }
    }

    pub fn is_lost(&self) -> bool {
        self.lock().lost.is_some()
    }

    pub fn keep(&self, error: GpuError) {
        self.lock().error.get_or_insert(error);
    }

    pub fn lose(&self, reason: &str) {
        self.lock().lost.get_or_insert_with(|| reason.to_owned());
    }

    /// What `work` made, and what went wrong meanwhile; `what` is named in the error, `bytes` is what
    /// it asks for.
    pub fn attempt<T>(
        &self,
        device: &wgpu::Device,
        what: impl FnOnce() -> String,
        bytes: u64,
        work: impl FnOnce() -> T,
    ) -> (T, Option<GpuError>) {
        let lost_before = self.is_lost();
        let (made, error) = scoped(device, work);
        let lost = self.lock().lost.clone().filter(|_| !lost_before);
        let error = match (lost, error) {
            (None, error) => error.map(|error| typed(what(), bytes, error)),
            // The callback knows nothing of what was going on. Whatever fails later follows from it.
            (Some(reason), error) => {
                let reason = match error {
                    Some(error @ wgpu::Error::OutOfMemory { .. }) => {
                        typed(what(), bytes, error).to_string()
                    }
                    _ => format!("{reason} ({})", what()),
                };
                self.lock().lost = Some(reason.clone());
                Some(GpuError::Lost { reason })
            }
        };
        (made, error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does `work` under error scopes of every kind; what it made and the first error.
fn scoped<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
    use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
    let [outer, middle, inner] =
        [Validation, Internal, OutOfMemory].map(|filter| device.push_error_scope(filter));
    let made = work();
    let errors = [inner, middle, outer].map(|scope| pollster::block_on(scope.pop()));
    (made, errors.into_iter().flatten().next())
}

fn typed(what: String, wanted: u64, error: wgpu::Error) -> GpuError {
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { what, wanted },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            // wgpu writes a chain of causes, one a line.
            let lines = description.lines().map(str::trim);
            let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
            let reason = lines.join(" ");
            GpuError::Validation { what, reason }
        }
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`; the message of a panic in it. wgpu has calls that know no other way to say that the
/// device is lost.
pub(super) fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "no reason given".into())
    })
}

/// Keeps panics of wgpu that this library catches, and returns as errors, off standard error. For a
/// program's `main`: the panic hook is the program's.
pub fn silence_caught_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !CATCHING.get() {
            hook(info);
        }
    }));
}
