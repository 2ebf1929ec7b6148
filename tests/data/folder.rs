use std::fs;
use std::path::Path;
use std::sync::Mutex;

use bayeslora::low_level::data::{Dataset, OpenOptions, open, open_test};
use tempfile::tempdir;

use super::files::{all_pixels, assert_says, class, message, options, plain, spec};

/// Two classes with three and two training images, and one test image each under `part`.
fn write_parts(root: &Path, part: &str) {
    class(&root.join("train/cat"), 3, 10);
    class(&root.join("train/ant"), 2, 20);
    class(&root.join(part).join("cat"), 1, 30);
    class(&root.join(part).join("ant"), 1, 40);
}

fn skipping() -> OpenOptions<'static> {
    OpenOptions {
        skip_bad_images: true,
        ..options()
    }
}

#[test]
fn train_and_test_folders_with_classes_sorted_by_name() {
    for part in ["test", "val"] {
        let dir = tempdir().unwrap();
        let root = dir.path().join("pets");
        write_parts(&root, part);
        fs::write(root.join("train/cat/.hidden.png"), "x").unwrap();
        fs::write(root.join("train/cat/notes.txt"), "x").unwrap();
        fs::create_dir(root.join("train/.cache")).unwrap();
        let splits = open(spec(&root), &options()).unwrap();
        assert_eq!((&*splits.name, splits.note), ("pets", None));
        assert_eq!(*splits.train.classes, ["ant", "cat"]);
        assert_eq!(splits.train.labels, [0, 0, 1, 1, 1]);
        assert_eq!(splits.test.labels, [0, 1]);
        let firsts: Vec<u8> = (0..5).map(|i| splits.train.image(i).unwrap()[0]).collect();
        assert_eq!(firsts, [20, 21, 10, 11, 12]);
        assert_eq!(*splits.test.image(1).unwrap(), [30; 8 * 8 * 3]);
    }
}

#[test]
fn every_format_size_and_case_of_extension() {
    let dir = tempdir().unwrap();
    for part in ["train", "test"] {
        let root = dir.path().join(part);
        for (i, kind) in ["png", "jpg", "jpeg", "webp", "bmp", "PNG"]
            .iter()
            .enumerate()
        {
            let i = i as u32;
            plain(
                &root.join("red").join(format!("{i}.{kind}")),
                9 + i,
                20 - i,
                [255, 0, 0],
            );
        }
        plain(&root.join("blue/a.png"), 3, 5, [0, 0, 255]);
    }
    let train = open(spec(dir.path()), &options()).unwrap().train;
    assert_eq!(train.len(), 7);
    for i in 1..7 {
        let far = |pixel: &[u8]| pixel[0].abs_diff(255).max(pixel[1]).max(pixel[2]);
        assert!(
            train
                .image(i)
                .unwrap()
                .chunks(3)
                .all(|pixel| far(pixel) <= 2)
        );
    }
}

#[test]
fn an_undivided_folder_is_divided_the_same_way_each_time_and_says_so() {
    let dir = tempdir().unwrap();
    class(&dir.path().join("a"), 60, 0);
    class(&dir.path().join("b"), 40, 100);
    // A class may be called `train`.
    class(&dir.path().join("train"), 5, 200);
    let splits = open(spec(dir.path()), &options()).unwrap();
    let (train, test) = (&splits.train, &splits.test);
    // A fifth in expectation: within four standard deviations of 21.
    assert!((5..=37).contains(&test.len()), "{}", test.len());
    for label in 0..3 {
        assert!(train.labels.contains(&label) && test.labels.contains(&label));
    }
    let note = splits.note.as_deref().unwrap();
    let count = format!("{} of 105 images", test.len());
    assert_says(
        note,
        &[&count, "no train and test folders", "about a fifth"],
    );

    let mut greys: Vec<u8> = [train, test].iter().flat_map(|set| firsts(set)).collect();
    greys.sort_unstable();
    let all: Vec<u8> = (0..60).chain(100..140).chain(200..205).collect();
    assert_eq!(greys, all);

    // A folder that is only tested with is tested with whole.
    let whole = open_test(spec(dir.path()), &options()).unwrap();
    let mut greys = firsts(&whole);
    greys.sort_unstable();
    assert_eq!(greys, all);
}

/// The first byte of every image.
fn firsts(set: &Dataset) -> Vec<u8> {
    (0..set.len()).map(|i| set.image(i).unwrap()[0]).collect()
}

