//! A device that goes away, and memory that it does not have.

use bayeslora::low_level::gpu::{Builder, Gpu, GpuError, GpuOptions};
use bayeslora::low_level::predict::{Prediction, Predictor, Samples};
use bayeslora::low_level::train::{TrainConfig, TrainError};
use bayeslora::wgpu;

use super::subject::{config, go_on, images, trainer};
use crate::common::{self, relative_error};
use crate::properties::tiny_backbone;

fn own() -> Gpu {
    common::gpu(GpuOptions::default())
}

/// A device that an application has opened, without handlers of its own.
fn foreign() -> Gpu {
    let gpu = own();
    let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
    Gpu::from_device(device, queue, GpuOptions::default())
        .unwrap()
        .0
}

#[test]
fn a_lost_device_is_an_error_wherever_it_is_met() {
    let gpu = own();
    let mut trainer = trainer(&gpu, config(), images(4)).unwrap();
    trainer.next_epoch(&mut go_on).unwrap();
    gpu.device().destroy();
    let error = trainer.next_epoch(&mut go_on).err().expect("no device");
    assert!(
        matches!(error, TrainError::Gpu(GpuError::Lost { .. })),
        "{error}"
    );
    let again = [
        gpu.wait(),
        trainer.checkpoint().map(drop).map_err(|error| match error {
            TrainError::Gpu(error) => error,
            error => panic!("{error}"),
        }),
    ];
    for result in again {
        assert!(matches!(result, Err(GpuError::Lost { .. })), "{result:?}");
    }
    assert!(gpu.is_idle());
    // And everything is dropped without a panic.
}

#[test]
fn a_lost_device_of_an_application_is_an_error_too() {
    let gpu = foreign();
    let mut trainer = trainer(&gpu, config(), images(4)).unwrap();
    gpu.device().destroy();
    let error = trainer.next_epoch(&mut go_on).err().expect("no device");
    assert!(
        matches!(error, TrainError::Gpu(GpuError::Lost { .. })),
        "{error}"
    );
}

#[test]
fn a_buffer_that_is_not_allowed_is_an_error_with_its_name() {
    for gpu in [own(), foreign()] {
        let allowed = gpu.limits().max_buffer_size;
        let buffer = gpu.storage("far too much", allowed.saturating_add(16));
        assert!(buffer.size() < 1 << 20);
        let error = Builder::new(&gpu).build().err().expect("refused");
        assert!(matches!(error, GpuError::BufferTooLarge { .. }), "{error}");
        assert!(error.to_string().contains("`far too much`"), "{error}");
        // Said once; the device is as good as before.
        gpu.wait().unwrap();
        Builder::new(&gpu).build().unwrap();
    }
}

#[test]
fn a_texture_that_is_too_tall_is_an_error_that_says_what_would_fit() {
    let gpu = own();
    let longest = gpu.limits().max_texture_dimension_2d;
    gpu.texture("far too tall", 2, longest + 1);
    let error = Builder::new(&gpu).build().err().expect("refused");
    let GpuError::BufferTooLarge {
        what,
        wanted,
        allowed,
    } = error
    else {
        panic!("{error}");
    };
    let fits = 32 * u64::from(longest);
    assert_eq!((wanted, allowed), (fits + 32, fits));
    assert!(what.contains("`far too tall`"), "{what}");
}

#[test]
fn what_the_device_refuses_is_an_error() {
    for gpu in [own(), foreign()] {
        let buffer = gpu.storage("small", 16);
        gpu.write(&buffer, 8, &[0; 64]);
        let error = gpu.wait().expect_err("a write past the end");
        assert!(matches!(error, GpuError::Validation { .. }), "{error}");
        gpu.wait().unwrap();
        let error = gpu
            .read::<u32>(&buffer, 0, 64)
            .expect_err("a read past the end");
        assert!(matches!(error, GpuError::Validation { .. }), "{error}");
        assert_eq!(gpu.read::<u32>(&buffer, 0, 16).unwrap(), [0; 4]);
    }
}

/// Prediction takes as many images at a time as there is memory for, with the same answer.
#[test]
fn predictions_fit_themselves_to_the_device() {
    let roomy = common::gpu(GpuOptions {
        extras: false,
        ..Default::default()
    });
    let narrow = common::gpu(GpuOptions {
        extras: false,
        limits: Some(wgpu::Limits {
            max_storage_buffer_binding_size: 1 << 20,
            ..Default::default()
        }),
        ..Default::default()
    });
    let config = TrainConfig {
        targets: vec!["conv1".into()],
        resolution: 64,
        ..config()
    };
    let adapter = trainer(&roomy, config, images(4))
        .unwrap()
        .adapter()
        .unwrap();
    let answer = |gpu: &Gpu| {
        let predictor = Predictor::new(gpu, &tiny_backbone(), &adapter).unwrap();
        predictor
            .predict(images(40), Samples::new(3, 1), true)
            .unwrap()
    };
    let (whole, parts) = (answer(&roomy), answer(&narrow));
    assert!(relative_error(&whole.mean, &parts.mean) < 1e-5);
    let trace = |answer: Prediction| answer.covariance_trace.expect("asked for");
    assert!(relative_error(&trace(whole), &trace(parts)) < 1e-5);
}
