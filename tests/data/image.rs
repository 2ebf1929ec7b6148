use std::fs::{self, File};
use std::path::Path;

use bayeslora::low_level::data::decode_image;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageEncoder, Luma, Rgb, RgbImage, Rgba,
    RgbaImage,
};
use tempfile::tempdir;

use super::files::{assert_says, message};

fn round_trip(image: impl Into<DynamicImage>, side: usize) -> Vec<u8> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("image.png");
    image.into().save(&path).unwrap();
    decode_image(&path, side).unwrap()
}

#[test]
fn an_image_of_the_right_size_is_kept_exactly() {
    let image = RgbImage::from_fn(6, 6, |x, y| Rgb([x as u8 * 40, y as u8 * 40, 7]));
    assert_eq!(round_trip(image.clone(), 6), image.into_raw());
}

#[test]
fn grey_alpha_and_sixteen_bits_become_rgb() {
    assert_eq!(
        round_trip(GrayImage::from_pixel(2, 2, Luma([90])), 2),
        [90; 12]
    );

    let wide: ImageBuffer<Rgb<u16>, _> =
        ImageBuffer::from_pixel(1, 1, Rgb([0x0000, 0x80ff, 0xffff]));
    assert_eq!(round_trip(wide, 1), [0, 0x80, 255]);
    let wide: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, Luma([0x4040]));
    assert_eq!(round_trip(wide, 1), [0x40; 3]);

    let alpha = RgbaImage::from_fn(2, 1, |x, _| Rgba([255, 0, 0, if x == 0 { 255 } else { 0 }]));
    let alpha = image::imageops::resize(&alpha, 2, 2, image::imageops::FilterType::Nearest);
    let row = [255, 0, 0, 255, 255, 255];
    assert_eq!(round_trip(alpha, 2), [row, row].concat());
    let half = RgbaImage::from_pixel(1, 1, Rgba([255, 0, 100, 128]));
    assert_eq!(round_trip(half, 1), [255, 127, 177]);
    let grey = GrayAlphaImage::from_pixel(1, 1, image::LumaA([0, 51]));
    assert_eq!(round_trip(grey, 1), [204; 3]);
}

#[test]
fn the_centre_square_of_a_long_image_is_taken() {
    for (width, height) in [(31, 9), (9, 31)] {
        let image = RgbImage::from_fn(width, height, |x, y| {
            let along = x.max(y);
            if (11..20).contains(&along) {
                Rgb([0, 200, 0])
            } else {
                Rgb([200, 0, 0])
            }
        });
        assert_eq!(round_trip(image, 5), [0, 200, 0].repeat(5 * 5));
    }
    // Blown up before the crop, this one would take gigabytes.
    assert_eq!(
        round_trip(GrayImage::new(1, 60_000), 64),
        vec![0; 64 * 64 * 3]
    );
}

#[test]
fn shrinking_averages_instead_of_picking() {
    let board = GrayImage::from_fn(64, 64, |x, y| {
        Luma([if (x + y) % 2 == 0 { 255 } else { 0 }])
    });
    let small = round_trip(board, 8);
    assert!(small.iter().all(|v| v.abs_diff(127) <= 4), "{small:?}");
    assert_eq!(
        round_trip(GrayImage::from_pixel(3, 3, Luma([77])), 10),
        [77; 300]
    );
}

/// Big-endian TIFF with one entry, the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
    let header = [b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1];
    [&header[..], &entry, &[0; 4]].concat()
}

#[test]
fn exif_orientation_is_applied() {
    // Left half black, right half white; turned a quarter clockwise, top black and bottom white.
    let image = GrayImage::from_fn(16, 16, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
    let dir = tempdir().unwrap();
    let path = dir.path().join("image");
    let write = |encoder: &mut dyn FnMut(File)| encoder(File::create(&path).unwrap());
    let check = |path: &Path| {
        let decoded = decode_image(path, 16).unwrap();
        let at = |x: usize, y: usize| decoded[(y * 16 + x) * 3];
        assert!(
            at(2, 2) < 30 && at(13, 2) < 30,
            "{} {}",
            at(2, 2),
            at(13, 2)
        );
        assert!(at(2, 13) > 225 && at(13, 13) > 225);
    };
    write(&mut |file| {
        let mut encoder = JpegEncoder::new_with_quality(file, 95);
        encoder.set_exif_metadata(exif(6)).unwrap();
        encoder.encode_image(&image).unwrap();
    });
    check(&path);
    write(&mut |file| {
        let mut encoder = PngEncoder::new(file);
        encoder.set_exif_metadata(exif(6)).unwrap();
        let colour = image::ExtendedColorType::L8;
        encoder.write_image(&image, 16, 16, colour).unwrap();
    });
    check(&path);
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("letter.png");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let text = message(decode_image(&path, 8));
        assert_says(&text, &["letter.png", "cannot be decoded as an image"]);
    };
    refused(b"Dear reader");
    refused(b"");
    let mut whole = std::io::Cursor::new(Vec::new());
    let noise = RgbImage::from_fn(50, 50, |x, y| Rgb([(x * y * 37) as u8, x as u8, y as u8]));
    noise.write_to(&mut whole, image::ImageFormat::Png).unwrap();
    let whole = whole.into_inner();
    refused(&whole[..whole.len() / 2]);

    let text = message(decode_image(dir.path().join("absent.jpg"), 8));
    assert_says(&text, &["absent.jpg"]);
    let text = message(decode_image(&path, 0));
    assert_eq!(text, "side is 0; expected at least 1");
}
