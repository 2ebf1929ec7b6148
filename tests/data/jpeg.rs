//! JPEG files whose data are not all there.

use std::fs;
use std::io::Cursor;

use bayeslora::low_level::data::decode_image;
use image::codecs::jpeg::{JpegEncoder, PixelDensity};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use tempfile::tempdir;

use super::files::{assert_says, message};

const FIXTURES: [(&str, &[u8]); 6] = [
    (
        "progressive",
        include_bytes!("../fixtures/jpeg/progressive.jpg"),
    ),
    (
        "progressive-grey",
        include_bytes!("../fixtures/jpeg/progressive-grey.jpg"),
    ),
    (
        "progressive-restarts",
        include_bytes!("../fixtures/jpeg/progressive-restarts.jpg"),
    ),
    ("restarts", include_bytes!("../fixtures/jpeg/restarts.jpg")),
    (
        "separate-scans",
        include_bytes!("../fixtures/jpeg/separate-scans.jpg"),
    ),
    ("cmyk", include_bytes!("../fixtures/jpeg/cmyk.jpg")),
];

/// The fixtures, and baseline files in colour (4:4:4 here) and in grey.
fn sound() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<_> = FIXTURES.map(|(name, bytes)| (name, bytes.to_vec())).into();
    let colour = RgbImage::from_fn(50, 35, |x, y| {
        Rgb([x as u8 * 5, y as u8 * 7, (x * y) as u8])
    });
    let grey = GrayImage::from_fn(50, 35, |x, y| Luma([(x * y * 3) as u8]));
    for (name, image) in [
        ("baseline", DynamicImage::from(colour)),
        ("grey", grey.into()),
    ] {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 80);
        encoder.set_pixel_density(PixelDensity::dpi(72));
        encoder.encode_image(&image).unwrap();
        files.push((name, bytes));
    }
    files
}

/// Decodes the bytes as a file.
fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    fs::write(&path, bytes).unwrap();
    decode_image(&path, 35).map_err(|error| error.to_string())
}

/// The centre as the decoder alone has it.
fn undisturbed(bytes: &[u8]) -> Vec<u8> {
    let image = image::load_from_memory(bytes).unwrap();
    image.crop_imm(7, 0, 35, 35).into_rgb8().into_raw()
}

/// Where coded data begin: behind the first start of scan.
fn first_scan(bytes: &[u8]) -> usize {
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0xda]);
    let at = at.unwrap();
    at + 2 + usize::from(bytes[at + 3])
}

#[test]
fn sound_files_keep_their_pixels() {
    for (name, bytes) in sound() {
        assert_eq!(decode(&bytes).expect(name), undisturbed(&bytes), "{name}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (name, bytes) in sound() {
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length]);
            assert!(cut.is_err(), "{name} cut at {length} of {}", bytes.len());
        }
        let text = decode(&bytes[..bytes.len() - 1]).unwrap_err();
        assert_says(&text, &["photo.jpg", "the file is cut"]);
    }
}

#[test]
fn a_tail_of_zeros_is_refused() {
    for (name, bytes) in sound() {
        for kept in first_scan(&bytes)..bytes.len() - 1 {
            let mut lost = bytes.clone();
            lost[kept..].fill(0);
            assert!(decode(&lost).is_err(), "{name} zeros from {kept}");
        }
    }
}

/// As programs leave it that close what they could get.
#[test]
fn a_cut_file_that_has_been_given_an_end_is_refused() {
    for (name, bytes) in sound() {
        // The last bytes may hold padding alone.
        for length in first_scan(&bytes)..bytes.len() - 4 {
            if bytes[length - 1] == 0xff {
                continue;
            }
            let closed = [&bytes[..length], &[0xff, 0xd9]].concat();
            assert!(decode(&closed).is_err(), "{name} closed at {length}");
        }
    }
    let (_, bytes) = &sound()[6];
    let closed = [&bytes[..first_scan(bytes) + 100], &[0xff, 0xd9]].concat();
    assert_says(
        &decode(&closed).unwrap_err(),
        &["scan 1 ends after", "of 105 blocks", "data are missing"],
    );
}

/// Phones append films and depth maps, with ends of image of their own.
#[test]
fn what_follows_the_end_does_not_matter() {
    for (name, bytes) in sound() {
        let mut appended = [&bytes[..], b"\0\0\0\x18ftypmp42", &bytes[..200]].concat();
        assert_eq!(
            decode(&appended).expect(name),
            undisturbed(&bytes),
            "{name}"
        );
        appended.resize(bytes.len() + 10_000, 0);
        assert!(decode(&appended).is_ok(), "{name}");
    }
}

/// Metadata hold thumbnails: their end is not the image's.
#[test]
fn the_end_of_a_thumbnail_is_none() {
    let (_, bytes) = &sound()[0];
    let thumbnail = &FIXTURES[1].1;
    let length = (thumbnail.len() as u16 + 2).to_be_bytes();
    let metadata = [&[0xff, 0xe2], &length[..], thumbnail].concat();
    let with = [&bytes[..2], &metadata, &bytes[2..]].concat();
    assert_eq!(decode(&with).unwrap(), undisturbed(bytes));
    assert!(decode(&with[..with.len() - 2]).is_err());
    assert!(decode(&with[..metadata.len() + 2]).is_err());
}

/// Fill bytes before markers, and bytes between a scan's data and its end.
#[test]
fn what_the_standard_allows_between_markers_is_read() {
    for (name, bytes) in sound() {
        let (data, end) = bytes.split_at(bytes.len() - 2);
        let filled = [data, &[0xff, 0xff], end].concat();
        assert_eq!(decode(&filled).expect(name), undisturbed(&bytes), "{name}");
    }
}

#[test]
fn a_block_of_the_disk_lost_in_the_middle_is_mostly_found() {
    let picture = RgbImage::from_fn(256, 256, |x, y| {
        Rgb([(x * y) as u8, (x * 3 + y) as u8, (y * y / 7) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    picture.write_with_encoder(encoder).unwrap();
    let bytes = bytes.into_inner();
    assert!(decode(&bytes).is_ok());
    let places = (first_scan(&bytes)..bytes.len() - 4096).step_by(512);
    let refused = places.clone().filter(|&at| {
        let mut lost = bytes.clone();
        lost[at..at + 4096].fill(0);
        decode(&lost).is_err()
    });
    let (refused, all) = (refused.count(), places.count());
    assert!(all > 10 && 10 * refused >= 9 * all, "{refused} of {all}");
}

#[test]
fn the_message_of_a_file_without_any_scan() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    let (_, bytes) = &sound()[6];
    fs::write(&path, &bytes[..20]).unwrap();
    let text = message(decode_image(&path, 8));
    assert_says(&text, &["photo.jpg", "cannot be decoded as an image"]);
}
