use std::fs;
use std::path::Path;

use bayeslora::low_level::formats::{DataManifest, Digest, ManifestFile, ManifestImages};

use super::assert_says;

fn manifest(images: usize) -> DataManifest {
    let file = |i: usize| ManifestFile {
        content: Digest::of(&i.to_le_bytes()),
        label: (i % 2) as u32,
        path: format!("train/class-{}/DSC_{i:06} \"x\" %FF.jpg", i % 2),
    };
    let classes = ["ant", "Käfer"].map(String::from).to_vec();
    let mut manifest = DataManifest::new("photos".into(), classes);
    manifest.backbone_sha256 = "ab".repeat(32);
    manifest.held_out_classes = vec!["cat".into()];
    manifest.train = ManifestImages::Files((0..images).map(file).collect());
    let set = Digest::of(b"test");
    manifest.test = ManifestImages::indexed(set, [5, 6, 7, 3, 9, 10]);
    manifest.skipped = vec![Digest::of(b"bad")];
    manifest.near_copies = vec![Digest::of(b"again")];
    manifest
}

#[test]
fn a_manifest_reads_what_it_writes_and_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json.gz");
    let manifest = manifest(100_000);
    manifest.write(&path).unwrap();
    assert_eq!(DataManifest::read(&path).unwrap(), manifest);
    assert_eq!(manifest.test.len(), 6);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() < 4_000_000, "{} bytes", bytes.len());
    manifest.write(&path).unwrap();
    assert!(fs::read(&path).unwrap() == bytes, "always the same bytes");
}

/// The text of a manifest with something else in it, and its checksum as it was.
fn altered(path: &Path, from: &str, to: &str) {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    assert!(text.contains(from), "{text}");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    std::io::Write::write_all(&mut encoder, text.replacen(from, to, 1).as_bytes()).unwrap();
    fs::write(path, encoder.finish().unwrap()).unwrap();
}

#[test]
fn a_damaged_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json.gz");
    let fresh = || manifest(3).write(&path).unwrap();
    for (from, to) in [
        ("\"ant\"", "\"bee\""),
        (" 1 train", " 0 train"),
        ("[9,11]", "[9,12]"),
    ] {
        fresh();
        altered(&path, from, to);
        assert_says(
            DataManifest::read(&path),
            &["data.json.gz", "damaged or changed"],
        );
    }
    fresh();
    let whole = fs::read(&path).unwrap();
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(DataManifest::read(&path).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        // The header of gzip has bytes that say nothing, such as the system's number.
        let read = DataManifest::read(&path);
        assert!(
            read.is_err() || at < 10 && read.unwrap() == manifest(3),
            "{at}"
        );
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json.gz");
    let mut wrong = manifest(3);
    wrong.classes.pop();
    wrong.write(&path).unwrap();
    assert_says(
        DataManifest::read(&path),
        &["the label of `train/class-1/", "is 1"],
    );
    let mut wrong = manifest(3);
    wrong.test = ManifestImages::Indexed {
        set: Digest::of(b"test"),
        ranges: vec![[3, usize::MAX]],
    };
    wrong.write(&path).unwrap();
    assert_says(DataManifest::read(&path), &["a range is 3 to "]);
    let mut wrong = manifest(3);
    wrong.train = ManifestImages::Indexed {
        set: Digest::of(b"train"),
        ranges: vec![[0, 5]],
    };
    wrong.train_counts = vec![3, 3];
    wrong.write(&path).unwrap();
    assert_says(
        DataManifest::read(&path),
        &["train_counts is 2 classes with 6 images", "with 5 images"],
    );
}
