//! A picture in an application's memory.

use image::{DynamicImage, RgbImage, RgbaImage};

use super::DataError;
use super::image::{MAX_FILE_BYTES, MAX_IMAGE_PIXELS, decode, middle, on_white, resized};
use crate::ranges::LARGEST_RESOLUTION;

/// A picture as an application has it, of any size. It is brought to the network's input as
/// [`decode_image`](super::decode_image) brings a file: transparency on white, the middle square, an antialiasing filter.
#[derive(Clone, Copy, Debug)]
pub enum Picture<'a> {
    /// The bytes of a PNG, JPEG, WebP, BMP, TIFF or GIF file.
    Encoded(&'a [u8]),
    /// `[height, width, 3]`, sRGB bytes row by row.
    Rgb {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// `height` rows, without padding.
        pixels: &'a [u8],
    },
    /// `[height, width, 4]`, sRGB bytes and alpha, not premultiplied.
    Rgba {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// `height` rows, without padding.
        pixels: &'a [u8],
    },
}

impl Picture<'_> {
    /// `[side, side, 3]`
    ///
    /// # Errors
    /// [`DataError::BadPicture`] where `side` is above 4,096, there are not as many bytes as pixels need, no pixels or too
    /// many, or where a file
    /// does not decode; [`DataError::Zero`] for `side = 0`.
    pub fn square(&self, side: usize) -> Result<Vec<u8>, DataError> {
        if side == 0 {
            return Err(DataError::Zero { option: "side" });
        }
        let bad = |reason: String| DataError::BadPicture { reason };
        if side as u64 > LARGEST_RESOLUTION {
            return Err(bad(format!(
                "it is to be {side} pixels wide, the limit is {LARGEST_RESOLUTION}"
            )));
        }
        match *self {
            Self::Encoded(bytes) if bytes.len() as u64 > MAX_FILE_BYTES => Err(bad(format!(
                "{} bytes, the limit is {} MiB",
                bytes.len(),
                MAX_FILE_BYTES >> 20
            ))),
            Self::Encoded(bytes) => decode(bytes, side).map_err(|fault| bad(fault.to_string())),
            Self::Rgb {
                width,
                height,
                pixels,
            } => {
                let (side_there, square) = crop(width, height, 3, pixels).map_err(bad)?;
                let square = RgbImage::from_raw(side_there, side_there, square);
                Ok(resized(square.expect(CROPPED), side))
            }
            Self::Rgba {
                width,
                height,
                pixels,
            } => {
                let (side_there, square) = crop(width, height, 4, pixels).map_err(bad)?;
                let square = RgbaImage::from_raw(side_there, side_there, square);
                let square = DynamicImage::ImageRgba8(square.expect(CROPPED));
                Ok(resized(on_white(square), side))
            }
        }
    }
}

const CROPPED: &str = "a square has been cut out";

/// The middle square of raw pixels: its side and its bytes.
fn crop(width: u32, height: u32, channels: usize, pixels: &[u8]) -> Result<(u32, Vec<u8>), String> {
    let count = u64::from(width) * u64::from(height);
    let (expected, bytes) = (count * channels as u64, pixels.len() as u64);
    if !(1..=MAX_IMAGE_PIXELS).contains(&count) {
        return Err(format!(
            "{width} x {height} pixels; expected 1 to {} million",
            MAX_IMAGE_PIXELS / 1_000_000
        ));
    }
    if bytes != expected {
        return Err(format!(
            "{bytes} bytes for {width} x {height} pixels of {channels} bytes, which take {expected}"
        ));
    }
    let [left, top, side] = middle(width, height);
    let row = |y: u32| {
        let start = (y as usize * width as usize + left as usize) * channels;
        &pixels[start..][..side as usize * channels]
    };
    Ok((side, (top..top + side).flat_map(row).copied().collect()))
}