#[test]
fn images_that_come_and_go_move_no_other_between_training_and_test() {
    let dir = tempdir().unwrap();
    class(&dir.path().join("a"), 60, 0);
    class(&dir.path().join("b"), 60, 100);
    let before = open(spec(dir.path()), &options()).unwrap();
    // A third goes, others come, the rest gets other names.
    for i in 0..60 {
        let name = dir.path().join(format!("a/{i}.png"));
        match i % 3 {
            0 => fs::remove_file(name).unwrap(),
            _ => fs::rename(name, dir.path().join(format!("a/x{i}.png"))).unwrap(),
        }
    }
    class(&dir.path().join("b"), 90, 100);
    let after = open(spec(dir.path()), &options()).unwrap();
    let stayed = |set: &Dataset| -> Vec<u8> {
        let stays =
            |grey: &u8| (*grey < 60 && !grey.is_multiple_of(3)) || (100..160).contains(grey);
        let mut greys: Vec<u8> = firsts(set).into_iter().filter(stays).collect();
        greys.sort_unstable();
        greys
    };
    assert_eq!(stayed(&after.test), stayed(&before.test));
    assert_eq!(stayed(&after.train), stayed(&before.train));
    assert!(stayed(&after.test).len() > 5);
}

#[test]
fn copies_of_a_file_fall_on_one_side() {
    let dir = tempdir().unwrap();
    class(&dir.path().join("a"), 40, 0);
    class(&dir.path().join("b"), 40, 100);
    for i in 0..40 {
        let from = dir.path().join(format!("a/{i}.png"));
        fs::copy(&from, dir.path().join(format!("a/copy of {i}.png"))).unwrap();
        // Filed under two classes, as it happens.
        fs::copy(&from, dir.path().join(format!("b/{i} too.png"))).unwrap();
    }
    let splits = open(spec(dir.path()), &options()).unwrap();
    let (train, test) = (firsts(&splits.train), firsts(&splits.test));
    assert_eq!(train.len() + test.len(), 160);
    assert!(!test.is_empty() && test.iter().all(|grey| !train.contains(grey)));
    // Nothing to divide where all is one content.
    let one = tempdir().unwrap();
    for class in ["a", "b"] {
        for i in 0..5 {
            plain(
                &one.path().join(class).join(format!("{i}.png")),
                8,
                8,
                [7; 3],
            );
        }
    }
    let text = message(open(spec(one.path()), &options()));
    assert_says(&text, &["10 images in 2 class", "too few"]);
}

#[test]
fn bad_images_are_named_and_counted_or_skipped() {
    let dir = tempdir().unwrap();
    write_parts(dir.path(), "test");
    class(&dir.path().join("train/cat"), 8, 10);
    for i in [1, 3, 5, 6] {
        fs::write(
            dir.path().join(format!("train/cat/{i}.png")),
            "not a picture",
        )
        .unwrap();
    }
    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &[
            "4 of 10 images",
            "1.png",
            "3.png",
            "5.png",
            "and 1 more",
            "`skip-bad-images`",
        ],
    );
    assert!(!text.contains("6.png"));

    let train = open(spec(dir.path()), &skipping()).unwrap().train;
    assert_eq!(train.labels, [0, 0, 1, 1, 1, 1]);
    let cats: Vec<u8> = (2..6).map(|i| train.image(i).unwrap()[0]).collect();
    assert_eq!(cats, [10, 12, 14, 17]);
    assert_eq!(train.skipped.len(), 4);
    assert!(train.skipped[3].path.ends_with("cat/6.png"));
    assert!(!train.skipped[3].reason.is_empty());
    let limited = train.limit(2).unwrap();
    assert_eq!((limited.len(), limited.skipped.len()), (2, 4));

    for i in 0..2 {
        fs::write(dir.path().join(format!("train/ant/{i}.png")), "").unwrap();
    }
    let text = message(open(spec(dir.path()), &skipping()));
    assert_says(&text, &["ant: every one of the 2 images", "skipped"]);
}

#[test]
fn limits_take_the_first_of_each_class_before_decoding() {
    let dir = tempdir().unwrap();
    write_parts(dir.path(), "test");
    fs::write(dir.path().join("train/cat/2.png"), "not a picture").unwrap();
    let limited = OpenOptions {
        limit_train: Some(3),
        limit_test: Some(1),
        ..options()
    };
    let splits = open(spec(dir.path()), &limited).unwrap();
    assert_eq!(splits.train.labels, [0, 0, 1]);
    assert_eq!(splits.test.labels, [0]);
}

#[test]
fn progress_counts_every_image_of_each_set() {
    let dir = tempdir().unwrap();
    write_parts(dir.path(), "test");
    let calls = Mutex::new(Vec::new());
    let progress = |done, total| calls.lock().unwrap().push((total, done));
    let watched = OpenOptions {
        progress: Some(&progress),
        ..options()
    };
    open(spec(dir.path()), &watched).unwrap();
    let mut calls = calls.into_inner().unwrap();
    calls.sort_unstable();
    assert_eq!(
        calls,
        [(2, 1), (2, 2), (5, 1), (5, 2), (5, 3), (5, 4), (5, 5)]
    );
}

