//! Whether the data of a picture are all there.
//!
//! A copy or a download that broke off may leave a file of full length with a tail of zeros. Decoders take
//! zeros for codes and for pixels, so such a photo would be trained on. What is not understood here is left
//! to the decoder. PNG has checksums, and GIF's decoder notices a missing end: they need no check.

mod bmp;
mod jpeg;
mod tiff;
mod webp;

use image::ImageFormat;

pub(super) use jpeg::JpegFault;
pub(super) use tiff::TiffFault;

/// What is wrong with the data.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{0}")]
    Jpeg(#[from] JpegFault),
    #[error("{0}")]
    Tiff(#[from] TiffFault),
    #[error(
        "its last {bytes} bytes are zeros from the edge of a disk's sector on: the tail of the file is lost \
         (should the picture be black there, save it as PNG, which has checksums)"
    )]
    LostTail { bytes: usize },
    #[error("{bytes} zeros in a row in its coded data: a part of the file is lost")]
    Zeros { bytes: usize },
    #[error(
        "the picture is full before its coded data end, in {bytes} zeros: a part of the file is lost"
    )]
    Surplus { bytes: usize },
}

/// Before decoding; `decoded` is how many bytes the decoder will make of it.
pub(super) fn check(format: ImageFormat, file: &[u8], decoded: u64) -> Result<(), Damage> {
    match format {
        ImageFormat::Jpeg => Ok(jpeg::check(file)?),
        ImageFormat::Bmp => bmp::check(file),
        ImageFormat::Tiff => tiff::check(file, decoded),
        ImageFormat::WebP => webp::check(file, decoded),
        _ => Ok(()),
    }
}

/// What disks write and lose at a time, or a whole part of it.
const SECTOR: usize = 512;

/// More zeros in a row than LZW, PackBits and fax have in sound data.
const CODED_ZEROS: usize = 64;

/// Pixels without compression: zeros to the end of the file, a sector of them or more, from the edge of a
/// sector on. Black areas at the bottom begin with a row and are accepted; `starts_row` recognises such places.
/// Black that begins within a row is mistaken for a loss if that place happens to be an edge, one in 512.
fn check_raw_tail(file: &[u8], starts_row: impl Fn(usize) -> bool) -> Result<(), Damage> {
    let bytes = trailing_zeros(file);
    let from = file.len() - bytes;
    match bytes >= SECTOR && from.is_multiple_of(SECTOR) && !starts_row(from) {
        true => Err(Damage::LostTail { bytes }),
        false => Ok(()),
    }
}

fn check_coded(data: &[u8]) -> Result<(), Damage> {
    let runs = data.split(|byte| *byte != 0).map(<[u8]>::len);
    match runs.max() {
        Some(bytes) if bytes >= CODED_ZEROS => Err(Damage::Zeros { bytes }),
        _ => Ok(()),
    }
}

fn trailing_zeros(data: &[u8]) -> usize {
    let last = data.iter().rposition(|byte| *byte != 0);
    data.len() - last.map_or(0, |last| last + 1)
}

/// A number of the file, least byte first.
fn number<const BYTES: usize>(file: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; BYTES] = file.get(at..)?.first_chunk().copied()?;
    let value = bytes
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    value.try_into().ok()
}
