//! What is worth keeping from one start to the next: compiled pipelines and measured choices, each
//! in one file per device and driver.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::faults::Faults;

/// Begins a file of pipelines; another layout gets another number.
const MAGIC: &[u8; 16] = b"bayeslora cache2";

/// Bytes of a SHA-256.
const DIGEST: usize = 32;

/// Where a device and its driver keep `what`. Cards of one name have files of their own, and so do
/// two drivers of one version, in a home that machines share.
pub(super) fn file(folder: &Path, info: &wgpu::AdapterInfo, what: &str) -> PathBuf {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '.' => c,
        _ => '-',
    };
    let name: String = info.name.chars().map(plain).collect();
    let digest = Sha256::digest(identity(info));
    let key: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    folder.join(format!("{name}-{key}.{what}"))
}

/// Everything that compiled pipelines and measured times depend on.
fn identity(info: &wgpu::AdapterInfo) -> String {
    format!(
        "{}\n{}\n{:?}\n{}\n{}\n{:#x} {:#x} {}",
        env!("CARGO_PKG_VERSION"),
        info.name,
        info.backend,
        info.driver,
        info.driver_info,
        info.vendor,
        info.device,
        usize::BITS,
    )
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

/// Keeps what [`wgpu::PipelineCache::get_data`] gave.
pub(super) fn write_pipelines(folder: &Path, info: &wgpu::AdapterInfo, data: &[u8]) {
    let sealed = [MAGIC, digest(info, data).as_slice(), data].concat();
    write(&file(folder, info, PIPELINES), &sealed);
}

/// The driver's cache of compiled pipelines, filled from a file where there is a sound one of this
/// device.
pub(super) fn pipelines(
    device: &wgpu::Device,
    faults: &Faults,
    info: &wgpu::AdapterInfo,
    folder: &Path,
) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let stored = std::fs::read(file(folder, info, PIPELINES)).unwrap_or_default();
    let create = |data: Option<&[u8]>| {
        // SAFETY: the digest says that the data is what `PipelineCache::get_data` gave for this
        // device and driver; with `fallback` one that the driver has outgrown gives an empty cache.
        let made = faults.attempt(
            device,
            || PIPELINES.into(),
            0,
            || unsafe {
                device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: Some(PIPELINES),
                    data,
                    fallback: true,
                })
            },
        );
        match made {
            (cache, None) => Some(cache),
            (_, Some(_)) => None,
        }
    };
    let filled = unsealed(info, &stored).and_then(|data| create(Some(data)));
    filled.or_else(|| create(None))
}

/// The file of compiled pipelines.
const PIPELINES: &str = "pipelines";

/// The data of a file whose digest is that of this device and these bytes.
fn unsealed<'a>(info: &wgpu::AdapterInfo, stored: &'a [u8]) -> Option<&'a [u8]> {
    let (found, data) = stored.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    (found == digest(info, data)).then_some(data)
}

fn digest(info: &wgpu::AdapterInfo, data: &[u8]) -> [u8; DIGEST] {
    let hash = Sha256::new().chain_update(identity(info));
    hash.chain_update([0]).chain_update(data).finalize().into()
}
