//! Devices.

use std::ffi::{CString, c_char};
use std::mem::size_of;

use bayeslora::{AdapterChoice, Gpu, GpuOptions, Precision};

use crate::status::{Failure, bl_status, exclusive, free, give, guard, shared, writable};
use crate::stop::bl_stop;
use crate::text;

/// A device of the library's own.
pub struct bl_gpu {
    pub(crate) gpu: Gpu,
    name: CString,
}

/// How to open a device; bl_gpu_options_default fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_gpu_options {
    /// sizeof(bl_gpu_options)
    pub size: usize,
    /// A part of the adapter's name, its number, "cpu" or "gpu"; NULL for the best there is.
    pub adapter: *const c_char,
    /// A folder for compiled pipelines, so that the next start is faster; NULL keeps nothing.
    pub cache_dir: *const c_char,
    /// Whether convolutions may round their operands to f16.
    pub f16: bool,
}

/// The options of the caller as far as its version of the structure reaches, the defaults behind.
pub(crate) fn sized<T: Copy>(given: *const T, defaults: T) -> Result<T, Failure> {
    if given.is_null() {
        return Ok(defaults);
    }
    // SAFETY: every structure begins with its size, which the header asks for.
    let claimed = unsafe { given.cast::<usize>().read() };
    if claimed < size_of::<usize>() || claimed > size_of::<T>() {
        return Err(Failure::invalid(
            "the options' size is none that this version knows: call the _default function first, and use the library \
             that the header belongs to, or a later one",
        ));
    }
    let mut options = defaults;
    // SAFETY: both have as many bytes; every field is a plain value of C.
    unsafe {
        std::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut options).cast::<u8>(), claimed);
    }
    Ok(options)
}

/// The device, for work that a handle may stop.
pub(crate) fn stopped_by(gpu: &bl_gpu, stop: *const bl_stop) -> Gpu {
    match shared(stop, "stop") {
        Ok(stop) => gpu.gpu.stopped_by(&stop.0),
        Err(_) => gpu.gpu.clone(),
    }
}

const DEFAULTS: bl_gpu_options = bl_gpu_options {
    size: size_of::<bl_gpu_options>(),
    adapter: std::ptr::null(),
    cache_dir: std::ptr::null(),
    f16: false,
};

#[unsafe(no_mangle)]
pub extern "C" fn bl_gpu_options_default(options: *mut bl_gpu_options) -> bl_status {
    guard(|| {
        *exclusive(options, "options")? = DEFAULTS;
        Ok(())
    })
}

/// Opens a device. `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_gpu_open(options: *const bl_gpu_options, out: *mut *mut bl_gpu) -> bl_status {
    guard(|| {
        writable(out)?;
        let options = sized(options, DEFAULTS)?;
        let adapter: AdapterChoice = match text::optional(options.adapter, "adapter")? {
            None => AdapterChoice::Best,
            Some(text) => text.parse().expect("any text names an adapter"),
        };
        let gpu = Gpu::open(GpuOptions {
            adapter,
            cache: text::optional(options.cache_dir, "cache_dir")?.map(Into::into),
            precision: match options.f16 {
                true => Precision::F16,
                false => Precision::F32,
            },
            ..GpuOptions::default()
        })?;
        let name = CString::new(gpu.info().name.replace('\0', " ")).expect("no zero is left");
        give(bl_gpu { gpu, name }, out);
        Ok(())
    })
}

/// The adapter's name; valid as long as the handle. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_gpu_name(gpu: *const bl_gpu) -> *const c_char {
    shared(gpu, "gpu").map_or(std::ptr::null(), |gpu| gpu.name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_gpu_free(gpu: *mut bl_gpu) {
    free(gpu);
}
