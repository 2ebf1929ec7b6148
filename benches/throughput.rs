//! Images per second of whole steps, and where their time goes, on the best adapter.
//!
//! `cargo bench` prints, for ResNet-18 at 64x64, batch 32, rank 8 on layer3 and layer4: the forward
//! pass, the training step from images and from cached features, and the 8-sample predictive.
//! Medians of repeated runs, the host's part included; images are uploaded in every run.

use std::collections::BTreeMap;
use std::time::Instant;

use bayeslora::gpu::{Gpu, GpuOptions, Plan, prepare_environment};
use bayeslora::model::{
    AdapterLayout, Backbone, Batch, BatchInput, FrozenNetwork, GateMode, KernelChoice, PLAIN_VIEW,
    Prior, Purpose, StepValues,
};
use bayeslora::predict::{ForwardPlan, ForwardSpec};
use bayeslora::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState, initial_state};

const BATCH: usize = 32;
const RANK: u32 = 8;
const SIZE: usize = 64;
const SIDE: usize = 32;
const SCALE: f32 = 2.0;
const RUNS: usize = 15;

fn main() {
    prepare_environment();
    let gpu = Gpu::open(GpuOptions::default()).expect("an adapter");
    let info = gpu.info();
    println!(
        "{} ({}, {}), batch {BATCH}, rank {RANK}\n",
        info.name, info.backend, info.driver_info
    );
    let backbone = Backbone::embedded().expect("the embedded backbone");
    let resnet = &backbone.resnet;
    let targets = ["layer3".to_owned(), "layer4".to_owned()];
    let (convs, head) = resnet.select(&targets).expect("layers of a ResNet-18");
    let kernels = KernelChoice::for_gpu(&gpu);
    let network = FrozenNetwork::upload(&gpu, kernels, &backbone, convs.first().copied());
    let layout = |rank: u32| {
        AdapterLayout::new(
            resnet,
            &convs,
            head,
            10,
            &vec![(0..rank).collect(); convs.len()],
        )
    };
    let cut = resnet.cut(&convs);
    let images = BatchInput::Images {
        side: SIDE,
        size: SIZE,
    };
    let features = BatchInput::Features {
        map: resnet.cut_map(cut, SIZE),
    };

    for (name, input) in [
        ("training step", images.clone()),
        ("training step, cached", features),
    ] {
        let layout = layout(RANK);
        let state = TrainableState::new(&layout, initial_state(&layout, 1));
        let trainable = Trainable::upload(&gpu, layout, &state);
        let spec = StepSpec {
            cut,
            input: input.clone(),
            batch: BATCH,
            chunk: BATCH,
            scale: SCALE,
            prior: Some(Prior::Molchanov),
            kappa: &|_| 1.0,
            slots: 1,
            draw_gates: true,
            adam: Adam::default(),
        };
        let step = TrainStep::new(&network, &trainable, &spec).expect("a plan");
        let values = StepValues {
            purpose: Purpose::Train,
            count: BATCH,
            learning_rate: 1e-3,
            correction1: 0.1,
            correction2: 0.03,
            ..StepValues::prediction(1, 0, GateMode::PerExample)
        };
        report(name, step.plan(), || {
            upload(&step.batch, &input);
            step.run(&[3; BATCH], &[7; BATCH], &values);
            gpu.wait().expect("the GPU works");
        });
    }
    for (name, rank, samples) in [("forward", 0, 1), ("8-sample predictive", RANK, 8)] {
        let layout = layout(rank);
        let parameters = gpu.storage_with("", &layout.pack(&initial_state(&layout, 1)));
        let (trace, examples) = (false, BATCH);
        let spec = ForwardSpec {
            cut,
            input: images.clone(),
            examples,
            samples,
            scale: SCALE,
            trace,
        };
        let plan = ForwardPlan::new(&network, &layout, &parameters, spec).expect("a plan");
        let values = StepValues::prediction(1, 0, GateMode::PerExample);
        report(name, plan.plan(), || {
            upload(&plan.batch, &images);
            plan.run(&[7; BATCH], &values).expect("the GPU works");
        });
    }
}

fn upload(batch: &Batch, input: &BatchInput) {
    match input {
        BatchInput::Images { side, .. } => {
            batch.write_images(&vec![100; BATCH * side * side * 3], &[PLAIN_VIEW; BATCH]);
        }
        BatchInput::Features { map } => {
            batch.write_features(&vec![half::f16::ONE; map.floats() * BATCH]);
        }
        BatchInput::Resident { .. } => unreachable!("the bench uploads"),
    }
}

/// Times a run as a whole, then each dispatch alone, by kernel.
fn report(name: &str, plan: &Plan, run: impl Fn()) {
    run();
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[RUNS / 2];
    println!(
        "{name:<24} {:>6.0} images/s   {:>6.1} ms (best {:.1}), {:.0} MB",
        BATCH as f64 / median,
        1e3 * median,
        1e3 * seconds[0],
        plan.transient_bytes() as f64 / 1e6
    );
    let mut kernels: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    let times = plan.time().expect("the GPU works");
    for (dispatch, time) in plan.dispatches().iter().zip(times) {
        let total = kernels.entry(&dispatch.kernel).or_default();
        *total = (total.0 + time.seconds, total.1 + dispatch.flops);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    for (kernel, (seconds, flops)) in kernels.into_iter().take(5) {
        let speed = flops as f64 / seconds / 1e9;
        println!(
            "    {kernel:<26} {:>7.2} ms {speed:>7.1} GFLOP/s",
            1e3 * seconds
        );
    }
    println!();
}
