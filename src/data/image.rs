//! One image file to square RGB bytes.

use std::fs;
use std::io::{self, Cursor};
use std::ops::Deref;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, Rgb, RgbImage};

use super::DataError;
use super::budget::{Budget, Claim};
use super::intact::{self, Damage};
use super::quiet::catch_quietly;
use crate::formats::{printable, read_regular};

/// Extensions (lower case) of the files that a class folder's images are looked for under.
pub(super) const EXTENSIONS: [&str; 10] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff",
];

/// Extensions (lower case) of pictures in formats that are not read, which a folder is searched for to
/// say so.
#[rustfmt::skip]
pub(super) const UNREAD_EXTENSIONS: [&str; 50] = [
    "heic", "heif", "hif", "avif", "avifs", "jxl", "jp2", "j2k", "jpf", "jpx", "jpm",
    // Cameras' own.
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "kdc", "mos", "mrw", "nef", "nrw", "orf", "pef",
    "raf", "raw", "rw2", "rwl", "srf", "sr2", "srw", "x3f",
    "svg", "svgz", "psd", "psb", "xcf", "ico", "icns", "tga", "dds", "exr", "hdr", "ppm", "pgm", "pnm", "qoi",
];

/// The most pixels of an image that is decoded: above what cameras and phones make but for a few, and
/// below a gigabyte in the decoder that needs the most for one, that of progressive JPEG.
pub const MAX_IMAGE_PIXELS: u64 = 120_000_000;

/// The longest file that is read as an image; 85 million pixels without any compression.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;

/// The most bytes that an image may take as it is decoded: 16 bits a channel make them more.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// What the files hold that are decoded at a time, on all cores together.
static FILES: Budget = Budget::new(MAX_FILE_BYTES);

/// What decoders hold on all cores together: as much as the largest image needs, for which the others wait.
static DECODERS: Budget = Budget::new(MAX_IMAGE_PIXELS * 3 * DECODING);

/// Bytes that decoders, the crop and the conversion to RGB hold for each byte of the image; progressive
/// JPEG the most, two bytes of coefficients for one of pixels.
const DECODING: u64 = 3;

/// Why a file gives no image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageFault {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{width} x {height} pixels, the limit is {} million", MAX_IMAGE_PIXELS / 1_000_000)]
    TooManyPixels { width: u32, height: u32 },
    #[error(
        "{width} x {height} pixels of {bytes} bytes in all, the limit is {} MiB",
        MAX_DECODED_BYTES >> 20
    )]
    TooManyBytes { width: u32, height: u32, bytes: u64 },
    #[error("{0}")]
    Damage(#[from] Damage),
    #[error("{}", one_line(.0))]
    Decoder(#[from] ImageError),
    #[error("the decoder gave up on its content (a panic)")]
    Panic,
}

/// Some decoders' messages have newlines, and pieces of the file.
fn one_line(error: &ImageError) -> String {
    let text = error.to_string();
    printable(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Decodes one image to `[side, side, 3]` RGB bytes.
///
/// Any format of PNG, JPEG, WebP, BMP, TIFF and GIF, told by content and not by name: grey is
/// spread over the three channels, 16 bits are rounded to 8, EXIF orientation is applied,
/// and transparency is composited on white; of several images in a file the first one is taken. The
/// centre square is then resized to `side` with an antialiasing bilinear (triangle) filter. Cropping
/// first gives what resizing the short side first gives, but for the filter's reach at the crop's
/// border, and keeps a long thin image from being blown up.
///
/// An image has at most [`MAX_IMAGE_PIXELS`], its file at most 256 MiB, and as it is decoded it
/// takes at most 512 MiB. Its header is checked against that before memory is allocated.
///
/// # Errors
///
/// [`DataError::Zero`] for `side = 0`; [`DataError::BadImage`] where the file is not a regular one, cannot
/// be read or decoded, or exceeds a limit.
pub fn decode_image(path: impl AsRef<Path>, side: usize) -> Result<Vec<u8>, DataError> {
    if side == 0 {
        return Err(DataError::Zero { option: "side" });
    }
    let path = path.as_ref();
    let decoded = read(path).and_then(|bytes| decode(&bytes, side));
    decoded.map_err(|fault| DataError::BadImage {
        path: path.to_path_buf(),
        reason: fault.to_string(),
    })
}

/// The bytes of an image file, counted as long as they are held.
pub(super) struct FileBytes {
    bytes: Vec<u8>,
    _claim: Claim<'static>,
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of an image file, which [`decode`] takes. Waits while other threads hold too many, so a thread
/// must hold one file at a time.
pub(super) fn read(path: &Path) -> Result<FileBytes, ImageFault> {
    let claim = FILES.claim(fs::metadata(path)?.len());
    Ok(FileBytes {
        bytes: read_regular(path, MAX_FILE_BYTES)?,
        _claim: claim,
    })
}

/// What [`decode_image`] says, for the bytes of a file.
pub(super) fn decode(bytes: &[u8], side: usize) -> Result<Vec<u8>, ImageFault> {
    catch_quietly(|| Ok(resized(on_white(centre_square(bytes)?), side)))
        .unwrap_or(Err(ImageFault::Panic))
}

/// A square brought to `side`, `[side, side, 3]`.
pub(super) fn resized(square: RgbImage, side: usize) -> Vec<u8> {
    let side = side as u32;
    match square.width() == side {
        true => square.into_raw(),
        false => imageops::resize(&square, side, side, FilterType::Triangle).into_raw(),
    }
}

/// Left, top and side of the square in the middle.
pub(super) fn middle(width: u32, height: u32) -> [u32; 3] {
    let short = width.min(height);
    [(width - short) / 2, (height - short) / 2, short]
}

fn centre_square(bytes: &[u8]) -> Result<DynamicImage, ImageFault> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits);
    let format = reader.format();
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_IMAGE_PIXELS {
        return Err(ImageFault::TooManyPixels { width, height });
    }
    let decoded = decoder.total_bytes();
    if decoded > MAX_DECODED_BYTES {
        return Err(ImageFault::TooManyBytes {
            width,
            height,
            bytes: decoded,
        });
    }
    let _claim = DECODERS.claim(decoded.saturating_mul(DECODING));
    if let Some(format) = format {
        intact::check(format, bytes, decoded)?;
    }
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);

    let [left, top, short] = middle(image.width(), image.height());
    Ok(match image.width() == image.height() {
        true => image,
        false => image.crop_imm(left, top, short, short),
    })
}

/// Compositing comes before resizing: the colour of fully transparent pixels is arbitrary and must not
/// bleed into their neighbours.
pub(super) fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([r, g, b].map(|v| ((v * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}
