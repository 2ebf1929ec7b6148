//! Images that count, or are drawn, by their class.

use bayeslora::{Augment, ClassWeights, Sampler, TrainConfig, TrainError, Trainer};

use super::subject::{SIDE, go_on, images};
use crate::properties::{GPU, tiny_backbone};

/// Parameters of the head after an epoch on so many images.
fn head(count: usize, class_weights: ClassWeights) -> Vec<f32> {
    head_of(count, class_weights, Sampler::Shuffled)
}

fn head_of(count: usize, class_weights: ClassWeights, sampler: Sampler) -> Vec<f32> {
    let config = TrainConfig {
        resolution: SIDE,
        epochs: 1,
        batch_size: Some(4),
        rank: 2,
        augment: Augment::None,
        class_weights,
        sampler,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(
        &GPU,
        &tiny_backbone(),
        config,
        images(count),
        None,
        &mut go_on,
    )
    .unwrap();
    trainer
        .train(&mut go_on, |_, _| Ok::<_, TrainError>(()))
        .unwrap();
    trainer.adapter().unwrap().head.weight
}

#[test]
fn weights_change_training_where_classes_are_uneven() {
    let even = head(12, ClassWeights::None);
    assert_eq!(head(12, ClassWeights::Balanced), even, "the same bits");
    assert_eq!(head(12, ClassWeights::Effective), even, "the same bits");
    // Five images of the first class, four of the others.
    let uneven = head(13, ClassWeights::None);
    assert_ne!(head(13, ClassWeights::Balanced), uneven);
}

#[test]
fn a_balanced_epoch_is_another_one_each_time_the_same() {
    let balanced = || head_of(13, ClassWeights::None, Sampler::Balanced);
    assert_eq!(balanced(), balanced());
    assert_ne!(balanced(), head(13, ClassWeights::None));
}
