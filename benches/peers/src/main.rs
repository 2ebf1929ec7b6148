//! burn on the work of `bayeslora bench`: ResNet-18 with rank-8 adapters on layer3 and layer4, on
//! burn's wgpu backend with fusion and autotune. Forward pass of the backbone, and training steps
//! (adapters, gates and head by AdamW) from images.

mod model;

use std::time::Instant;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};
use clap::Parser;
use model::{CLASSES, Frozen, Trained};

#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Images of a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Side of the network's input in pixels
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Ranks of every adapter
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// Runs of each step after the ones that tune; the median counts
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Run on burn's CPU adapter (llvmpipe) instead of its default device
    #[arg(long)]
    cpu: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs that compile, tune and warm up; their times are shown and not counted.
const WARM_UP: usize = 3;

fn main() {
    let args = Args::parse();
    let device = Device::wgpu(match args.cpu {
        true => DeviceKind::Cpu,
        false => DeviceKind::DefaultDevice,
    });
    let side = args.size;
    let pixels: Vec<f32> = (0..args.batch * 3 * side * side)
        .map(|i| (i % 251) as f32 / 125.0 - 1.0)
        .collect();
    let upload = |device: &Device| {
        let data = TensorData::new(pixels.clone(), [args.batch, 3, side, side]);
        Tensor::<4>::from_data(data, device)
    };

    let frozen = Frozen::new(&device);
    let head = Trained::new(args.rank, &device);
    let forward = measure(&args, "forward", || {
        let logits = head.classify(frozen.features(upload(&device), None));
        let _ = logits.into_data();
    });

    let training = device.clone().autodiff();
    let frozen = Frozen::new(&training);
    let mut trained = Some(Trained::new(args.rank, &training));
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let loss = CrossEntropyLossConfig::new().init(&training);
    let labels = vec![3i32; args.batch];
    let train = measure(&args, "train", || {
        let model = trained.take().expect("put back below");
        let targets = TensorData::new(labels.clone(), [args.batch]);
        let targets = Tensor::<1, Int>::from_data(targets, &training);
        let logits = model.classify(frozen.features(upload(&training), Some(&model)));
        let loss = loss.forward(logits, targets);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        trained = Some(optimizer.step(1e-4, model, gradients));
        training.sync().expect("the device works");
    });

    let parameters = trained.expect("put back above").num_params();
    let report = serde_json::json!({
        "engine": "burn 0.22, wgpu, fusion, autotune",
        "batch": args.batch,
        "size": side,
        "rank": args.rank,
        "runs": args.runs,
        "trained_parameters": parameters,
        "forward_images_per_second": forward,
        "train_images_per_second": train,
    });
    match args.json {
        true => println!("{report}"),
        false => println!(
            "{}, batch {}, {side}x{side}, {CLASSES} classes\nforward {forward:.1} images/s\n\
             train   {train:.1} images/s",
            report["engine"].as_str().unwrap_or_default(),
            args.batch,
        ),
    }
}

/// Images a second, the median of the runs. Says on standard error how it goes: tuning may take minutes.
fn measure(args: &Args, what: &str, mut run: impl FnMut()) -> f64 {
    let mut time = |number: usize| {
        let start = Instant::now();
        run();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{what}, run {number}: {seconds:.3} s");
        seconds
    };
    for number in 1..=WARM_UP {
        time(number);
    }
    let mut seconds: Vec<f64> = (1..=args.runs.max(1)).map(&mut time).collect();
    seconds.sort_by(f64::total_cmp);
    args.batch as f64 / seconds[seconds.len() / 2]
}
