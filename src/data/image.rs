//! One image file to square RGB bytes.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Rgb, RgbImage};

use super::DataError;

/// Extensions (lower case) of the files that a class folder's images are looked for under.
pub(super) const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// Decodes one image to `[side, side, 3]` RGB bytes.
///
/// Any size, and any format of PNG, JPEG, WebP and BMP, told by content and not by name: grey is
/// spread over the three channels, 16 bits are rounded to 8, EXIF orientation is applied,
/// and transparency is composited on white. The centre square is then resized to `side` with an
/// antialiasing bilinear (triangle) filter. Cropping first gives what resizing the short side first
/// gives, but for the filter's reach at the crop's border, and keeps a long thin image from being
/// blown up.
///
/// # Errors
///
/// [`DataError::Zero`] for `side = 0`; [`DataError::BadImage`] where the file cannot be read or decoded.
pub fn decode_image(path: impl AsRef<Path>, side: usize) -> Result<Vec<u8>, DataError> {
    if side == 0 {
        return Err(DataError::Zero { option: "side" });
    }
    let path = path.as_ref();
    decode(path, side).map_err(|error| DataError::BadImage {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

pub(super) fn decode(path: &Path, side: usize) -> image::ImageResult<Vec<u8>> {
    let mut decoder = ImageReader::open(path)?
        .with_guessed_format()?
        .into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);

    let short = image.width().min(image.height());
    let (left, top) = ((image.width() - short) / 2, (image.height() - short) / 2);
    let square = on_white(image.crop_imm(left, top, short, short));
    let side = side as u32;
    if short == side {
        return Ok(square.into_raw());
    }
    Ok(image::imageops::resize(&square, side, side, FilterType::Triangle).into_raw())
}

/// Compositing comes before resizing: the colour of fully transparent pixels is arbitrary and must not
/// bleed into their neighbours.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([r, g, b].map(|v| ((v * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}
