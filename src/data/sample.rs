//! The CIFAR-10 sample that comes with the program; `assets/cifar10-sample.md` describes it.

use image::ImageFormat;

use super::DataError;
use super::cifar::{CIFAR10, SIDE};
use super::dataset::Dataset;
use crate::formats::Asset;

/// 5,000 images.
pub(super) fn train() -> Result<Dataset, DataError> {
    Asset::SampleTrain
        .bytes()
        .map(|webp| unpack(&webp))
        .map_err(|error| DataError::Asset(error.into()))
}

/// 1,000 images.
pub(super) fn test() -> Result<Dataset, DataError> {
    Asset::SampleTest
        .bytes()
        .map(|webp| unpack(&webp))
        .map_err(|error| DataError::Asset(error.into()))
}

/// A mosaic whose column is the class and whose row is the rank within it, read row by row.
fn unpack(webp: &[u8]) -> Dataset {
    let mosaic = image::load_from_memory_with_format(webp, ImageFormat::WebP)
        .expect("the sample is a WebP image")
        .into_rgb8();
    let columns = CIFAR10.classes.len();
    let rows = mosaic.height() as usize / SIDE;
    let line_bytes = SIDE * 3;
    let mut pixels = Vec::with_capacity(mosaic.len());
    for row in mosaic.chunks_exact(columns * SIDE * line_bytes) {
        for column in 0..columns {
            for line in row.chunks_exact(columns * line_bytes) {
                pixels.extend_from_slice(&line[column * line_bytes..][..line_bytes]);
            }
        }
    }
    let labels = (0..columns as u32).cycle().take(rows * columns).collect();
    Dataset::new(SIDE, pixels, labels, CIFAR10.default_names())
}
