//! WebP: a container of chunks, of which one is the picture.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::{ImageDecoder, ImageResult};

use super::{Damage, number, trailing_zeros};

/// Even areas at the end are coded as thousands of zeros, so these alone tell nothing.
const SUSPICIOUS: usize = 32;

/// What an intact picture needs: encoders add a byte or two.
const NEEDED: usize = 8;

/// Zeros are the shortest codes, those for no change. In place of lost data they fill the picture too early,
/// so that it can be decoded without the last of them; in an intact file all of them are needed.
pub(super) fn check(file: &[u8], decoded: u64) -> Result<(), Damage> {
    let Some((name, data)) = picture(file, 12) else {
        return Ok(());
    };
    let bytes = trailing_zeros(data);
    if bytes < SUSPICIOUS {
        return Ok(());
    }
    match decode(name, &data[..data.len() - NEEDED], decoded) {
        Ok(true) => Err(Damage::Surplus { bytes }),
        _ => Ok(()),
    }
}

/// Name and data of the first picture's chunk.
fn picture(file: &[u8], mut at: usize) -> Option<(&[u8], &[u8])> {
    loop {
        let name = file.get(at..at + 4)?;
        let length: usize = number::<4>(file, at + 4)?;
        let data = file.get(at + 8..(at + 8).saturating_add(length).min(file.len()))?;
        match name {
            b"VP8 " | b"VP8L" => return Some((name, data)),
            // A picture of a film, behind its place and time.
            b"ANMF" => return picture(data, 16),
            _ => at = (at + 8).checked_add(length.checked_next_multiple_of(2)?)?,
        }
    }
}

/// Whether the data alone are a picture; not told where they claim more than the file did.
fn decode(name: &[u8], data: &[u8], decoded: u64) -> ImageResult<bool> {
    let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
    file.extend_from_slice(name);
    file.extend((data.len() as u32).to_le_bytes());
    file.extend_from_slice(data);
    file.resize(file.len().next_multiple_of(2), 0);
    let length = file.len() as u32 - 8;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    let decoder = WebPDecoder::new(Cursor::new(file))?;
    // One may count transparency and the other not.
    if decoder.total_bytes() > decoded.div_ceil(3) * 4 {
        return Ok(false);
    }
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels)?;
    Ok(true)
}
