//! Images that nearly repeat each other, and splits that keep them together.

use std::f64::consts::TAU;
use std::path::Path;

use bayeslora::low_level::data::{Dataset, Looks, OpenOptions, open};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tempfile::tempdir;

use super::files::spec;

const SIDE: u32 = 96;

/// A scene of some waves of each colour.
fn scene(seed: u64, shift: f64) -> RgbImage {
    let mut rng = Pcg64::seed_from_u64(seed);
    let waves: Vec<[f64; 4]> = (0..9)
        .map(|_| {
            let mut number = |low: f64, high: f64| rng.random_range(low..high);
            [
                number(-3.0, 3.0),
                number(-3.0, 3.0),
                number(0.0, TAU),
                number(10.0, 40.0),
            ]
        })
        .collect();
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let at = [f64::from(x) + shift, f64::from(y)].map(|v| v / f64::from(SIDE));
        let colour = |c: usize| {
            let of = waves[3 * c..3 * c + 3].iter();
            let sum: f64 = of
                .map(|[u, v, phase, size]| size * (TAU * (u * at[0] + v * at[1]) + phase).sin())
                .sum();
            (128.0 + sum).clamp(0.0, 255.0) as u8
        };
        Rgb([colour(0), colour(1), colour(2)])
    })
}

fn save_jpeg(picture: &RgbImage, path: &Path, quality: u8) {
    let file = std::fs::File::create(path).unwrap();
    JpegEncoder::new_with_quality(file, quality)
        .encode_image(picture)
        .unwrap();
}

/// Two classes: `copies` of one scene, each a little different, and `others` scenes of their own.
fn folder(root: &Path, others: u64) -> Dataset {
    for class in ["train/a", "train/b", "test/a", "test/b"] {
        std::fs::create_dir_all(root.join(class)).unwrap();
    }
    let a = root.join("train/a");
    scene(1, 0.0).save(a.join("0.png")).unwrap();
    save_jpeg(&scene(1, 0.0), &a.join("1.jpg"), 60);
    // The next frames of a camera that moves, and half the size.
    scene(1, 1.0).save(a.join("2.png")).unwrap();
    scene(1, 2.0).save(a.join("3.png")).unwrap();
    let small = resize(&scene(1, 0.0), SIDE / 2, SIDE / 2, FilterType::Triangle);
    small.save(a.join("4.png")).unwrap();
    for seed in 0..others {
        let class = ["train/a", "train/b"][seed as usize % 2];
        let name = format!("{class}/other-{seed}.png");
        scene(100 + seed, 0.0).save(root.join(name)).unwrap();
    }
    scene(1, 1.5).save(root.join("test/a/like.png")).unwrap();
    scene(7, 0.0).save(root.join("test/b/own.png")).unwrap();
    let options = OpenOptions {
        side: 64,
        ..OpenOptions::default()
    };
    let splits = open(spec(root), &options).unwrap();
    let looks = Looks::of(&splits.test).unwrap().unwrap();
    let trained = Looks::of(&splits.train).unwrap().unwrap();
    assert_eq!(looks.repeat(&trained), [true, false]);
    splits.train
}

#[test]
fn frames_and_copies_are_alike_and_other_scenes_are_not() {
    let dir = tempdir().unwrap();
    let train = folder(dir.path(), 60);
    let groups = Looks::of(&train).unwrap().unwrap().groups();
    // Files by name: 0 to 4 of class a, then the others.
    assert_eq!(groups[..5], [0; 5]);
    assert!((5..train.len()).all(|i| groups[i] == i), "{groups:?}");

    let split = |seed| train.split_validation_by(0.3, seed, &groups).unwrap();
    let mut sides = [0; 2];
    for seed in 0..20 {
        let (kept, aside) = split(seed);
        assert_eq!(kept.len() + aside.len(), train.len());
        let copies = |set: &Dataset| {
            let is_copy = |i: &usize| {
                let image = set.image(*i).unwrap();
                (0..5).any(|copy| train.image(copy).unwrap() == image)
            };
            (0..set.len()).filter(is_copy).count()
        };
        let found = [copies(&kept), copies(&aside)];
        assert!(found == [5, 0] || found == [0, 5], "{found:?}");
        sides[usize::from(found[1] > 0)] += 1;
    }
    assert!(sides.iter().all(|side| *side > 0), "{sides:?}");
}

#[test]
fn sets_in_arrays_are_as_their_authors_divided_them() {
    let set = Dataset::new(
        8,
        vec![9; 2 * 192],
        vec![0, 1],
        ["a", "b"].map(str::to_owned).into(),
    );
    assert!(Looks::of(&set).unwrap().is_none());
}

proptest! {
    #[test]
    fn groups_stay_together_and_single_images_are_drawn_as_without(
        labels in prop::collection::vec(0u32..3, 20..120),
        sizes in prop::collection::vec(1usize..6, 20..120),
        seed: u64,
    ) {
        let (n, classes) = (labels.len(), ["a", "b", "c"].map(str::to_owned));
        let pixels = (0..n).flat_map(|i| [i as u8; 3]).collect();
        let set = Dataset::new(1, pixels, labels.clone(), classes.into());
        let index = |set: &Dataset| -> Vec<usize> {
            (0..set.len()).map(|i| set.image(i).unwrap()[0] as usize).collect()
        };
        let each: Vec<usize> = (0..n).collect();
        let plain = set.split_validation(0.25, seed).unwrap();
        let same = set.split_validation_by(0.25, seed, &each).unwrap();
        prop_assert_eq!(index(&plain.1), index(&same.1));

        let firsts = sizes.iter().scan(0, |start, size| {
            let first = *start;
            *start += size;
            Some(std::iter::repeat_n(first, *size))
        });
        let mut groups: Vec<usize> = firsts.flatten().take(n).collect();
        groups.extend(groups.len()..n);
        // All of one group is too much for a share.
        if let Ok((kept, aside)) = set.split_validation_by(0.25, seed, &groups) {
            let (kept, aside) = (index(&kept), index(&aside));
            prop_assert_eq!(kept.len() + aside.len(), n);
            prop_assert!(kept.iter().all(|i| aside.iter().all(|j| groups[*i] != groups[*j])));
            for class in 0..3 {
                let count = |some: &[usize]| some.iter().filter(|i| labels[**i] == class).count();
                let (all, given) = (count(&kept) + count(&aside), count(&aside));
                prop_assert!(given <= (all as f64 * 0.25).round().max(1.0) as usize);
            }
        }
    }
}
