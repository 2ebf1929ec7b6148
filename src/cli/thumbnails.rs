//! Small pictures: a strip of images as a PNG file, and as coloured characters in a terminal.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use image::imageops::{self, FilterType};
use image::{RgbImage, imageops::replace};

/// Pixels between the images of a strip.
const GAP: u32 = 8;

/// Side of an image of a strip.
const SIDE: u32 = 128;

/// Columns of an image in a terminal; a character shows two pixels, one above the other.
const COLUMNS: u32 = 14;

/// A square image of u8 RGB.
pub fn square(pixels: &[u8], side: usize) -> RgbImage {
    let side = side as u32;
    RgbImage::from_raw(side, side, pixels.to_vec()).expect("three bytes a pixel")
}

/// Writes images side by side, enlarged without smoothing.
pub fn write_strip(images: &[RgbImage], path: &Path) -> Result<()> {
    let width = images.len() as u32 * (SIDE + GAP) - GAP;
    let mut strip = RgbImage::from_pixel(width, SIDE, image::Rgb([255; 3]));
    for (index, image) in images.iter().enumerate() {
        let large = imageops::resize(image, SIDE, SIDE, FilterType::Nearest);
        replace(
            &mut strip,
            &large,
            i64::from(index as u32 * (SIDE + GAP)),
            0,
        );
    }
    strip.save(path).with_context(|| path.display().to_string())
}

/// Images side by side as lines of half blocks in 24-bit colour.
pub fn terminal(images: &[RgbImage]) -> String {
    let small: Vec<_> = images
        .iter()
        .map(|image| imageops::resize(image, COLUMNS, COLUMNS, FilterType::Triangle))
        .collect();
    let mut text = String::new();
    for y in (0..COLUMNS).step_by(2) {
        for image in &small {
            for x in 0..COLUMNS {
                let ([r, g, b], [r2, g2, b2]) =
                    (image.get_pixel(x, y).0, image.get_pixel(x, y + 1).0);
                let _ = write!(
                    text,
                    "\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m\u{2580}"
                );
            }
            text.push_str("\x1b[0m ");
        }
        text.push('\n');
    }
    text
}
