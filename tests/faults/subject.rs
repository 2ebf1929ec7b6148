//! A run of seconds.

use std::ops::ControlFlow;
use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::train::{Augment, Progress, TrainConfig, TrainError, Trainer};

use crate::properties::tiny_backbone;

pub fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub fn images(count: usize) -> Dataset {
    let labels: Vec<u32> = (0..count as u32).map(|index| index % 2).collect();
    let pixels = (0..count * 16 * 16 * 3).map(|i| (i * 7 % 251) as u8);
    Dataset::new(16, pixels.collect(), labels, classes())
}

pub fn classes() -> Arc<[String]> {
    Arc::from(["one".to_owned(), "two".to_owned()])
}

pub fn config() -> TrainConfig {
    TrainConfig {
        resolution: 32,
        epochs: 2,
        batch_size: Some(1),
        rank: 2,
        augment: Augment::None,
        ..TrainConfig::default()
    }
}

pub fn trainer(gpu: &Gpu, config: TrainConfig, images: Dataset) -> Result<Trainer, TrainError> {
    Trainer::new(gpu, &tiny_backbone(), config, images, None, &mut go_on)
}
