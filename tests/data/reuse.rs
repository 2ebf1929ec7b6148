//! A run's images found again, and others to score it on.

use std::fs;
use std::path::Path;

use bayeslora::low_level::data::reuse::{
    FoundAgain, Part, ReuseError, ScoreOptions, Scored, ScoredPart, TrainedOn, open_scored,
};
use bayeslora::low_level::data::{Dataset, OpenOptions, open};
use bayeslora::low_level::formats::DataManifest;
use tempfile::{TempDir, tempdir};

use super::files::{all_pixels, assert_says, class, options, plain, record, spec};

/// What a run would keep of a set: a fifth of the training images for validation.
fn trained_on(set: &Path) -> DataManifest {
    let splits = open(spec(set), &options()).unwrap();
    let (train, validation) = splits.train.split_validation(0.2, 1).unwrap();
    let mut manifest = DataManifest::new(splits.name, splits.train.classes.to_vec());
    manifest.train = train.listed();
    manifest.validation = validation.listed();
    manifest.test = splits.test.listed();
    manifest
}

fn look<'a>(set: &Path, manifest: &'a DataManifest) -> Result<FoundAgain<'a>, ReuseError> {
    FoundAgain::look(spec(set), manifest, None)
}

fn parts(found: &FoundAgain) -> [Dataset; 3] {
    let parts = [Part::Train, Part::Validation, Part::Test];
    found.open(parts, &options()).unwrap()
}

#[track_caller]
fn text<T>(result: Result<T, ReuseError>) -> String {
    match result {
        Ok(_) => panic!("should have been refused"),
        Err(error) => error.to_string(),
    }
}

/// 30 images each of two classes, in one folder.
fn flat() -> TempDir {
    let dir = tempdir().unwrap();
    class(&dir.path().join("ant"), 30, 0);
    class(&dir.path().join("bee"), 30, 100);
    dir
}

#[test]
fn a_split_is_found_again_and_never_drawn_anew() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    let found = look(dir.path(), &manifest).unwrap();
    assert_eq!(found.share(), 1.0);
    assert!(
        found
            .changes(&[Part::Train, Part::Validation, Part::Test])
            .is_empty()
    );
    let before = parts(&found).map(|set| all_pixels(&set));

    // Elsewhere, and under other names.
    let moved = tempdir().unwrap();
    for class in ["ant", "bee"] {
        fs::create_dir_all(moved.path().join(class)).unwrap();
        for i in 0..30 {
            fs::copy(
                dir.path().join(format!("{class}/{i}.png")),
                moved.path().join(format!("{class}/{:02}.png", 40 - i)),
            )
            .unwrap();
        }
    }
    let found = look(moved.path(), &manifest).unwrap();
    assert!(
        found
            .changes(&[Part::Train, Part::Validation, Part::Test])
            .is_empty()
    );
    assert_eq!(parts(&found).map(|set| all_pixels(&set)), before);
}

#[test]
fn images_that_went_came_and_changed_are_told_apart() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    let before = parts(&look(dir.path(), &manifest).unwrap());
    let bayeslora::low_level::formats::ManifestImages::Files(train) = &manifest.train else {
        panic!("a folder has files");
    };
    let [gone, other, misfiled] = [&train[0].path, &train[1].path, &train[2].path];
    fs::remove_file(dir.path().join(gone)).unwrap();
    plain(&dir.path().join(other), 9, 9, [77; 3]);
    fs::rename(dir.path().join(misfiled), dir.path().join("bee/z.png")).unwrap();
    plain(&dir.path().join("bee/new.png"), 8, 8, [250; 3]);
    let found = look(dir.path(), &manifest).unwrap();
    let changes = found.changes(&[Part::Train, Part::Test]);
    assert_eq!(changes.removed, [gone.clone(), misfiled.clone()]);
    assert_eq!(changes.changed, [other.as_str()]);
    assert_eq!(changes.added, ["bee/new.png", "bee/z.png"]);
    let said = changes.to_string();
    assert_says(
        &said,
        &[
            "2 removed (",
            "1 changed (",
            "2 added (bee/new.png, bee/z.png)",
        ],
    );
    assert!(found.changes(&[Part::Validation]).is_empty());
    assert!(found.share() < 1.0 && found.share() > 0.8);
    // What is left is as it was, and in its order.
    let after = parts(&found);
    assert_eq!(all_pixels(&after[0]), all_pixels(&before[0])[3 * 192..]);
    assert_eq!(all_pixels(&after[1]), all_pixels(&before[1]));
    assert_eq!(all_pixels(&after[2]), all_pixels(&before[2]));
}

#[test]
fn nothing_left_of_a_part_is_an_error() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    let bayeslora::low_level::formats::ManifestImages::Files(validation) = &manifest.validation
    else {
        panic!("a folder has files");
    };
    for file in validation {
        fs::remove_file(dir.path().join(&file.path)).unwrap();
    }
    let found = look(dir.path(), &manifest).unwrap();
    let part = text(found.open([Part::Validation], &options()));
    let count = format!("none of the {} validation images", validation.len());
    assert_says(&part, &[&count]);
    assert!(found.open([Part::Train], &options()).is_ok());
}

