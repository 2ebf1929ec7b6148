//! TIFF: strips or tiles, each coded on its own.

use std::io::{self, Cursor, Read};
use std::ops::Range;

use ::tiff::TiffResult;
use ::tiff::decoder::Decoder;
use ::tiff::tags::{CompressionMethod, PlanarConfiguration, Tag};
use flate2::read::ZlibDecoder;

use super::jpeg::{self, JpegFault};
use super::{Damage, check_coded, check_raw_tail};

/// What is wrong with a strip or tile.
#[derive(Debug, thiserror::Error)]
pub(in crate::low_level::data) enum TiffFault {
    #[error("strip {strip}: {fault}")]
    Jpeg { strip: usize, fault: JpegFault },
    #[error("strip {strip}: its checksum does not match its data")]
    Checksum { strip: usize },
    #[error("strip {strip} inflates to more than the picture")]
    TooLong { strip: usize },
}

/// Of the first picture in the file.
struct Layout {
    compression: CompressionMethod,
    strips: Vec<Range<usize>>,
    /// Bytes of a row of a strip without compression.
    row: u64,
    jpeg_tables: Vec<u8>,
}

pub(super) fn check(file: &[u8], decoded: u64) -> Result<(), Damage> {
    let Ok(layout) = Layout::read(file) else {
        return Ok(());
    };
    let mut strips = layout.strips.iter().map(|strip| &file[strip.clone()]);
    match layout.compression {
        CompressionMethod::None => check_raw_tail(file, |at| layout.starts_row(at)),
        CompressionMethod::ModernJPEG => {
            for (strip, data) in strips.enumerate() {
                let stream = with_tables(&layout.jpeg_tables, data);
                jpeg::check(&stream).map_err(|fault| TiffFault::Jpeg { strip, fault })?;
            }
            Ok(())
        }
        CompressionMethod::Deflate | CompressionMethod::OldDeflate => {
            // Tiles may reach beyond the picture.
            let mut left = decoded.saturating_mul(4).saturating_add(1 << 20);
            for (strip, data) in strips.enumerate() {
                let mut inflated = ZlibDecoder::new(data).take(left);
                let bytes = io::copy(&mut inflated, &mut io::sink())
                    .map_err(|_| TiffFault::Checksum { strip })?;
                left -= bytes;
                if left == 0 {
                    return Err(TiffFault::TooLong { strip }.into());
                }
            }
            Ok(())
        }
        _ => strips.try_for_each(check_coded),
    }
}

impl Layout {
    fn read(file: &[u8]) -> TiffResult<Self> {
        let mut decoder = Decoder::new(Cursor::new(file))?;
        let mut ifd = decoder.image_ifd();
        let compression = ifd.find_tag_unsigned(Tag::Compression)?.unwrap_or(1);
        let (offsets, counts, width) = match ifd.find_tag(Tag::TileOffsets)? {
            Some(_) => (Tag::TileOffsets, Tag::TileByteCounts, Tag::TileWidth),
            None => (Tag::StripOffsets, Tag::StripByteCounts, Tag::ImageWidth),
        };
        let starts: Vec<u64> = ifd.find_tag_unsigned_vec(offsets)?.unwrap_or_default();
        let counts: Vec<u64> = ifd.find_tag_unsigned_vec(counts)?.unwrap_or_default();
        let length = file.len() as u64;
        let strips = starts.into_iter().zip(counts).map(|(start, count)| {
            let within = |at: u64| at.min(length) as usize;
            within(start)..within(start.saturating_add(count))
        });
        let width: u64 = ifd.find_tag_unsigned(width)?.unwrap_or(0);
        let bits: Vec<u64> = ifd
            .find_tag_unsigned_vec(Tag::BitsPerSample)?
            .unwrap_or_else(|| vec![1]);
        let planar = ifd.find_tag_unsigned(Tag::PlanarConfiguration)?;
        let planar = planar == Some(PlanarConfiguration::Planar.to_u16());
        let bits: u64 = match planar {
            true => bits.first().copied().unwrap_or(1),
            false => bits.iter().sum(),
        };
        let jpeg_tables = match ifd.find_tag(Tag::JPEGTables)? {
            Some(tables) => tables.into_u8_vec()?,
            None => Vec::new(),
        };
        Ok(Self {
            compression: CompressionMethod::from_u16_exhaustive(compression),
            strips: strips.collect(),
            row: width.saturating_mul(bits).div_ceil(8),
            jpeg_tables,
        })
    }

    /// Also what is not a pixel: it may be zero.
    fn starts_row(&self, at: usize) -> bool {
        let strip = self.strips.iter().find(|strip| strip.contains(&at));
        strip.is_none_or(|strip| {
            self.row > 0 && ((at - strip.start) as u64).is_multiple_of(self.row)
        })
    }
}

/// One stream: the tables that strips have in common without their end, a strip without its start.
fn with_tables(tables: &[u8], strip: &[u8]) -> Vec<u8> {
    match tables.len() {
        0..4 => strip.to_vec(),
        length => [&tables[..length - 2], strip.get(2..).unwrap_or_default()].concat(),
    }
}
