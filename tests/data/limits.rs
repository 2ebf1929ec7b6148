//! Files that claim more than they hold, and what is no file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bayeslora::low_level::data::{MAX_IMAGE_PIXELS, decode_image, open};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tempfile::tempdir;

use super::files::{assert_says, class, message, options, record, spec};
use crate::mutate::peak_of;

/// The reason of a refusal, which came in a second and in 32 MiB.
fn refused(path: &Path) -> String {
    let start = Instant::now();
    let mut text = String::new();
    let peak = peak_of(|| text = message(decode_image(path, 64)));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert!(peak < 32 << 20, "{peak} bytes");
    text
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(40, 30, |x, y| {
        Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// With the two sizes at `at` replaced.
fn claiming(mut bytes: Vec<u8>, at: usize, sizes: &[u8]) -> Vec<u8> {
    bytes[at..at + sizes.len()].copy_from_slice(sizes);
    bytes
}

fn png_claiming(side: u32) -> Vec<u8> {
    let sizes = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let mut bytes = claiming(encoded(ImageFormat::Png), 16, &sizes);
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn a_header_may_claim_anything() {
    let dir = tempdir().unwrap();
    let jpeg = encoded(ImageFormat::Jpeg);
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    let progressive: &[u8] = include_bytes!("../fixtures/jpeg/progressive.jpg");
    let progressive_frame = progressive.windows(2).position(|pair| pair == [0xff, 0xc2]);
    let large = 65_500u16.to_be_bytes();
    let jpeg_sizes = [large, large].concat();
    let bmp_sizes = [60_000i32.to_le_bytes(), 60_000i32.to_le_bytes()].concat();
    let gif_sizes = [0xffu8; 4];
    let mut gif = claiming(encoded(ImageFormat::Gif), 6, &gif_sizes);
    // Its only frame too, behind the descriptor.
    let descriptor = gif
        .windows(5)
        .position(|five| five == [0x2c, 0, 0, 0, 0])
        .unwrap();
    gif[descriptor + 5..descriptor + 9].copy_from_slice(&gif_sizes);
    let files = [
        ("a.png", png_claiming(100_000), "100000 x 100000 pixels"),
        ("b.png", png_claiming(30_000), "30000 x 30000 pixels"),
        (
            "a.jpg",
            claiming(jpeg, frame + 5, &jpeg_sizes),
            "65500 x 65500 pixels",
        ),
        (
            "b.jpg",
            claiming(
                progressive.to_vec(),
                progressive_frame.unwrap() + 5,
                &jpeg_sizes,
            ),
            "65500 x 65500 pixels",
        ),
        (
            "a.bmp",
            claiming(encoded(ImageFormat::Bmp), 18, &bmp_sizes),
            "60000 x 60000 pixels",
        ),
        ("a.gif", gif, "65535 x 65535 pixels"),
    ];
    for (name, bytes, claim) in files {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let text = refused(&path);
        assert_says(&text, &[name, claim, "the limit is 120 million"]);
    }
}

/// Up to the limit it is the data that decide, before memory is taken for their pixels.
#[test]
fn a_jpeg_within_the_limit_without_the_data_for_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    for (bytes, marker) in [
        (encoded(ImageFormat::Jpeg), 0xc0),
        (
            include_bytes!("../fixtures/jpeg/progressive.jpg").to_vec(),
            0xc2,
        ),
    ] {
        let frame = bytes
            .windows(2)
            .position(|pair| pair == [0xff, marker])
            .unwrap();
        let sizes = [10_000u16.to_be_bytes(), 10_000u16.to_be_bytes()].concat();
        fs::write(&path, claiming(bytes, frame + 5, &sizes)).unwrap();
        let text = refused(&path);
        assert_says(&text, &["scan 1 ends after", "data are missing"]);
    }
}

#[test]
fn a_camera_of_61_megapixels_passes_in_less_than_a_gigabyte() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    let (width, height) = (9504, 6336);
    assert!(width * height < MAX_IMAGE_PIXELS);
    let image = RgbImage::from_pixel(width as u32, height as u32, Rgb([30, 60, 90]));
    DynamicImage::from(image).save(&path).unwrap();
    let mut pixels = Vec::new();
    let peak = peak_of(|| pixels = decode_image(&path, 64).unwrap());
    assert!(
        pixels
            .iter()
            .all(|value| [30, 60, 90].iter().any(|v: &u8| v.abs_diff(*value) < 3))
    );
    assert!(peak < 1 << 30, "{peak} bytes");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = tempdir().unwrap();
    let pipe = dir.path().join("pipe.png");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert_says(
        &refused(&pipe),
        &["pipe.png", "a named pipe", "expected a regular file"],
    );
    assert_says(&refused(Path::new("/dev/zero")), &["/dev/zero", "a device"]);
    assert_says(&refused(dir.path()), &["a directory"]);

    // In a folder it is left out and counted.
    class(&dir.path().join("set/train/cat"), 2, 0);
    class(&dir.path().join("set/train/dog"), 2, 0);
    class(&dir.path().join("set/test/dog"), 2, 0);
    fs::rename(&pipe, dir.path().join("set/train/cat/pipe.png")).unwrap();
    let train = open(spec(&dir.path().join("set")), &options())
        .unwrap()
        .train;
    assert_eq!(train.len(), 4);
    assert_says(
        &train.notes[0],
        &["1 entry", "no file is behind", "pipe.png"],
    );
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("long.bmp");
    let file = fs::File::create(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    let text = refused(&path);
    assert_says(
        &text,
        &["long.bmp", "314572800 bytes", "the limit is 268435456"],
    );
}

#[test]
fn a_cifar_file_of_another_size_is_not_read() {
    let dir = tempdir().unwrap();
    for file in ["test.bin", "train.bin"] {
        fs::write(dir.path().join(file), record(&[1, 2], 3)).unwrap();
    }
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("test.bin"));
    file.unwrap().set_len(8 << 30).unwrap();
    let mut text = String::new();
    let peak = peak_of(|| text = message(open(spec(dir.path()), &options())));
    assert_says(&text, &["test.bin", "8589934592 bytes", "truncated"]);
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn pickles_are_known_as_such() {
    for (file, set, archive) in [
        ("data_batch_1", "cifar10", "cifar-10-binary.tar.gz"),
        ("test_batch", "cifar10", "cifar-10-binary.tar.gz"),
        (
            "cifar-10-batches-py/data_batch_2",
            "cifar10",
            "cifar-10-binary.tar.gz",
        ),
        ("train", "cifar100", "cifar-100-binary.tar.gz"),
        (
            "cifar-100-python/test",
            "cifar100",
            "cifar-100-binary.tar.gz",
        ),
    ] {
        let dir = tempdir().unwrap();
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [0x80, 4, 0x95]).unwrap();
        let text = message(open(spec(dir.path()), &options()));
        assert_says(&text, &[file, &format!("{set}'s Python pickles"), archive]);
    }
}
