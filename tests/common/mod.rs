//! What the GPU tests share.
#![allow(dead_code, reason = "no test binary uses every helper")]

use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::model::{ConvKernel, KernelChoice, ProductKernel, Tile};

/// A device on the default adapter.
pub fn gpu(options: GpuOptions) -> Gpu {
    // SAFETY: tests set no variable of their own process, and what their threads read of it is Rust's, behind a lock.
    unsafe { bayeslora::low_level::gpu::prepare_environment() };
    Gpu::open(options).expect("an adapter; `sh setup.sh` installs the software one")
}

/// The plain kernels, and what suits a device where it is something else.
pub fn kernel_choices(gpu: &Gpu) -> Vec<KernelChoice> {
    let best = KernelChoice::for_gpu(gpu);
    let mut all = vec![KernelChoice::PLAIN];
    all.extend(best.textured().then_some(best));
    all
}

/// What suits GPUs, in tiles though the shapes of tests do not fill them.
pub fn tiled() -> KernelChoice {
    let [.., smallest] = Tile::ALL;
    KernelChoice {
        conv: Some(ConvKernel::Direct(ProductKernel::Tiled(smallest))),
        ..KernelChoice::TILED
    }
}

/// Largest difference relative to the largest element; NaN anywhere is infinite.
pub fn relative_error(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len(), "lengths");
    let largest = expected
        .iter()
        .fold(0f64, |max, value| max.max(f64::from(value.abs())));
    let difference = |(a, b): (&f32, &f32)| f64::from(*a) - f64::from(*b);
    let error = expected
        .iter()
        .zip(found)
        .map(difference)
        .fold(0f64, |max, d| match d.is_nan() {
            true => f64::INFINITY,
            false => max.max(d.abs()),
        });
    error / largest.max(f64::MIN_POSITIVE)
}