#[test]
fn parts_and_classes_that_do_not_fit_together() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    write_parts(root, "test");

    class(&root.join("test/dog"), 1, 0);
    for result in [
        open(spec(root), &options()).map(|_| ()),
        open_test(spec(root), &options()).map(|_| ()),
    ] {
        assert_says(&message(result), &["test/dog", "does not have", "train"]);
    }
    fs::remove_dir_all(root.join("test/dog")).unwrap();

    // A test folder may lack a class; the training folder still numbers them.
    fs::remove_dir_all(root.join("test/ant")).unwrap();
    assert_eq!(open_test(spec(root), &options()).unwrap().labels, [1]);

    fs::create_dir(root.join("train/eel")).unwrap();
    fs::write(root.join("train/eel/clip.mp4"), "x").unwrap();
    let text = message(open(spec(root), &options()));
    assert_says(&text, &["train/eel", "no images", "1 other", "png, jpg"]);
    fs::remove_dir_all(root.join("train/eel")).unwrap();

    fs::remove_dir_all(root.join("train/ant")).unwrap();
    let text = message(open(spec(root), &options()));
    assert_says(&text, &["train: 1 class folder;", "at least two"]);

    fs::remove_dir_all(root.join("train/cat")).unwrap();
    let text = message(open(spec(root), &options()));
    assert_says(&text, &["train: no class folders"]);

    fs::remove_dir(root.join("train")).unwrap();
    let text = message(open(spec(root), &options()));
    assert_says(&text, &["train not found", "train/CLASS/*"]);
    assert_eq!(open_test(spec(root), &options()).unwrap().labels, [0]);

    fs::rename(root.join("test"), root.join("train")).unwrap();
    for result in [
        open(spec(root), &options()).map(|_| ()),
        open_test(spec(root), &options()).map(|_| ()),
    ] {
        assert_says(&message(result), &["test or val not found"]);
    }
}

/// The same images, labels and skipped files, whether the pixels are kept or decoded when read.
#[test]
fn a_folder_beyond_the_memory_reads_the_same() {
    let dir = tempdir().unwrap();
    write_parts(dir.path(), "test");
    plain(&dir.path().join("train/ant/wide.jpg"), 31, 17, [9, 99, 199]);
    fs::write(dir.path().join("train/cat/1.png"), "not a picture").unwrap();
    let with = |bytes: u64| OpenOptions {
        host_memory: Some(bytes),
        ..skipping()
    };
    let kept = open(spec(dir.path()), &with(1 << 20)).unwrap();
    // The training set has six files of 192 bytes, the test set two.
    for (bytes, train, test) in [(6 * 192 + 383, true, false), (6 * 192 - 1, false, true)] {
        let splits = open(spec(dir.path()), &with(bytes)).unwrap();
        assert_eq!(splits.train.is_in_memory(), train);
        assert_eq!(splits.test.is_in_memory(), test);
    }
    let splits = open(spec(dir.path()), &with(0)).unwrap();
    for (found, expected) in [(&splits.train, &kept.train), (&splits.test, &kept.test)] {
        assert!(expected.is_in_memory() && !found.is_in_memory());
        assert_eq!(found.labels, expected.labels);
        assert_eq!(all_pixels(found), all_pixels(expected));
        let skipped = |data: &Dataset| {
            data.skipped
                .iter()
                .map(|s| s.path.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(skipped(found), skipped(expected));
    }
    let (train, validation) = splits.train.split_validation(0.5, 3).unwrap();
    let expected = kept.train.split_validation(0.5, 3).unwrap();
    assert_eq!(all_pixels(&train), all_pixels(&expected.0));
    assert_eq!(validation.image(1).unwrap(), expected.1.image(1).unwrap());
    assert_eq!(
        open_test(spec(dir.path()), &with(0)).unwrap().labels,
        kept.test.labels
    );

    // Not skipped but refused where that is asked for, as in memory.
    let strict = OpenOptions {
        skip_bad_images: false,
        ..with(0)
    };
    assert_says(
        &message(open(spec(dir.path()), &strict)),
        &["1 of 6 images", "cat/1.png"],
    );

    // A file that goes bad after opening is named.
    fs::write(dir.path().join("train/cat/2.png"), "no more").unwrap();
    let every: Vec<usize> = (0..splits.train.len()).collect();
    assert_says(
        &message(splits.train.read(&every)),
        &["cat/2.png", "has changed since the set was opened"],
    );
    assert!(kept.train.read(&every).is_ok());
}

#[test]
fn a_folder_too_small_to_split() {
    let dir = tempdir().unwrap();
    class(&dir.path().join("a"), 1, 0);
    class(&dir.path().join("b"), 1, 0);
    let text = message(open(spec(dir.path()), &options()));
    assert_says(&text, &["2 images in 2 class", "too few"]);
}
