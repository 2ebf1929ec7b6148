//! The learning rate range test on a network.

use std::ops::ControlFlow;

use bayeslora::low_level::train::{Method, Progress, TrainConfig};

use crate::properties::GPU;
use crate::train::{config, go_on, trainer};

#[test]
fn the_test_finds_the_same_each_time_and_nothing_of_it_is_left() {
    for config in [
        config(),
        TrainConfig {
            method: Method::Lora,
            ..config()
        },
    ] {
        let find = || {
            let trainer = trainer(&GPU, config.clone()).unwrap();
            trainer.find_lr(&mut go_on).unwrap().unwrap()
        };
        let test = find();
        assert_eq!(test, find());
        // Log 3 is what guessing costs, and the images are easy.
        let first = test.points[0].loss;
        assert!((first - 3f64.ln()).abs() < 0.8, "{first}");
        let lowest = test.lowest().unwrap();
        assert!(lowest.smoothed < 0.7 * test.points[0].smoothed, "{test:?}");
        let found = test.suggestion.unwrap();
        assert!(found > 1e-4 && found < lowest.learning_rate, "{found}");
    }
}

#[test]
fn an_observer_stops_it() {
    let mut steps = 0;
    let mut stop = |progress| {
        if let Progress::FindingLr { done, total, .. } = progress {
            assert_eq!((done, total), (steps, 100));
            steps += 1;
        }
        match steps {
            0..5 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let trainer = trainer(&GPU, config()).unwrap();
    assert!(trainer.find_lr(&mut stop).unwrap().is_none());
    assert_eq!(steps, 5);
}
