//! Subsets, limits, splits and epoch order.

use bayeslora::low_level::data::{Dataset, EpochOrder};
use proptest::prelude::*;

use super::files::{assert_says, message};

/// 1x1 images whose red and green spell their index.
fn numbered(labels: Vec<u32>, classes: usize) -> Dataset {
    let pixels = (0..labels.len()).flat_map(|i| [(i / 256) as u8, (i % 256) as u8, 0]);
    let classes = (0..classes).map(|c| c.to_string()).collect();
    Dataset::new(1, pixels.collect(), labels, classes)
}

fn indices(data: &Dataset) -> Vec<usize> {
    (0..data.len())
        .map(|i| data.image(i).unwrap())
        .map(|image| usize::from(image[0]) * 256 + usize::from(image[1]))
        .collect()
}

#[test]
fn subset_follows_the_indices() {
    let part = numbered(vec![0, 1, 2, 1], 3).subset(&[3, 0, 3]);
    assert_eq!(indices(&part), [3, 0, 3]);
    assert_eq!(part.labels, [1, 0, 1]);
    assert_eq!(part.classes.len(), 3);
}

#[test]
fn limit_is_a_balanced_prefix() {
    let labels = vec![1, 1, 1, 0, 0, 2, 0, 1, 0];
    let limit = |n| indices(&numbered(labels.clone(), 3).limit(n).unwrap());
    assert_eq!(limit(3), [0, 3, 5]);
    assert_eq!(limit(4), [0, 3, 4, 5]);
    assert_eq!(limit(5), [0, 1, 3, 4, 5]);
    assert_eq!(limit(7), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(limit(9), (0..9).collect::<Vec<_>>());
    assert_eq!(limit(100), (0..9).collect::<Vec<_>>());
    let text = message(numbered(labels, 3).limit(0));
    assert_eq!(text, "limit is 0; expected at least 1");
}

#[test]
fn every_beginning_of_an_interleaved_set_is_its_limit() {
    let data = numbered(vec![1, 1, 1, 0, 0, 2, 0, 1, 0], 3);
    let turns = data.interleaved();
    assert_eq!(indices(&turns), [3, 0, 5, 4, 1, 6, 2, 8, 7]);
    for n in 1..=data.len() {
        let mut first = indices(&turns.subset(&(0..n).collect::<Vec<_>>()));
        first.sort_unstable();
        assert_eq!(first, indices(&data.clone().limit(n).unwrap()), "{n}");
    }
}

#[test]
fn classes_are_parted_and_counted_anew() {
    let data = numbered(vec![3, 0, 2, 1, 2, 3], 4);
    let names = ["2", "0"].map(String::from);
    let (named, others) = data.part_classes(&names).unwrap();
    assert_eq!(
        (indices(&named), &named.labels[..]),
        (vec![1, 2, 4], &[0, 1, 1][..])
    );
    assert_eq!(&named.classes[..], ["0", "2"], "in the set's order");
    assert_eq!(
        (indices(&others), &others.labels[..]),
        (vec![0, 3, 5], &[1, 0, 1][..])
    );
    assert_eq!(&others.classes[..], ["1", "3"]);
    let text = message(data.part_classes(&["7".into()]));
    assert_says(&text, &["no class 7", "0, 1, 2, 3"]);
    let text = message(data.part_classes(&["0", "1", "2"].map(String::from)));
    assert_says(&text, &["1 classes beside those named", "two"]);
}

#[test]
fn a_fraction_or_a_set_that_cannot_be_split() {
    let data = numbered(vec![0, 0, 1, 1], 2);
    for fraction in [0.0, 1.0, -0.1, f64::NAN] {
        let text = message(data.split_validation(fraction, 0));
        assert_says(&text, &[&format!("fraction {fraction}"), "less than 1"]);
    }
    let text = message(numbered(vec![0, 1], 2).split_validation(0.5, 0));
    assert_says(&text, &["2 images", "0.5"]);
}

#[test]
fn splits_differ_by_seed_and_do_not_repeat_over_classes() {
    let data = numbered((0..200).map(|i| i % 2).collect(), 2);
    let validation = |seed| indices(&data.split_validation(0.2, seed).unwrap().1);
    assert_eq!(validation(1), validation(1));
    assert_ne!(validation(1), validation(2));
    let (even, odd): (Vec<_>, Vec<_>) = validation(1).into_iter().partition(|i| i % 2 == 0);
    let ranks = |part: Vec<usize>| part.into_iter().map(|i| i / 2).collect::<Vec<_>>();
    assert_ne!(ranks(even), ranks(odd));
}

proptest! {
    #[test]
    fn a_split_is_stratified_and_loses_nothing(
        labels in prop::collection::vec(0u32..5, 10..300),
        fraction in 0.05..0.95f64,
        seed: u64,
    ) {
        let data = numbered(labels.clone(), 5);
        let (train, validation) = data.split_validation(fraction, seed).unwrap();
        for class in 0..5 {
            let count = |labels: &[u32]| labels.iter().filter(|&&l| l == class).count();
            let (all, aside) = (count(&labels), count(&validation.labels));
            if all < 2 {
                prop_assert_eq!(aside, 0);
            } else {
                prop_assert!((aside as f64 - all as f64 * fraction).abs() <= 1.0);
                prop_assert!(aside >= 1 && aside < all);
            }
        }
        prop_assert!(indices(&train).is_sorted() && indices(&validation).is_sorted());
        let mut together = [indices(&train), indices(&validation)].concat();
        together.sort_unstable();
        prop_assert_eq!(together, (0..labels.len()).collect::<Vec<_>>());
    }

    #[test]
    fn an_epoch_visits_each_image_once(len in 0usize..500, size in 1usize..70, seed: u64, epoch: u64) {
        let order = EpochOrder::new(len, seed, epoch);
        let batches: Vec<&[usize]> = order.batches(size).collect();
        prop_assert_eq!(batches.len(), len.div_ceil(size));
        prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == size));
        let mut visited = batches.concat();
        visited.sort_unstable();
        prop_assert_eq!(visited, (0..len).collect::<Vec<_>>());
    }
}

#[test]
fn epochs_and_seeds_have_their_own_orders() {
    let order = |seed, epoch| EpochOrder::new(100, seed, epoch).indices().to_vec();
    assert_eq!(order(3, 5), order(3, 5));
    let orders = [
        order(3, 5),
        order(3, 6),
        order(4, 5),
        order(5, 3),
        order(0, 0),
    ];
    for (i, one) in orders.iter().enumerate() {
        for other in &orders[..i] {
            let agree = one.iter().zip(other).filter(|(a, b)| a == b).count();
            assert!(agree < 10, "{agree} of 100 places agree");
        }
    }
}

/// A resumed run must see the order of the run it resumes, whatever was upgraded in between.
#[test]
fn the_order_is_pinned() {
    let order = EpochOrder::new(10, 1, 0);
    assert_eq!(order.indices(), [4, 2, 6, 9, 1, 5, 0, 8, 7, 3]);
}
