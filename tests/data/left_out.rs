//! What a folder has besides images in class folders: used, left out and said, or refused.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use bayeslora::low_level::data::{DataError, Splits, image_files, open, open_test};
use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, Rgb, RgbImage, RgbaImage};
use tempfile::{TempDir, tempdir};

use super::files::{assert_says, class, message, options, plain, spec};

/// `train` and `test` with two classes each, two images a class.
fn divided() -> TempDir {
    let dir = tempdir().unwrap();
    for (i, part) in ["train/cat", "train/dog", "test/cat", "test/dog"]
        .iter()
        .enumerate()
    {
        class(&dir.path().join(part), 2, 40 * i as u8);
    }
    dir
}

fn opened(root: &Path) -> Result<Splits, DataError> {
    open(spec(root), &options())
}

/// Every note of the training and the test set.
fn notes(root: &Path) -> Vec<String> {
    let splits = opened(root).unwrap();
    [splits.train.notes, splits.test.notes].concat()
}

#[test]
fn a_plain_folder_has_no_notes() {
    assert!(notes(divided().path()).is_empty());
}

#[test]
fn more_formats_are_read_and_the_first_of_several_images() {
    let dir = divided();
    let red = [200, 30, 40];
    let root = dir.path().join("train/cat");
    for name in ["a.tif", "b.tiff", "c.gif", "d.TIFF"] {
        plain(&root.join(name), 12, 8, red);
    }
    plain(&root.join("e.jpg"), 8, 8, red);
    fs::rename(root.join("e.jpg"), root.join("e.jfif")).unwrap();
    plain(&root.join("f.jpg"), 8, 8, red);
    fs::rename(root.join("f.jpg"), root.join("f.JPE")).unwrap();
    let mut film = GifEncoder::new(fs::File::create(root.join("g.gif")).unwrap());
    for colour in [[200, 30, 40, 255], [0, 0, 250, 255]] {
        let frame = RgbaImage::from_pixel(8, 8, image::Rgba(colour));
        let delay = Delay::from_numer_denom_ms(100, 1);
        film.encode_frame(Frame::from_parts(frame, 0, 0, delay))
            .unwrap();
    }
    drop(film);
    let train = opened(dir.path()).unwrap().train;
    assert_eq!(train.len(), 4 + 7);
    assert!(train.notes.is_empty(), "{:?}", train.notes);
    for i in 2..9 {
        let image = train.image(i).unwrap();
        let near = |pixel: &[u8]| pixel.iter().zip(red).all(|(a, b)| a.abs_diff(b) < 6);
        assert!(image.chunks(3).all(near), "{i}: {:?}", &image[..6]);
    }
}

#[test]
fn pictures_in_formats_that_are_not_read_are_counted_in_one_line() {
    let dir = divided();
    for name in ["a.heic", "b.HEIC", "c.heic", "d.cr2", "e.avif"] {
        fs::write(dir.path().join("train/dog").join(name), "x").unwrap();
    }
    fs::write(dir.path().join("train/dog/notes.txt"), "x").unwrap();
    let notes = notes(dir.path());
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_says(
        &notes[0],
        &[
            "train: 5 files are pictures in formats that are not read (heic 3, ",
            "cr2 1",
            "convert them to JPEG or PNG",
        ],
    );
    let (files, notes) = image_files(dir.path().join("train/dog")).unwrap();
    assert_eq!((files.len(), notes.len()), (2, 1));

    // A class of nothing else.
    fs::create_dir(dir.path().join("train/eel")).unwrap();
    fs::write(dir.path().join("train/eel/a.nef"), "x").unwrap();
    let text = message(opened(dir.path()));
    assert_says(
        &text,
        &[
            "train/eel",
            "no images",
            "1 pictures in formats that are not read",
        ],
    );
}

