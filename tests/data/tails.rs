//! Pictures of other formats than JPEG whose data are not all there: zeros where there was something.

use std::fs;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use bayeslora::low_level::data::decode_image;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use tempfile::tempdir;

use super::files::assert_says;

const SECTOR: usize = 512;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new("tests/fixtures/pictures").join(name)).unwrap()
}

/// Without any zero.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            1 + (x * 7 + y * y) % 255,
            1 + (x * y) % 255,
            1 + (x + y * 11) % 255,
        ]
        .map(|v| v as u8))
    })
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("photo");
    fs::write(&path, bytes).unwrap();
    decode_image(&path, 32).map_err(|error| error.to_string())
}

fn with_zeros(bytes: &[u8], lost: Range<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[lost].fill(0);
    bytes
}

/// The file with its directory behind the header, as some programs write it: the data are its tail.
fn directory_first(photo: &RgbImage) -> Vec<u8> {
    let (width, height) = photo.dimensions();
    const DATA: u32 = 200;
    let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
    let entries: [(u16, u16, u32, u32); 10] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 140),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, DATA),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, width * height * 3),
        (284, 3, 1, 1),
    ];
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.resize(140, 0);
    bytes.extend([8, 0, 8, 0, 8, 0]);
    bytes.resize(DATA as usize, 0);
    bytes.extend_from_slice(photo);
    bytes
}

/// Uncompressed files.
fn raw() -> Vec<(&'static str, Vec<u8>)> {
    let photo = photo(61, 43);
    let grey = GrayImage::from_fn(61, 71, |x, y| Luma([1 + ((x * y) % 255) as u8]));
    let opaque = DynamicImage::from(photo.clone()).to_rgba8();
    vec![
        ("bmp", encoded(photo.clone(), ImageFormat::Bmp)),
        ("bmp with a palette", encoded(grey, ImageFormat::Bmp)),
        ("bmp of 32 bits", encoded(opaque, ImageFormat::Bmp)),
        ("tiff", directory_first(&photo)),
    ]
}

/// Even areas too, which are coded as long runs of zeros.
#[test]
fn sound_files_are_read() {
    for (name, bytes) in raw() {
        assert!(decode(&bytes).is_ok(), "{name}");
    }
    for file in fs::read_dir("tests/fixtures/pictures").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind != "md") {
            decode_image(&path, 32).unwrap();
        }
    }
}

#[test]
fn pixels_lost_from_a_sector_on_are_missed() {
    for (name, bytes) in raw() {
        for from in (SECTOR..bytes.len() - SECTOR).step_by(SECTOR) {
            let error = decode(&with_zeros(&bytes, from..bytes.len())).expect_err(name);
            let zeros = format!("its last {} bytes are zeros", bytes.len() - from);
            assert_says(&error, &[&zeros, "the tail of the file is lost", "PNG"]);
        }
    }
}

/// The rows that are black begin where a row does, and all but one place in 512 is no sector's.
#[test]
fn black_below_is_no_loss() {
    let mut refused = 0;
    let mut all = 0;
    for (width, height) in [(61, 43), (64, 40), (128, 32), (171, 9)] {
        for rows in 1..height {
            let mut photo = photo(width, height);
            // BMP begins with the lowest row.
            for y in rows..height {
                (0..width).for_each(|x| photo.put_pixel(x, y, Rgb([0; 3])));
            }
            let turned = image::imageops::flip_vertical(&photo);
            assert!(decode(&directory_first(&photo)).is_ok(), "{width} {rows}");
            assert!(decode(&encoded(turned, ImageFormat::Bmp)).is_ok());
            // Black that begins within the row.
            for x in 1..width {
                photo.put_pixel(width - x, rows - 1, Rgb([0; 3]));
                all += 1;
                refused += usize::from(decode(&directory_first(&photo)).is_err());
            }
        }
    }
    assert!(refused > 0 && refused * 300 < all, "{refused} of {all}");
}

/// Files whose codes, checksums or ends tell what is lost, at any place: where their data begin and end.
fn coded() -> Vec<(&'static str, Vec<u8>, Range<usize>)> {
    let photo = photo(90, 72);
    let mut all = Vec::new();
    for name in [
        "lossy.webp",
        "lossy-alpha.webp",
        "lossless.webp",
        "anim.webp",
    ] {
        let bytes = fixture(name);
        // The film's first picture, which alone is read, ends where the second begins.
        let frames: Vec<usize> = (0..bytes.len() - 4)
            .filter(|&at| &bytes[at..at + 4] == b"ANMF")
            .collect();
        let end = frames.get(1).copied().unwrap_or(bytes.len());
        let begin = bytes.windows(3).position(|name| name == b"VP8").unwrap();
        let begin = match &bytes[begin..begin + 4] {
            b"VP8X" => {
                begin
                    + 4
                    + bytes[begin + 4..]
                        .windows(4)
                        .position(|name| name == b"VP8 ")
                        .unwrap()
            }
            _ => begin,
        };
        all.push((name, bytes, begin + 40..end));
    }
    for name in [
        "jpeg.tiff",
        "jpeg-grey.tiff",
        "deflate.tiff",
        "lzw.tiff",
        "packbits.tiff",
        "g4.tiff",
    ] {
        let bytes = fixture(name);
        let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        all.push((name, bytes, 30..directory));
    }
    for (name, format) in [("png", ImageFormat::Png), ("gif", ImageFormat::Gif)] {
        let bytes = encoded(DynamicImage::from(photo.clone()).to_rgba8(), format);
        let end = bytes.len();
        all.push((name, bytes, 900..end));
    }
    all
}

/// Of fewer bytes some pass: the zeros happen to be codes of nearly as many blocks.
#[test]
fn zeros_in_place_of_coded_data_are_missed() {
    for (name, bytes, data) in coded() {
        let sound = decode(&bytes).expect(name);
        let mut wrong = Vec::new();
        for from in data.clone().step_by(7).filter(|from| from + 128 < data.end) {
            match decode(&with_zeros(&bytes, from..data.end)) {
                Ok(pixels) if pixels != sound => wrong.push(data.end - from),
                _ => {}
            }
        }
        assert!(
            wrong.is_empty(),
            "{name} decoded wrongly without its last {wrong:?} bytes"
        );
    }
}
