//! What is worth keeping from one start to the next: compiled pipelines and measured choices, each
//! in a file an adapter and driver.

use std::path::{Path, PathBuf};

/// Where a device with this adapter and driver keeps `what`.
pub(super) fn file(folder: &Path, info: &wgpu::AdapterInfo, what: &str) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let name = [info.name.as_str(), &info.driver, &info.driver_info, version].join(" ");
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '.' => c,
        _ => '-',
    };
    let name: String = name.chars().map(plain).collect();
    folder.join(format!("{name}.{what}"))
}

/// Whoever reads meanwhile sees the old file or the new one. Nothing is said of a failure: who cannot
/// write a cache computes its contents again.
pub(super) fn write(file: &Path, bytes: &[u8]) {
    let partial = file.with_extension(format!("{}.partial", std::process::id()));
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let _ = folder
        .and_then(|()| std::fs::write(&partial, bytes))
        .and_then(|()| std::fs::rename(&partial, file));
}

/// The driver's cache of compiled pipelines, filled from a file where there is one.
pub(super) fn pipelines(device: &wgpu::Device, file: Option<&Path>) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let data = std::fs::read(file?).ok();
    // SAFETY: the data is what `PipelineCache::get_data` gave for this adapter and driver; the driver
    // checks its header, and with `fallback` an old or damaged one gives an empty cache.
    let cache = unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: data.as_deref(),
            fallback: true,
        })
    };
    Some(cache)
}
