//! Small image sets on disk.

use std::fs;
use std::path::Path;

use bayeslora::low_level::data::{DataError, Dataset, OpenOptions};
use image::{Rgb, RgbImage};

pub const SIDE: usize = 8;

/// Folder images at 8 pixels.
pub fn options() -> OpenOptions<'static> {
    OpenOptions {
        side: SIDE,
        ..OpenOptions::default()
    }
}

pub fn spec(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A plain image; the extension of `path` gives the format.
pub fn plain(path: &Path, width: u32, height: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_pixel(width, height, Rgb(colour));
    image.save(path).unwrap();
}

/// `count` PNG files named `0.png`, `1.png`, ... in `dir`; the i-th is grey of level `first + i`.
pub fn class(dir: &Path, count: u8, first: u8) {
    fs::create_dir_all(dir).unwrap();
    for i in 0..count {
        plain(&dir.join(format!("{i}.png")), 8, 8, [first + i; 3]);
    }
}

/// A CIFAR record: the label bytes, then planes that are `red`, `red + 1` and `red + 2` but for the
/// second pixel of the first row, whose red is 255.
pub fn record(labels: &[u8], red: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    for plane in 0..3 {
        bytes.extend([red + plane; 1024]);
    }
    bytes[labels.len() + 1] = 255;
    bytes
}

/// Every image of a set, one after the other.
pub fn all_pixels(data: &Dataset) -> Vec<u8> {
    data.read(&(0..data.len()).collect::<Vec<_>>()).unwrap()
}

pub fn message<T>(result: Result<T, DataError>) -> String {
    match result {
        Ok(_) => panic!("should have been refused"),
        Err(error) => error.to_string(),
    }
}

/// That `text` is one line and has all of `parts`.
pub fn assert_says(text: &str, parts: &[&str]) {
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}
