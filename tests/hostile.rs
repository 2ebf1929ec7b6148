//! Readers of images and arrays against damaged files by the thousand.
//!
//! `BAYESLORA_MUTATE_SECONDS=600 cargo test --release --test hostile` takes ten minutes for each.

mod mutate;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::Duration;

use bayeslora::low_level::data::{OpenOptions, decode_image, open};
use bayeslora::low_level::formats::npy;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use mutate::{Bounds, hunt};
use tempfile::tempdir;

#[global_allocator]
static MEMORY: mutate::Counting = mutate::Counting;

/// Damage may ask for the largest image that is decoded, but hardly for a slow one.
const IMAGES: Bounds = Bounds {
    bytes: 1300 << 20,
    time: Duration::from_secs(20),
};

/// Arrays take what their files do, a few times over.
const ARRAYS: Bounds = Bounds {
    bytes: 16 << 20,
    time: Duration::from_secs(5),
};

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn pictures(format: ImageFormat) -> Vec<Vec<u8>> {
    let colour = RgbImage::from_fn(37, 29, |x, y| {
        Rgb([x as u8 * 6, y as u8 * 8, (x * y * 5) as u8])
    });
    let grey = GrayImage::from_fn(16, 16, |x, y| Luma([(x * 16 + y) as u8]));
    let mut images = vec![DynamicImage::from(colour)];
    images.push(DynamicImage::from(images[0].to_rgba8()));
    images.push(grey.into());
    let images = images.iter().filter(|image| match format {
        ImageFormat::Jpeg => !image.color().has_alpha(),
        ImageFormat::Gif => image.color().has_alpha(),
        _ => true,
    });
    images.map(|image| encoded(image, format)).collect()
}

fn hunt_images(name: &str, seeds: &[Vec<u8>]) {
    let dir = tempdir().unwrap();
    let path = dir.path().join(name);
    for seed in seeds {
        fs::write(&path, seed).unwrap();
        decode_image(&path, 32).unwrap();
    }
    hunt(name, seeds, IMAGES, |bytes| {
        fs::write(&path, bytes).unwrap();
        let _ = decode_image(&path, 32);
    });
}

#[test]
fn png() {
    hunt_images("png", &pictures(ImageFormat::Png));
}

#[test]
fn jpeg() {
    let mut seeds = pictures(ImageFormat::Jpeg);
    for fixture in fs::read_dir("tests/fixtures/jpeg").unwrap() {
        let path = fixture.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "jpg") {
            seeds.push(fs::read(path).unwrap());
        }
    }
    assert_eq!(seeds.len(), 8);
    hunt_images("jpeg", &seeds);
}

#[test]
fn webp() {
    hunt_images("webp", &pictures(ImageFormat::WebP));
}

#[test]
fn bmp() {
    hunt_images("bmp", &pictures(ImageFormat::Bmp));
}

#[test]
fn tiff() {
    hunt_images("tiff", &pictures(ImageFormat::Tiff));
}

#[test]
fn gif() {
    hunt_images("gif", &pictures(ImageFormat::Gif));
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// A set of which one file is replaced by damaged ones.
fn hunt_sets(name: &str, dir: &Path, file: &str, seeds: &[Vec<u8>]) {
    let path = dir.join(file);
    for seed in seeds {
        fs::write(&path, seed).unwrap();
        open(dir, &OpenOptions::default()).unwrap();
    }
    hunt(name, seeds, ARRAYS, |bytes| {
        fs::write(&path, bytes).unwrap();
        let _ = open(dir, &OpenOptions::default());
    });
}

fn idx(shape: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend((0..shape.iter().product()).map(|i: u32| i as u8 % 4));
    bytes
}

fn write_idx(dir: &Path) {
    for part in ["train", "t10k"] {
        fs::write(
            dir.join(format!("{part}-images-idx3-ubyte")),
            idx(&[8, 5, 5]),
        )
        .unwrap();
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), idx(&[8])).unwrap();
    }
}

#[test]
fn idx_images() {
    let dir = tempdir().unwrap();
    write_idx(dir.path());
    let seeds = [idx(&[8, 5, 5])];
    hunt_sets("idx", dir.path(), "train-images-idx3-ubyte", &seeds);
}

#[test]
fn idx_labels() {
    let dir = tempdir().unwrap();
    write_idx(dir.path());
    hunt_sets(
        "idx-labels",
        dir.path(),
        "train-labels-idx1-ubyte",
        &[idx(&[8])],
    );
}

#[test]
fn idx_gzipped() {
    let dir = tempdir().unwrap();
    write_idx(dir.path());
    fs::remove_file(dir.path().join("train-images-idx3-ubyte")).unwrap();
    let mut long = idx(&[8, 5, 5]);
    let short = gzipped(&long);
    long.resize(40 << 20, 0);
    fs::write(
        dir.path().join("train-images-idx3-ubyte.gz"),
        gzipped(&long),
    )
    .unwrap();
    assert!(open(dir.path(), &OpenOptions::default()).is_err());
    hunt_sets("idx.gz", dir.path(), "train-images-idx3-ubyte.gz", &[short]);
}

#[test]
fn cifar() {
    let dir = tempdir().unwrap();
    let record: Vec<u8> = [7, 42]
        .into_iter()
        .chain((0..3072).map(|i| i as u8))
        .collect();
    fs::write(dir.path().join("test.bin"), &record).unwrap();
    hunt_sets(
        "cifar",
        dir.path(),
        "train.bin",
        &[record.repeat(2), record],
    );
}

#[test]
fn arrays() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("array.npy");
    npy::write_npy(&path, &[4, 3], &[0.25; 12]).unwrap();
    let two = fs::read(&path).unwrap();
    npy::write_npy(&path, &[2, 4, 3], &[0.25; 24]).unwrap();
    let three = fs::read(&path).unwrap();
    let labels = |kind: &str, bytes: &[u8]| {
        let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (4,), }}");
        let header = format!("{text:<117}\n");
        let mut file = b"\x93NUMPY\x02\0".to_vec();
        file.extend((header.len() as u32).to_le_bytes());
        [&file, header.as_bytes(), bytes].concat()
    };
    let seeds = [
        two,
        three,
        labels("<i8", &[0; 32]),
        labels("|u1", &[1, 2, 0, 3]),
    ];
    for labels in &seeds[2..] {
        fs::write(&path, labels).unwrap();
        npy::read_labels(&path).unwrap();
    }
    hunt("npy", &seeds, ARRAYS, |bytes| {
        fs::write(&path, bytes).unwrap();
        let _ = npy::read_labels(&path);
        let _ = npy::read_probabilities(&path);
    });
}

/// The header's length is the file's own word, and its parser calls itself for every bracket.
#[test]
fn array_headers_of_any_length_and_depth() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("array.npy");
    let long = [&b"\x93NUMPY\x02\0"[..], &u32::MAX.to_le_bytes(), b"{}"].concat();
    let deep = |count: usize| {
        let begin = [&b"\x93NUMPY\x01\0"[..], &(count as u16).to_le_bytes()].concat();
        [begin, vec![b'('; count]].concat()
    };
    for (bytes, expected) in [
        (long, "a header of 4294967295 bytes"),
        (deep(60_000), "a header of 60000 bytes"),
        (deep(9_000), "9000 nested brackets"),
    ] {
        fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        let peak = mutate::peak_of(|| text = npy::read_labels(&path).unwrap_err().to_string());
        assert!(text.contains(expected), "{text}");
        assert!(peak < 1 << 20, "{peak}");
    }
}
