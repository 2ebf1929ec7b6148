//! Stopping from another thread.

use bayeslora::StopHandle;

use crate::status::{free, shared};

/// Stops the work that it was given to. Any thread may use it, at any time before it is freed.
pub struct bl_stop(pub(crate) StopHandle);

/// A new one. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_stop_new() -> *mut bl_stop {
    Box::into_raw(Box::new(bl_stop(StopHandle::new())))
}

/// Asks for the stop: calls that run end with BL_STOPPED, within about a millisecond of waiting for the device.
#[unsafe(no_mangle)]
pub extern "C" fn bl_stop_request(stop: *const bl_stop) {
    if let Ok(stop) = shared(stop, "stop") {
        stop.0.stop();
    }
}

/// Lets work go on again.
#[unsafe(no_mangle)]
pub extern "C" fn bl_stop_reset(stop: *const bl_stop) {
    if let Ok(stop) = shared(stop, "stop") {
        stop.0.reset();
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_stop_free(stop: *mut bl_stop) {
    free(stop);
}
