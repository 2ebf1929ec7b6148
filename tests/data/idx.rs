//! IDX files that the tests write.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bayeslora::low_level::data::{open, open_test};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::tempdir;

use super::files::{assert_says, message, options, spec};
use crate::mutate::peak_of;

/// An array of bytes with its header.
fn idx(shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    for n in shape {
        file.extend((*n as u32).to_be_bytes());
    }
    [file, bytes.to_vec()].concat()
}

/// Images of 3 x 3 pixels that count up, and labels.
fn write(dir: &Path, part: &str, labels: &[u8]) {
    let pixels: Vec<u8> = (0..labels.len() * 9).map(|i| i as u8).collect();
    let images = idx(&[labels.len(), 3, 3], &pixels);
    fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
    let labels = idx(&[labels.len()], labels);
    fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
}

fn write_set(dir: &Path) {
    write(dir, "train", &[2, 0, 1, 2]);
    write(dir, "t10k", &[1, 0]);
}

#[test]
fn grey_is_spread_over_the_channels() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("mnist");
    fs::create_dir(&root).unwrap();
    write_set(&root);
    let splits = open(spec(&root), &options()).unwrap();
    assert_eq!((&*splits.name, splits.train.side), ("mnist", 3));
    assert_eq!(splits.train.labels, [2, 0, 1, 2]);
    assert_eq!(*splits.train.classes, ["0", "1", "2"]);
    let second: Vec<u8> = (9..18).flat_map(|grey| [grey; 3]).collect();
    assert_eq!(splits.train.image(1).unwrap(), second);
    assert_eq!(splits.test.labels, [1, 0]);
    assert_eq!(splits.test.classes.len(), 3);
    let mut limited = options();
    limited.limit_train = Some(3);
    assert_eq!(open(spec(&root), &limited).unwrap().train.labels, [2, 0, 1]);
}

#[test]
fn gzipped_and_other_names() {
    let dir = tempdir().unwrap();
    write_set(dir.path());
    let expected = open(spec(dir.path()), &options()).unwrap();
    let plain = dir.path().join("train-images-idx3-ubyte");
    let file = File::create(dir.path().join("train-images-idx3-ubyte.gz")).unwrap();
    let mut gz = GzEncoder::new(file, Compression::default());
    gz.write_all(&fs::read(&plain).unwrap()).unwrap();
    gz.finish().unwrap();
    fs::remove_file(&plain).unwrap();
    let labels = |dot: &str| dir.path().join(format!("t10k-labels{dot}idx1-ubyte"));
    fs::rename(labels("-"), labels(".")).unwrap();
    let found = open(spec(dir.path()), &options()).unwrap();
    assert_eq!(
        found.train.image(3).unwrap(),
        expected.train.image(3).unwrap()
    );
    assert_eq!(found.test.labels, [1, 0]);

    let gz = dir.path().join("train-images-idx3-ubyte.gz");
    let whole = fs::read(&gz).unwrap();
    fs::write(&gz, &whole[..whole.len() / 2]).unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(&text, &["train-images-idx3-ubyte.gz", "cannot be read"]);
}

#[test]
fn the_test_set_alone() {
    let dir = tempdir().unwrap();
    write(dir.path(), "t10k", &[1, 0]);
    let test = open_test(spec(dir.path()), &options()).unwrap();
    assert_eq!((test.len(), test.classes.len()), (2, 2));
    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &[
            "train-labels-idx1-ubyte not found",
            "t10k-images-idx3-ubyte",
            ".gz",
        ],
    );
    // The training labels, where there are any, tell the classes.
    write(dir.path(), "train", &[4]);
    assert_eq!(
        open_test(spec(dir.path()), &options())
            .unwrap()
            .classes
            .len(),
        5
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let dir = tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let refused = |parts: &[&str]| {
        assert_says(&message(open(spec(dir.path()), &options())), parts);
        write_set(dir.path());
    };
    write_set(dir.path());

    let images = file("train-images-idx3-ubyte");
    fs::copy(file("train-labels-idx1-ubyte"), &images).unwrap();
    refused(&[
        "train-images-idx3-ubyte",
        "begins with 00000801",
        "expected 00000803",
        "another file",
    ]);

    fs::write(&images, [0, 0]).unwrap();
    refused(&["train-images-idx3-ubyte", "fewer than four bytes"]);

    fs::write(&images, idx(&[4, 3, 3], &[0; 35])).unwrap();
    refused(&[
        "train-images-idx3-ubyte",
        "4 x 3 x 3 bytes",
        "35 follow",
        "download it again",
    ]);

    fs::write(&images, &idx(&[4, 3, 3], &[])[..10]).unwrap();
    refused(&["train-images-idx3-ubyte", "truncated"]);

    // More than any memory: what the header says is not believed.
    fs::write(&images, idx(&[u32::MAX as usize; 3], &[0; 35])).unwrap();
    refused(&["train-images-idx3-ubyte", "35 follow"]);

    fs::write(&images, idx(&[5, 3, 3], &[0; 45])).unwrap();
    refused(&[
        "train-images-idx3-ubyte: 5 images",
        "train-labels-idx1-ubyte has 4 labels",
        "one set",
    ]);

    fs::write(&images, idx(&[4, 3, 2], &[0; 24])).unwrap();
    refused(&[
        "train-images-idx3-ubyte",
        "3 x 2 pixels",
        "square",
        "class folders",
    ]);

    write(dir.path(), "t10k", &[1, 3]);
    refused(&["t10k-labels-idx1-ubyte", "record 1", "label 3", "0 to 2"]);

    write(dir.path(), "t10k", &[]);
    refused(&["t10k-images-idx3-ubyte", "zero images"]);
    assert!(open(spec(dir.path()), &options()).is_ok());
}

/// A gzipped file of a few kilobytes may be of any length: more than its header promises is not read.
#[test]
fn a_file_that_inflates_without_end_is_left() {
    let dir = tempdir().unwrap();
    write_set(dir.path());
    let plain = dir.path().join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&plain).unwrap();
    fs::remove_file(&plain).unwrap();
    bytes.resize(200 << 20, 0);
    let gz = File::create(dir.path().join("train-images-idx3-ubyte.gz")).unwrap();
    let mut gz = GzEncoder::new(gz, Compression::best());
    gz.write_all(&bytes).unwrap();
    gz.finish().unwrap();
    drop(bytes);
    let mut text = String::new();
    let peak = peak_of(|| text = message(open(spec(dir.path()), &options())));
    assert_says(&text, &["train-images-idx3-ubyte.gz", "more follow"]);
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn a_header_that_promises_anything_is_held_against_the_file() {
    let dir = tempdir().unwrap();
    for (name, gzipped) in [
        ("train-images-idx3-ubyte", false),
        ("train-images-idx3-ubyte.gz", true),
    ] {
        write_set(dir.path());
        let plain = dir.path().join("train-images-idx3-ubyte");
        let mut bytes = fs::read(&plain).unwrap();
        // The labels' number stays, so that this is what is looked at.
        bytes[8..16].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        fs::remove_file(&plain).unwrap();
        let file = File::create(dir.path().join(name)).unwrap();
        match gzipped {
            true => {
                let mut gz = GzEncoder::new(file, Compression::best());
                gz.write_all(&bytes).unwrap();
                gz.finish().unwrap();
            }
            false => { file }.write_all(&bytes).unwrap(),
        }
        let mut text = String::new();
        let peak = peak_of(|| text = message(open(spec(dir.path()), &options())));
        assert_says(&text, &[name, "65535 x 65535", "truncated or damaged"]);
        assert!(peak < 1 << 20, "{peak}");
    }
}
