//! Panics in the decoders of other crates.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `work` returns, or `None` where it panics, of which nothing is printed. `work` must not leave
/// anything half done that is used afterwards.
pub(super) fn catch_quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    // The hook is the whole process's: that of the program still gets every other panic.
    HOOK.call_once(|| {
        let program = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                program(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.ok()
}
