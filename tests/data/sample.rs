use super::files::all_pixels;
use bayeslora::low_level::data::{Dataset, OpenOptions, open, open_test};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_interleaved(data: &Dataset) {
    assert!(
        data.labels
            .iter()
            .zip((0..10).cycle())
            .all(|(a, b)| *a == b)
    );
    assert_eq!(all_pixels(data).len(), data.len() * 32 * 32 * 3);
}

/// The digests are those that the asset's script printed from the official binaries.
#[test]
fn the_sample_is_what_its_card_says() {
    let splits = open("sample", &OpenOptions::default()).unwrap();
    assert_eq!(splits.name, "cifar10-sample");
    assert_eq!((splits.train.len(), splits.test.len()), (5000, 1000));
    assert_eq!(splits.train.side, 32);
    assert_eq!(splits.train.classes[0], "airplane");
    assert_interleaved(&splits.train);
    assert_interleaved(&splits.test);
    let card = include_str!("../../assets/cifar10-sample.md");
    for (data, file) in [
        (
            &splits.train,
            &include_bytes!("../../assets/cifar10-sample-train.webp")[..],
        ),
        (
            &splits.test,
            include_bytes!("../../assets/cifar10-sample-test.webp"),
        ),
    ] {
        assert!(card.contains(&sha256(&all_pixels(data))));
        assert!(card.contains(&sha256(file)));
    }
}

/// First and last pixel of the first image of each class of `test_batch.bin`.
#[test]
fn the_first_images_are_the_official_ones() {
    let test = open_test("sample", &OpenOptions::default()).unwrap();
    let corners: Vec<[u8; 6]> = (0..10)
        .map(|i| {
            let image = test.image(i).unwrap();
            [
                image[0],
                image[1],
                image[2],
                image[3069],
                image[3070],
                image[3071],
            ]
        })
        .collect();
    assert_eq!(corners, CORNERS);
}

const CORNERS: [[u8; 6]; 10] = [
    [155, 156, 149, 73, 68, 50],
    [160, 37, 13, 29, 30, 28],
    [100, 103, 74, 160, 121, 100],
    [158, 112, 49, 21, 67, 110],
    [35, 61, 89, 38, 55, 65],
    [91, 64, 30, 28, 31, 50],
    [65, 68, 50, 128, 156, 117],
    [35, 36, 31, 7, 4, 4],
    [235, 235, 235, 186, 200, 199],
    [255, 255, 251, 203, 176, 157],
];

#[test]
fn a_limit_takes_whole_rounds_of_the_classes() {
    let options = OpenOptions {
        limit_train: Some(25),
        ..OpenOptions::default()
    };
    let train = open("sample", &options).unwrap().train;
    assert_eq!(train.len(), 25);
    assert_interleaved(&train);
}