#[test]
fn images_beside_and_below_class_folders_are_counted() {
    let dir = divided();
    class(&dir.path().join("train/cat/more/yet"), 3, 0);
    class(&dir.path().join("train/dog/more"), 1, 0);
    plain(&dir.path().join("train/beside.png"), 8, 8, [0; 3]);
    plain(&dir.path().join("top.png"), 8, 8, [0; 3]);
    class(&dir.path().join("raw"), 2, 0);
    let notes = notes(dir.path());
    let expected = [
        &[
            "train: 1 image beside the class folders: left out",
            "beside.png",
        ][..],
        &["train: 4 images in deeper folders: left out", "and so on"],
        &["raw: left out beside train and test"],
        &["1 image beside the class folders: left out", "top.png"],
    ];
    assert_eq!(notes.len(), expected.len(), "{notes:?}");
    for (note, parts) in notes.iter().zip(expected) {
        assert_says(note, parts);
    }
    assert_eq!(opened(dir.path()).unwrap().train.len(), 4);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_or_in_a_circle() {
    use std::os::unix::fs::symlink;
    let dir = divided();
    let cat = dir.path().join("train/cat");
    symlink("absent.png", cat.join("gone.png")).unwrap();
    symlink("circle.png", cat.join("circle.png")).unwrap();
    symlink("..", cat.join("up")).unwrap();
    symlink(".", cat.join("here")).unwrap();
    // A link to an image is one.
    symlink("0.png", cat.join("9.png")).unwrap();
    let splits = opened(dir.path()).unwrap();
    assert_eq!(splits.train.len(), 5);
    assert_says(
        &splits.train.notes.join(" "),
        &[
            "2 links to what is not there: left out",
            "circle.png and so on",
        ],
    );

    // The same folder under two names would be trained on as two classes, or trained and tested on.
    symlink("dog", dir.path().join("train/wolf")).unwrap();
    assert_says(
        &message(opened(dir.path())),
        &["train/dog and", "train/wolf lead to the same folder"],
    );
    fs::remove_file(dir.path().join("train/wolf")).unwrap();
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    symlink("train", dir.path().join("test")).unwrap();
    for text in [
        message(opened(dir.path())),
        message(open_test(spec(dir.path()), &options())),
    ] {
        assert_says(&text, &["train and", "test lead to the same folder"]);
    }
}

#[test]
fn parts_by_other_names() {
    for (train, test) in [
        ("Train", "TEST"),
        ("training", "valid"),
        ("train", "Validation"),
    ] {
        let dir = divided();
        fs::rename(dir.path().join("train"), dir.path().join(train)).unwrap();
        fs::rename(dir.path().join("test"), dir.path().join(test)).unwrap();
        let splits = opened(dir.path()).unwrap();
        assert_eq!(
            (splits.train.len(), splits.test.len(), splits.note),
            (4, 4, None)
        );
        let notes = splits.train.notes.join(" ");
        assert_says(&notes, &[&format!("{test}: taken as the test part")]);
        assert_eq!(notes.contains("the training part"), train != "train");
        assert_eq!(open_test(spec(dir.path()), &options()).unwrap().len(), 4);
    }
}

#[test]
fn a_val_beside_a_test_is_left_out_and_said() {
    let dir = divided();
    class(&dir.path().join("val/cat"), 1, 7);
    let notes = notes(dir.path());
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_says(&notes[0], &["val: left out beside a test part"]);
    fs::rename(dir.path().join("test"), dir.path().join("valid")).unwrap();
    assert_says(
        &message(opened(dir.path())),
        &["val and", "valid are both the same part", "rename"],
    );
}

#[test]
fn parts_are_never_classes() {
    for parts in [
        &["train", "test"][..],
        &["Train", "val"],
        &["train"],
        &["valid", "TEST"],
    ] {
        let dir = tempdir().unwrap();
        for part in parts {
            class(&dir.path().join(part), 3, 0);
        }
        for text in [
            message(opened(dir.path())),
            message(open_test(spec(dir.path()), &options())),
        ] {
            assert_says(&text, &["holds images and no class folders", "/CLASS/*"]);
        }
        // With other folders beside them they are no classes either, if there are two.
        if parts.len() > 1 {
            class(&dir.path().join("bird"), 3, 0);
            assert_says(
                &message(opened(dir.path())),
                &["a part of a set is no class"],
            );
        }
    }
    // Kaggle's: a test part without labels.
    let dir = divided();
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    class(&dir.path().join("test"), 3, 0);
    assert_says(
        &message(opened(dir.path())),
        &["test: holds images and no class folders"],
    );
    // A training part with images beside its classes stays one.
    let dir = divided();
    plain(&dir.path().join("train/beside.png"), 8, 8, [0; 3]);
    assert_eq!(opened(dir.path()).unwrap().train.classes.len(), 2);
    // A single class may have a part's name.
    let dir = tempdir().unwrap();
    for name in ["car", "train"] {
        class(&dir.path().join(name), 5, 0);
    }
    assert_says(
        &notes(dir.path())[0],
        &["train: holds images itself and is a class"],
    );
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_or_twice_the_same() {
    use std::os::unix::ffi::OsStrExt;
    let dir = divided();
    let odd = dir.path().join("train").join(OsStr::from_bytes(b"caf\xe9"));
    class(&odd, 1, 0);
    assert_says(
        &message(opened(dir.path())),
        &["caf", "no Unicode text", "rename"],
    );
    fs::remove_dir_all(&odd).unwrap();

    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    class(&dir.path().join("train").join(composed), 1, 0);
    class(&dir.path().join("train").join(decomposed), 1, 0);
    assert_says(
        &message(opened(dir.path())),
        &["caf\\u{e9}", "cafe\\u{301}", "one name written in two ways"],
    );
    // One system's archive may have the training part's names in one way, the test part's in another.
    fs::rename(
        dir.path().join("train").join(decomposed),
        dir.path().join("test").join(decomposed),
    )
    .unwrap();
    let splits = opened(dir.path()).unwrap();
    assert_eq!(*splits.train.classes, [composed, "cat", "dog"]);
    assert_eq!(splits.test.labels, [0, 1, 1, 2, 2]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_differ_in_case_only() {
    let dir = divided();
    class(&dir.path().join("train/Cat"), 1, 0);
    assert_says(
        &notes(dir.path())[0],
        &["train/Cat and", "train/cat differ in case only"],
    );
    fs::remove_dir_all(dir.path().join("train/Cat")).unwrap();
    fs::rename(dir.path().join("test/cat"), dir.path().join("test/Cat")).unwrap();
    assert_says(
        &message(opened(dir.path())),
        &["test/Cat", "does not have, which has cat"],
    );
}

#[test]
fn escape_codes_in_names_are_shown() {
    let dir = divided();
    let red = dir.path().join("train/\u{1b}[31mred");
    fs::create_dir(&red).unwrap();
    let text = message(opened(dir.path()));
    assert_says(&text, &["\\u{1b}[31mred"]);
    assert!(!text.contains('\u{1b}'));
    plain(&red.join("0.png"), 8, 8, [0; 3]);
    fs::write(red.join("1.png"), "\u{1b}[2J").unwrap();
    fs::create_dir(red.join("\u{9b}2J")).unwrap();
    plain(&red.join("\u{9b}2J/0.png"), 8, 8, [0; 3]);
    let text = message(opened(dir.path()));
    assert!(!text.contains('\u{1b}'), "{text:?}");
    fs::remove_file(red.join("1.png")).unwrap();
    let notes = notes(dir.path()).concat();
    assert!(
        notes.contains("\\u{9b}2J") && !notes.contains('\u{9b}'),
        "{notes:?}"
    );
}

#[test]
fn what_is_no_picture_by_content_is_refused_whatever_its_name() {
    let dir = divided();
    let image = RgbImage::from_pixel(8, 8, Rgb([9; 3]));
    let png = dir.path().join("train/cat/a.png");
    image.save(&png).unwrap();
    fs::rename(&png, dir.path().join("train/cat/a.tif")).unwrap();
    assert_eq!(opened(dir.path()).unwrap().train.len(), 5);
}
