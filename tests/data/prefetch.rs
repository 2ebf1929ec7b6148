//! Batches in order, however long each takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use bayeslora::low_level::data::prefetch;

#[test]
fn batches_arrive_in_order_and_end() {
    for count in [0, 1, 2, 9] {
        let slow_first = |number: usize| {
            sleep(Duration::from_millis(
                8 * u64::from(number.is_multiple_of(3)),
            ));
            number
        };
        let mut waits = 0;
        let found = prefetch(count, slow_first, |ahead| {
            std::iter::from_fn(|| ahead.next(|| waits += 1)).collect::<Vec<_>>()
        });
        assert_eq!(found, (0..count).collect::<Vec<_>>());
        assert!(count == 0 || waits > 0, "the first one takes 8 ms");
    }
}

#[test]
fn a_few_are_in_flight_and_no_more_are_made_when_the_consumer_leaves() {
    let made = AtomicUsize::new(0);
    prefetch(
        1000,
        |_| made.fetch_add(1, Ordering::Relaxed),
        |ahead| {
            assert!(ahead.next(|| ()).is_some());
            sleep(Duration::from_millis(50));
            // One taken, one waiting and one in hand of each of two workers.
            let ahead_of_us = made.load(Ordering::Relaxed);
            assert!((3..=5).contains(&ahead_of_us), "{ahead_of_us}");
        },
    );
    assert!(made.load(Ordering::Relaxed) < 10);
}