#[test]
fn other_classes_are_refused_with_both_names() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    fs::rename(dir.path().join("bee"), dir.path().join("wasp")).unwrap();
    let refused = text(look(dir.path(), &manifest));
    assert!(refused.contains("run  now\n  bee  wasp"), "{refused}");
    fs::rename(dir.path().join("wasp"), dir.path().join("bee")).unwrap();
    class(&dir.path().join("cat"), 2, 200);
    assert!(text(look(dir.path(), &manifest)).contains("-    cat"));
    // Unless the run was trained without it.
    let mut without = manifest.clone();
    without.held_out_classes = vec!["cat".into()];
    let found = look(dir.path(), &without).unwrap();
    assert!(found.changes(&[Part::Train, Part::Test]).is_empty());
    assert_eq!(*parts(&found)[0].classes, ["ant", "bee"]);
    fs::remove_dir_all(dir.path().join("cat")).unwrap();
    fs::remove_dir_all(dir.path().join("ant")).unwrap();
    assert!(text(look(dir.path(), &manifest)).contains("ant  -"));
}

/// Two records a batch, labels as given.
fn cifar(dir: &Path, labels: [u8; 2], red: u8) {
    for batch in 1..=5 {
        let records = labels.map(|label| record(&[label], red + batch)).concat();
        fs::write(dir.join(format!("data_batch_{batch}.bin")), records).unwrap();
    }
    fs::write(dir.join("test_batch.bin"), record(&[3], 9)).unwrap();
}

#[test]
fn arrays_are_told_by_their_hash_and_classes_by_their_order() {
    let dir = tempdir().unwrap();
    cifar(dir.path(), [0, 1], 20);
    let manifest = trained_on(dir.path());
    let found = look(dir.path(), &manifest).unwrap();
    assert_eq!(found.share(), 1.0);
    let [train, validation, test] = parts(&found);
    assert_eq!((train.len(), validation.len(), test.len()), (8, 2, 1));
    let splits = open(spec(dir.path()), &options()).unwrap();
    let drawn = splits.train.split_validation(0.2, 1).unwrap();
    assert_eq!(all_pixels(&train), all_pixels(&drawn.0));
    assert_eq!(all_pixels(&validation), all_pixels(&drawn.1));

    // A folder of files is no such set.
    let folder = flat();
    let kind = text(look(folder.path(), &manifest));
    assert_says(
        &kind,
        &["found a folder of image files", "trained on arrays"],
    );
    // Another order of names is other classes.
    let mut names = manifest.classes.clone();
    names.swap(3, 5);
    fs::write(dir.path().join("batches.meta.txt"), names.join("\n")).unwrap();
    assert!(text(look(dir.path(), &manifest)).contains("cat  dog\n  dog  cat"));
    fs::remove_file(dir.path().join("batches.meta.txt")).unwrap();
    // A pixel or a label more.
    cifar(dir.path(), [0, 2], 20);
    let found = look(dir.path(), &manifest).unwrap();
    assert_eq!(found.share(), 0.0);
    assert_says(
        &text(found.open([Part::Train], &options())),
        &["pixels or labels of its training set"],
    );
    assert!(found.open([Part::Test], &options()).is_ok());
}

fn score(set: &Path, manifest: &DataManifest, limit: Option<usize>) -> Result<Scored, ReuseError> {
    let run = TrainedOn {
        classes: &manifest.classes,
        held_out_classes: &manifest.held_out_classes,
        images: Some(manifest),
        is_cautious: true,
    };
    let options = ScoreOptions {
        open: OpenOptions {
            limit_test: limit,
            ..options()
        },
        ignore_unknown_classes: limit.is_some(),
    };
    open_scored(spec(set), run, &options)
}

#[test]
fn the_runs_own_folder_is_scored_on_what_was_held_out_and_another_in_full() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    let test = open(spec(dir.path()), &options()).unwrap().test;
    let own = score(dir.path(), &manifest, None).unwrap();
    assert_eq!((own.part, own.of, own.seen), (ScoredPart::HeldOut, 60, 0));
    assert_eq!(all_pixels(&own.images), all_pixels(&test));
    // A few come, a few go: still its own, and nothing that it was trained on is scored.
    for i in 0..10 {
        fs::remove_file(dir.path().join(format!("ant/{i}.png"))).unwrap();
    }
    let own = score(dir.path(), &manifest, None).unwrap();
    assert_eq!(own.part, ScoredPart::HeldOut);
    assert!(own.images.without(&[&test]).is_empty());

    let other = tempdir().unwrap();
    class(&other.path().join("bee"), 12, 200);
    let scored = score(other.path(), &manifest, None).unwrap();
    assert_eq!(
        (scored.part, scored.of, scored.images.len()),
        (ScoredPart::All, 12, 12)
    );
    assert!(
        scored.images.labels.iter().all(|label| *label == 1),
        "by name"
    );
    // With three of the run's training images among them.
    let bayeslora::low_level::formats::ManifestImages::Files(train) = &manifest.train else {
        panic!("a folder has files");
    };
    for (i, file) in train.iter().rev().take(3).enumerate() {
        fs::copy(
            dir.path().join(&file.path),
            other.path().join(format!("bee/x{i}.png")),
        )
        .unwrap();
    }
    let scored = score(other.path(), &manifest, None).unwrap();
    assert_eq!((scored.of, scored.seen, scored.images.len()), (15, 3, 12));
}

