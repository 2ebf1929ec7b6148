//! Files of compiled pipelines and measured choices that are not what was written.

use std::path::{Path, PathBuf};

use bayeslora::low_level::gpu::{Gpu, GpuOptions};

use super::subject::{config, images, trainer};
use crate::common;

fn open(folder: &Path) -> Gpu {
    common::gpu(GpuOptions {
        cache: Some(folder.to_owned()),
        ..Default::default()
    })
}

fn pipelines(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?;
    let mut paths = files.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|end| end == "pipelines"))
}

#[test]
fn damaged_pipelines_are_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    trainer(&open(folder.path()), config(), images(4)).unwrap();
    let Some(file) = pipelines(folder.path()) else {
        eprintln!("skipped: this driver keeps no pipelines");
        return;
    };
    let sound = std::fs::read(&file).unwrap();
    // Our header of 48 bytes, wgpu's of 64, the driver's own.
    assert!(sound.len() > 112, "{} bytes", sound.len());
    // Every byte of the headers, ours and wgpu's, some of the data, and other lengths.
    let flipped = (0..112)
        .chain([sound.len() / 2, sound.len() - 1])
        .map(|place| {
            let mut bytes = sound.clone();
            bytes[place] ^= 0x40;
            bytes
        });
    let cut =
        [0, 1, 15, 16, 47, 48, 64, 111, 112, sound.len() - 1].map(|len| sound[..len].to_vec());
    let other = [
        sound[48..].to_vec(),
        vec![0xff; 4096],
        [&sound[..], b"more"].concat(),
    ];
    for bytes in flipped.chain(cut).chain(other) {
        std::fs::write(&file, &bytes).unwrap();
        open(folder.path()).check().unwrap();
    }
    // Whoever starts with a damaged file leaves a sound one.
    trainer(&open(folder.path()), config(), images(4)).unwrap();
    let again = std::fs::read(&file).unwrap();
    assert_eq!(again[..16], sound[..16]);
    assert!(again.len() > 112, "{} bytes", again.len());
}

/// A home that machines share: what another card has left, whatever it is called.
#[test]
fn pipelines_of_another_device_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    trainer(&open(folder.path()), config(), images(4)).unwrap();
    let Some(file) = pipelines(folder.path()) else {
        eprintln!("skipped: this driver keeps no pipelines");
        return;
    };
    // wgpu's own header says whose they are: the device is in bytes 16 to 31.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[48 + 20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    trainer(&open(folder.path()), config(), images(4)).unwrap();
}
