//! A run's memory stays flat, however long it lasts.

mod common;
mod properties;

use std::ops::ControlFlow;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::train::{Augment, EpochOutcome, Progress, TrainConfig, Trainer};
use memory_stats::memory_stats;
use properties::{GPU, tiny_backbone};

const STEPS_PER_EPOCH: usize = 50;

/// Epochs after which caches, pools and threads have what they need.
const WARM_UP: usize = 40;

/// What the process may grow by from there on; 1 KiB a step would be nine times that.
const SLACK: usize = 1 << 20;

/// Resident bytes of the process; bytes and number of wgpu's allocations, where the back end tells.
fn memory() -> (usize, Option<(u64, usize)>) {
    GPU.wait().unwrap();
    let resident = memory_stats().expect("this system tells").physical_mem;
    let report = GPU.device().generate_allocator_report();
    let allocated = report.map(|report| (report.total_allocated_bytes, report.allocations.len()));
    (resident, allocated)
}

#[test]
fn ten_thousand_steps_leave_no_trace() {
    let (side, images) = (32, 2 * STEPS_PER_EPOCH);
    let pixels = (0..images * side * side * 3).map(|i| (i % 251) as u8);
    let labels = (0..images as u32).map(|index| index % 2);
    let classes = ["even".to_owned(), "odd".to_owned()].into();
    let dataset = Dataset::new(side, pixels.collect(), labels.collect(), classes);
    let config = TrainConfig {
        resolution: side,
        epochs: 10_000 / STEPS_PER_EPOCH,
        batch_size: Some(2),
        rank: 2,
        lr: 1e-4,
        targets: vec!["layer4.1.conv2".into()],
        augment: Augment::None,
        threshold: 100.0,
        ..TrainConfig::default()
    };
    let epochs = config.epochs;
    let mut observe = |_: Progress| ControlFlow::Continue(());
    let backbone = tiny_backbone();
    let trainer = Trainer::new(&GPU, &backbone, config, dataset, None, &mut observe);
    let mut trainer = trainer.unwrap();
    let mut warm = None;
    for epoch in 1..=epochs {
        let outcome = trainer.next_epoch(&mut observe).unwrap();
        assert!(matches!(outcome, EpochOutcome::Done(_)));
        if epoch == WARM_UP {
            warm = Some(memory());
        }
    }
    let ((before, allocated_before), (after, allocated)) = (warm.unwrap(), memory());
    println!("resident {before} -> {after}; wgpu's {allocated_before:?} -> {allocated:?}");
    assert_eq!(
        allocated_before, allocated,
        "bytes and number of allocations"
    );
    assert!(
        after < before + SLACK,
        "{} bytes more after {epochs} epochs than after {WARM_UP}",
        after - before
    );
}
