//! The whole steps and the single convolutions of `bayeslora bench`, for criterion: each run is
//! compared with the one before, `cargo bench -- --save-baseline NAME` keeps one,
//! `cargo bench -- TEXT` measures a part.

use std::time::Duration;

use bayeslora::low_level::bench::{Settings, Step, Subject, Work, conv_shapes};
use bayeslora::low_level::gpu::{Gpu, GpuOptions, prepare_environment};
use criterion::{Criterion, SamplingMode, Throughput};

fn main() {
    // SAFETY: no other thread runs yet.
    unsafe { prepare_environment() };
    let gpu = Gpu::open(GpuOptions::default()).expect("an adapter; `sh setup.sh` installs one");
    let subject = Subject::new(&gpu, Settings::default()).expect("the embedded backbone");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .configure_from_args();
    steps(&mut criterion, &subject);
    convolutions(&mut criterion, &subject);
    criterion.final_summary();
}

/// Elements are images.
fn steps(criterion: &mut Criterion, subject: &Subject) {
    let mut group = criterion.benchmark_group("steps");
    group
        .sampling_mode(SamplingMode::Flat)
        .measurement_time(Duration::from_secs(4))
        .throughput(Throughput::Elements(subject.settings.batch as u64));
    for work in Work::ALL {
        let step = Step::new(subject, work).expect("a plan");
        group.bench_function(work.name(), |bencher| {
            bencher.iter(|| step.run().expect("the GPU works"));
        });
    }
}

/// Elements are floating-point operations executed.
fn convolutions(criterion: &mut Criterion, subject: &Subject) {
    let step = Step::new(subject, Work::Train).expect("a plan");
    step.run().expect("the GPU works");
    let mut group = criterion.benchmark_group("convolutions");
    group
        .sampling_mode(SamplingMode::Flat)
        .measurement_time(Duration::from_secs(1));
    for shape in conv_shapes(subject, &step) {
        group.throughput(Throughput::Elements(shape.flops));
        group.bench_function(&shape.name, |bencher| {
            bencher.iter_custom(|runs| {
                let one = || shape.time(&step).expect("the GPU works")[0];
                Duration::from_secs_f64((0..runs).map(|_| one()).sum())
            });
        });
    }
}