#[test]
fn a_test_part_is_scored_without_what_the_run_was_trained_on() {
    let dir = tempdir().unwrap();
    class(&dir.path().join("train/ant"), 10, 0);
    class(&dir.path().join("train/bee"), 10, 100);
    class(&dir.path().join("test/ant"), 3, 50);
    class(&dir.path().join("test/bee"), 3, 150);
    let manifest = trained_on(dir.path());
    let scored = score(dir.path(), &manifest, None).unwrap();
    assert_eq!(
        (scored.part, scored.images.len(), scored.of),
        (ScoredPart::Test, 6, 6)
    );
    for i in 0..10 {
        let copy = dir.path().join(format!("test/ant/copy{i}.png"));
        fs::copy(dir.path().join(format!("train/ant/{i}.png")), copy).unwrap();
    }
    let scored = score(dir.path(), &manifest, None).unwrap();
    assert_eq!((scored.images.len(), scored.of, scored.seen), (6, 16, 10));
    // Of another set nothing is missed; of its own two test images are.
    assert_eq!((scored.gone, scored.gone_seen), (0, 0));
    fs::remove_file(dir.path().join("test/ant/0.png")).unwrap();
    plain(&dir.path().join("test/bee/0.png"), 9, 9, [77; 3]);
    let scored = score(dir.path(), &manifest, None).unwrap();
    assert_eq!((scored.gone, scored.gone_seen), (2, 0));
    let elsewhere = tempdir().unwrap();
    class(&elsewhere.path().join("ant"), 3, 200);
    class(&elsewhere.path().join("bee"), 3, 240);
    let scored = score(elsewhere.path(), &manifest, None).unwrap();
    assert_eq!((scored.gone, scored.gone_seen), (0, 0));
    // The limit is of what is scored.
    assert_eq!(
        score(dir.path(), &manifest, Some(5)).unwrap().images.len(),
        5
    );
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    fs::rename(dir.path().join("train"), dir.path().join("test")).unwrap();
    let nothing = text(score(dir.path(), &manifest, None));
    assert_says(&nothing, &["no image is left to score", "20 of its 20"]);
}

#[test]
fn classes_that_the_run_does_not_know_are_refused_or_left_out() {
    let dir = flat();
    let manifest = trained_on(dir.path());
    let other = tempdir().unwrap();
    class(&other.path().join("ant"), 4, 200);
    class(&other.path().join("yak"), 4, 210);
    let refused = text(score(other.path(), &manifest, None));
    assert_says(
        &refused,
        &["does not know this class (yak)", "it knows ant, bee"],
    );
    let scored = score(other.path(), &manifest, Some(9)).unwrap();
    assert_eq!((scored.images.len(), scored.of_other_classes), (4, 4));
    assert_eq!(scored.classes.unknown, ["yak"]);
    assert_eq!(*scored.images.classes, ["ant", "bee"]);
    // Nothing that it knows: there is nothing to leave out from.
    fs::remove_dir_all(other.path().join("ant")).unwrap();
    assert!(score(other.path(), &manifest, Some(9)).is_err());
    // Those it was trained without are left out unasked.
    class(&other.path().join("ant"), 4, 200);
    let mut without = manifest.clone();
    without.held_out_classes = vec!["yak".into()];
    let scored = score(other.path(), &without, None).unwrap();
    assert_eq!((scored.images.len(), scored.of_other_classes), (4, 4));
    assert_eq!(scored.classes.held_out, ["yak"]);
}

#[test]
fn a_run_without_a_record_is_scored_on_a_test_part_alone() {
    let dir = flat();
    let classes = ["ant", "bee"].map(String::from);
    let run = |is_cautious| TrainedOn {
        classes: &classes,
        held_out_classes: &[],
        images: None,
        is_cautious,
    };
    let options = ScoreOptions {
        open: options(),
        ..ScoreOptions::default()
    };
    let refused = text(open_scored(spec(dir.path()), run(true), &options));
    assert_says(
        &refused,
        &[
            "does not say which images it was trained on",
            "test/CLASS/*",
        ],
    );
    let scored = open_scored(spec(dir.path()), run(false), &options).unwrap();
    assert_eq!((scored.part, scored.images.len()), (ScoredPart::All, 60));
    fs::create_dir(dir.path().join("test")).unwrap();
    for class in ["ant", "bee"] {
        let to = dir.path().join("test").join(class);
        fs::rename(dir.path().join(class), to).unwrap();
    }
    let scored = open_scored(spec(dir.path()), run(true), &options).unwrap();
    assert_eq!((scored.part, scored.images.len()), (ScoredPart::Test, 60));
}
