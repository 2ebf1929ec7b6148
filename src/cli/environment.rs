//! What a run's figures depend on beside its options: adapter, driver, versions.

use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::KernelChoice;
use serde_json::{Value, json};

/// The adapter in one line.
pub fn adapter_line(gpu: &Gpu) -> String {
    let info = gpu.info();
    format!("{} ({}, {})", info.name, info.backend, info.driver_info)
}

/// The date in UTC, `2026-11-24`.
pub fn today() -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    now[..10].to_owned()
}

/// `environment.json`, with the kernels of the plans that this `Gpu` has made.
pub fn describe(gpu: &Gpu) -> Value {
    let info = gpu.info();
    let kernels: serde_json::Map<_, _> = KernelChoice::for_gpu(gpu)
        .describe()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "adapter": info.name,
        "type": format!("{:?}", info.device_type),
        "backend": info.backend.to_string(),
        "driver": info.driver,
        "driver_info": info.driver_info,
        "kernels": kernels,
        "convolutions": gpu.in_use().used(),
        "bayeslora": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
        "command": command(),
    })
}

/// The program's arguments, what is not UTF-8 in them replaced.
pub fn command() -> String {
    let words: Vec<_> = std::env::args_os()
        .map(|word| word.display().to_string())
        .collect();
    words.join(" ")
}
