use std::fs;
use std::path::Path;

use bayeslora::low_level::data::{open, open_test};
use tempfile::tempdir;

use super::files::{assert_says, message, options, record, spec};

/// Batch k has one record of each label, red 10 k + label; the test batch has two of label 3.
fn write_cifar10(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for batch in 1..=5u8 {
        let bytes: Vec<u8> = (0..10)
            .flat_map(|label| record(&[label], 10 * batch + label))
            .collect();
        fs::write(dir.join(format!("data_batch_{batch}.bin")), bytes).unwrap();
    }
    let test = [record(&[3], 100), record(&[3], 101)].concat();
    fs::write(dir.join("test_batch.bin"), test).unwrap();
}

#[test]
fn cifar10_is_read_in_file_order_and_interleaved() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let splits = open(spec(dir.path()), &options()).unwrap();
    assert_eq!(splits.name, "cifar10");
    assert_eq!((splits.train.len(), splits.test.len()), (50, 2));
    assert_eq!(splits.train.side, 32);
    assert_eq!(splits.train.labels[10..13], [0, 1, 2]);
    assert_eq!(splits.train.classes[9], "truck");
    assert_eq!(splits.test.labels, [3, 3]);
    assert_eq!(
        splits.train.image(12).unwrap()[..9],
        [22, 23, 24, 255, 23, 24, 22, 23, 24]
    );
    assert_eq!(splits.test.image(1).unwrap()[3069..], [101, 102, 103]);
}

#[test]
fn the_directory_above_and_class_names_of_ones_own() {
    let dir = tempdir().unwrap();
    let inner = dir.path().join("cifar-10-batches-bin");
    write_cifar10(&inner);
    let names: String = (0..10).map(|i| format!("kind {i}\n")).collect();
    fs::write(inner.join("batches.meta.txt"), names + "\n").unwrap();
    let test = open_test(spec(dir.path()), &options()).unwrap();
    assert_eq!(test.classes[3], "kind 3");

    fs::write(inner.join("batches.meta.txt"), "one\ntwo\n").unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(&text, &["batches.meta.txt", "2 class names", "expected 10"]);

    fs::create_dir(dir.path().join("cifar-100-binary")).unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &["both cifar-10-batches-bin and cifar-100-binary", "one of"],
    );
}

#[test]
fn cifar100_uses_fine_labels_and_tests_without_its_training_file() {
    let dir = tempdir().unwrap();
    let test = [record(&[7, 99], 1), record(&[99, 40], 2)].concat();
    fs::write(dir.path().join("test.bin"), test).unwrap();
    let test = open_test(spec(dir.path()), &options()).unwrap();
    assert_eq!(test.labels, [99, 40]);
    assert_eq!(test.classes.len(), 100);
    assert!(test.classes.is_sorted());
    assert_eq!((&*test.classes[40], &*test.classes[99]), ("lamp", "worm"));
    assert_eq!(test.image(1).unwrap()[..6], [2, 3, 4, 255, 3, 4]);

    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &["train.bin not found", "cifar100", "train.bin, test.bin"],
    );
}

#[test]
fn limits_are_balanced_and_zero_is_refused() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let mut options = options();
    options.limit_train = Some(20);
    options.limit_test = Some(1000);
    let splits = open(spec(dir.path()), &options).unwrap();
    let expected: Vec<u32> = (0..10).chain(0..10).collect();
    assert_eq!(splits.train.labels, expected);
    assert_eq!(splits.test.len(), 2);

    options.limit_test = Some(0);
    let text = message(open_test(spec(dir.path()), &options));
    assert_eq!(text, "limit_test is 0; expected at least 1");
    options.limit_train = Some(0);
    let text = message(open("sample", &options));
    assert_eq!(text, "limit_train is 0; expected at least 1");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let batch = dir.path().join("data_batch_2.bin");

    fs::write(&batch, &record(&[1], 0)[..3000]).unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &["data_batch_2.bin", "3000 bytes", "3073", "truncated"],
    );

    fs::write(&batch, [record(&[9], 0), record(&[10], 0)].concat()).unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(
        &text,
        &["data_batch_2.bin", "record 1", "label 10", "0 to 9"],
    );

    fs::remove_file(&batch).unwrap();
    let text = message(open(spec(dir.path()), &options()));
    assert_says(&text, &["data_batch_2.bin not found", "data_batch_5.bin"]);
    assert!(open_test(spec(dir.path()), &options()).is_ok());

    fs::write(dir.path().join("test_batch.bin"), []).unwrap();
    let text = message(open_test(spec(dir.path()), &options()));
    assert_says(&text, &["test_batch.bin", "zero images"]);
}

#[test]
fn a_spec_that_leads_nowhere_is_told_what_would_do() {
    let dir = tempdir().unwrap();
    let text = message(open(spec(&dir.path().join("nowhere")), &options()));
    assert_says(
        &text,
        &[
            "nowhere",
            "no such directory",
            "`sample`",
            "test_batch.bin",
            "train/CLASS",
        ],
    );
    let file = dir.path().join("file.png");
    fs::write(&file, "x").unwrap();
    let text = message(open(spec(&file), &options()));
    assert_says(&text, &["file.png", "not a directory", "`sample`"]);
    let text = message(open(spec(dir.path()), &options()));
    assert_says(&text, &["no class folders among its 1 entries", "`sample`"]);
}
