//! A run of seconds, and an adapter from it.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::Adapter;
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::train::{Augment, Progress, TrainConfig, Trainer};

use crate::properties::{GPU, tiny_backbone};

pub const SIDE: usize = 32;

pub fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub fn images(count: usize) -> Dataset {
    let labels: Vec<u32> = (0..count as u32).map(|index| index % 3).collect();
    let pixels = (0..count * SIDE * SIDE * 3).map(|i| (i * i / 7 % 251) as u8);
    let classes = ["one", "two", "three"].map(str::to_owned);
    Dataset::new(SIDE, pixels.collect(), labels, Arc::from(classes))
}

pub fn config() -> TrainConfig {
    TrainConfig {
        resolution: SIDE,
        epochs: 2,
        batch_size: Some(4),
        rank: 3,
        augment: Augment::None,
        ..TrainConfig::default()
    }
}

pub fn trainer(gpu: &Gpu, config: TrainConfig) -> Trainer {
    let (train, validation) = (images(24), images(9));
    let (mut observe, backbone) = (go_on, tiny_backbone());
    Trainer::new(
        gpu,
        &backbone,
        config,
        train,
        Some(validation),
        &mut observe,
    )
    .unwrap()
}

/// Trained for two epochs.
pub static ADAPTER: LazyLock<Adapter> = LazyLock::new(|| {
    let mut trainer = trainer(&GPU, config());
    for _ in 0..2 {
        trainer.next_epoch(&mut go_on).unwrap();
    }
    trainer.adapter().unwrap()
});
