//! What images are, whatever part they are in.

use std::fs;

use bayeslora::low_level::data::{Dataset, Identity, open};
use bayeslora::low_level::formats::{Digest, ManifestImages};
use tempfile::tempdir;

use super::files::{class, options, spec};

fn identities(set: &Dataset) -> Vec<Identity> {
    (0..set.len()).map(|i| set.identity(i)).collect()
}

#[test]
fn parts_of_a_set_keep_what_their_images_are() {
    let labels = vec![1, 1, 1, 0, 0, 2, 0, 1, 0];
    let pixels = (0..27).collect();
    let classes = ["a", "b", "c"].map(String::from);
    let set = Dataset::new(1, pixels, labels.clone(), classes.clone().into());
    let all = identities(&set);
    let of = |indices: &[usize]| -> Vec<Identity> { indices.iter().map(|&i| all[i]).collect() };
    assert_eq!(identities(&set.subset(&[5, 0, 5])), of(&[5, 0, 5]));
    let limited = set.clone().limit(4).unwrap();
    assert_eq!(identities(&limited), of(&[0, 3, 4, 5]));
    assert_eq!(identities(&limited.subset(&[3, 1])), of(&[5, 3]));
    assert_eq!(identities(&set.interleaved())[..3], of(&[3, 0, 5]));
    let (named, others) = set.part_classes(&classes[1..2]).unwrap();
    assert_eq!(identities(&named), of(&[0, 1, 2, 7]));
    assert_eq!(identities(&others), of(&[3, 4, 5, 6, 8]));
    let ManifestImages::Indexed { ranges, .. } = others.listed() else {
        panic!("arrays have indices");
    };
    assert_eq!(ranges, [[3, 7], [8, 9]]);
    let left = set.without(&[&named, &set.subset(&[8])]);
    assert_eq!(identities(&left), of(&[3, 4, 5, 6]));

    // Another pixel, label or shape is another set.
    let classes = set.classes.clone();
    let other = Dataset::new(1, vec![0; 27], labels.clone(), classes.clone());
    assert_ne!(identities(&other)[0], all[0]);
    let other = Dataset::new(1, (0..27).collect(), vec![0; 9], classes);
    assert_ne!(identities(&other)[0], all[0]);
}

#[test]
fn an_image_file_is_its_bytes_and_known_by_its_path() {
    let dir = tempdir().unwrap();
    for part in ["train", "test"] {
        class(&dir.path().join(part).join("ant"), 2, 20);
        class(&dir.path().join(part).join("bee"), 1, 90);
    }
    fs::rename(
        dir.path().join("train/ant/1.png"),
        dir.path().join("train/ant/50% off.png"),
    )
    .unwrap();
    let splits = open(spec(dir.path()), &options()).unwrap();
    // The same bytes, wherever they are.
    assert_eq!(identities(&splits.train), identities(&splits.test));
    let ManifestImages::Files(files) = splits.train.listed() else {
        panic!("a folder has files");
    };
    let paths: Vec<&str> = files.iter().map(|file| &*file.path).collect();
    assert_eq!(
        paths,
        [
            "train/ant/0.png",
            "train/ant/50%25 off.png",
            "train/bee/0.png"
        ]
    );
    let labels: Vec<u32> = files.iter().map(|file| file.label).collect();
    assert_eq!(labels, [0, 0, 1]);
    let bytes = fs::read(dir.path().join("train/bee/0.png")).unwrap();
    assert_eq!(files[2].content, Digest::of(&bytes));
    assert!(splits.test.without(&[&splits.train]).is_empty());
}
