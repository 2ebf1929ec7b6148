//! Devices that an application has opened, and the application's own work on them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bayeslora::low_level::gpu::{
    AdapterChoice, Adapters, Gpu, GpuError, GpuOptions, Precision, Shortfall,
};
use bayeslora::low_level::model::KernelChoice;
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::wgpu;
use pollster::block_on;

use super::subject::{ADAPTER, config, go_on, images, trainer};
use crate::common;
use crate::properties::tiny_backbone;

fn adapter() -> wgpu::Adapter {
    // SAFETY: tests set no variable of their own process, and what their threads read of it is Rust's, behind a lock.
    unsafe { bayeslora::low_level::gpu::prepare_environment() };
    let all = block_on(Adapters::enumerate(GpuOptions::default().backends));
    all.choose(&AdapterChoice::Best).unwrap()
}

fn device(features: wgpu::Features, limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: limits,
        ..Default::default()
    };
    block_on(adapter().request_device(&descriptor)).unwrap()
}

#[test]
fn a_recommended_device_is_as_good_as_our_own() {
    let (features, limits) = Gpu::recommended(&adapter());
    let (device, queue) = device(features, limits);
    let (gpu, shortfalls) = Gpu::from_device(device, queue, GpuOptions::default()).unwrap();
    assert_eq!(shortfalls, []);
    let (own, second) = (
        common::gpu(GpuOptions::default()),
        Gpu::open_on(&adapter(), GpuOptions::default()).unwrap(),
    );
    let kernels = KernelChoice::for_gpu(&own);
    assert_eq!(KernelChoice::for_gpu(&gpu), kernels);
    assert_eq!(KernelChoice::for_gpu(&second), kernels);
    let answer = |gpu: &Gpu| {
        let predictor = Predictor::new(gpu, &tiny_backbone(), &ADAPTER).unwrap();
        let source = Source::images(images(5), 32);
        predictor
            .log_probs(&source, Samples::new(3, 1), &mut |_| ())
            .unwrap()
    };
    let expected = answer(&own);
    assert!(answer(&gpu) == expected && answer(&second) == expected);
}

#[test]
fn what_slows_a_device_down_is_said() {
    let (device, queue) = device(wgpu::Features::empty(), wgpu::Limits::default());
    let options = GpuOptions {
        precision: Precision::F16,
        cache: Some(tempfile::tempdir().unwrap().path().to_owned()),
        ..Default::default()
    };
    let (gpu, shortfalls) = Gpu::from_device(device, queue, options).unwrap();
    assert_eq!(gpu.options().precision, Precision::F16, "options are kept");
    let mut expected = vec![Shortfall::F16, Shortfall::PipelineCache];
    if gpu.is_software() {
        expected.insert(0, Shortfall::Subgroups);
        expected.insert(1, Shortfall::StorageTextures { has: 4 });
    }
    assert_eq!(shortfalls, expected);
    for shortfall in shortfalls {
        assert!(
            shortfall
                .to_string()
                .starts_with("the device was opened with")
        );
    }
}

#[test]
fn a_device_that_no_kernel_fits_is_refused() {
    let limits = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 4,
        ..wgpu::Limits::default()
    };
    let (device, queue) = device(wgpu::Features::empty(), limits);
    let error = Gpu::from_device(device, queue, GpuOptions::default()).err();
    let error = error.expect("too few buffers");
    assert!(
        matches!(
            error,
            GpuError::Limit {
                has: 4,
                needs: 8,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("max_storage_buffers_per_shader_stage = 4")
    );
}

/// A thread that waits must not keep another from the device: wgpu's own waits hold locks that dropping a texture asks for.
#[test]
fn an_application_gets_on_while_the_library_waits() {
    // llvmpipe computes within the call that submits.
    let gpu = common::gpu(GpuOptions {
        submission: Some(Duration::from_millis(2)),
        ..Default::default()
    });
    let predictor = Predictor::new(&gpu, &tiny_backbone(), &ADAPTER).unwrap();
    let source = Source::images(images(256), 32);
    let done = AtomicBool::new(false);
    let frames = thread::scope(|scope| {
        scope.spawn(|| {
            predictor
                .log_probs(&source, Samples::new(32, 1), &mut |_| ())
                .unwrap();
            done.store(true, Ordering::Relaxed);
        });
        let mut frames = 0;
        while !done.load(Ordering::Relaxed) {
            drop(gpu.texture("a frame", 16, 16));
            let buffer = gpu.storage_with("its vertices", &[0.0f32; 64]);
            gpu.submit(
                || "a frame".into(),
                |encoder| encoder.clear_buffer(&buffer, 0, None),
            );
            frames += 1;
            thread::sleep(Duration::from_millis(1));
        }
        frames
    });
    // 64 waits for a pass of 128 rows: where each kept the others out there were about as many frames.
    // A GPU may be done before as many are drawn.
    assert!(frames > 200 || !gpu.is_software(), "{frames} frames");
}

/// Short submissions change no result.
#[test]
fn a_renderer_gets_its_turn_between_submissions() {
    let short = common::gpu(GpuOptions {
        submission: Some(Duration::from_millis(2)),
        ..Default::default()
    });
    let layers = |gpu: &Gpu| {
        let mut trainer = trainer(gpu, config());
        trainer.next_epoch(&mut go_on).unwrap();
        trainer.adapter().unwrap().layers
    };
    let long = common::gpu(GpuOptions::default());
    assert_eq!(layers(&short), layers(&long));
}
