//! `plan`: the dispatches of a step or a prediction, what they cost and how long they take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::gpu::{DispatchInfo, Gpu, Plan, Timing};
use bayeslora::low_level::model::{
    AdaptedNetwork, AdapterLayout, AdapterParams, Backbone, BackboneBits, Batch, BatchInput,
    FrozenNetwork, GateMode, KernelChoice, PLAIN_VIEW, Prior, Purpose, StepValues, check_fit,
};
use bayeslora::low_level::predict::{ForwardPlan, ForwardSpec, fitted};
use bayeslora::low_level::train::{
    Adam, StepSpec, TrainStep, Trainable, TrainableState, initial_state,
};
use clap::{Args, ValueEnum};
use half::f16;
use serde::Serialize;

use super::context::{self, Context};
use super::location::Location;
use super::{environment, output, run, tables};

/// Default number of images per batch.
const BATCH: usize = 32;

/// Classes of the head without a run: CIFAR-10's.
const CLASSES: usize = 10;

/// Odd, so that the median is one of them.
const REPEATS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// One training step: forward, backward, AdamW
    Train,
    /// The mean weights; without a run and --rank, the backbone alone
    Forward,
    /// Monte Carlo prediction with --samples
    Predict,
}

#[derive(Args)]
pub struct PlanArgs {
    #[arg(long, value_enum)]
    mode: Mode,
    /// Run every dispatch alone and measure it
    #[arg(long)]
    time: bool,
    /// Use adapter, resolution and batch size of a run
    #[arg(long, value_name = "RUN")]
    #[arg(conflicts_with_all = ["rank", "targets", "resolution", "backbone_bits"])]
    run: Option<PathBuf>,
    /// The frozen backbone: a file of safetensors or PyTorch, or `embedded` [default: the run's, else embedded]
    #[arg(long, value_name = "F")]
    backbone: Option<Location>,
    /// Bits of each weight of the frozen convolutions in GPU memory [default: 32; with --run, the run's]
    #[arg(long, value_name = "8|32")]
    backbone_bits: Option<BackboneBits>,
    /// Ranks of every adapter [default: 8; in forward mode, 0]
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    /// Layers to adapt: names, stages or globs, separated by commas [default: layer3,layer4]
    #[arg(long, value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Images per batch [default: 32; in train mode with --run, the run's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Side of the network's input in pixels [default: 64]
    #[arg(long, value_name = "N")]
    resolution: Option<usize>,
    /// Gate samples per image, in predict mode [default: 8]
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// Start from cached features of the frozen layers instead of images
    #[arg(long)]
    cached: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// What a plan is made of, from a run or from options.
struct Subject {
    backbone: Backbone,
    params: AdapterParams,
    /// `None` where log alpha is not learnt.
    prior: Option<Prior>,
    resolution: usize,
    batch: usize,
    samples: usize,
}

impl PlanArgs {
    fn subject(&self) -> Result<Subject> {
        if self.samples.is_some() && self.mode != Mode::Predict {
            bail!("--samples is for --mode predict; the other modes run each image once");
        }
        let samples = match self.mode {
            Mode::Predict => self.samples.unwrap_or(8),
            _ => 1,
        };
        match &self.run {
            Some(path) => self.of_run(path, samples),
            None => self.of_options(samples),
        }
    }

    fn of_run(&self, path: &Path, samples: usize) -> Result<Subject> {
        let run = run::open(path, self.backbone.as_ref())?;
        let params = fitted(&run.backbone, &run.adapter)?;
        let samples = match (run.adapter.gates, self.samples) {
            (GateDistribution::Weights, None | Some(1)) => 1,
            (GateDistribution::Weights, Some(samples)) => bail!(
                "--samples is {samples}; a run of weight-noise draws its weights once a pass, and every \
                 sample is a pass of its own: leave it out"
            ),
            _ => samples,
        };
        let trained = run.config.batch_size.filter(|_| self.mode == Mode::Train);
        Ok(Subject {
            params,
            prior: run
                .config
                .method
                .learns_noise()
                .then_some(run.config.kl_prior.into()),
            resolution: run.adapter.resolution,
            batch: self.batch_size.or(trained).unwrap_or(BATCH),
            samples,
            backbone: run.backbone,
        })
    }

    fn of_options(&self, samples: usize) -> Result<Subject> {
        let backbone = context::backbone(self.backbone.as_ref().unwrap_or(&"embedded".into()))?;
        let backbone = backbone.in_bits(self.backbone_bits.unwrap_or_default());
        let default = ["layer3".to_owned(), "layer4".to_owned()];
        let targets = self.targets.as_deref().unwrap_or(&default);
        let selected = backbone.resnet.select(targets);
        let (convs, head) = selected.map_err(|error| anyhow!("--targets: {error}"))?;
        let rank = self.rank.unwrap_or(match self.mode {
            Mode::Forward => 0,
            _ => 8,
        });
        let resolution = self.resolution.unwrap_or(64);
        let ids: Vec<u32> = (0..rank as u32).collect();
        let ids = vec![ids; convs.len() + usize::from(head)];
        let layout = AdapterLayout::new(&backbone.resnet, &convs, head, CLASSES, &ids);
        Ok(Subject {
            params: AdapterParams {
                state: initial_state(&layout, 1),
                layout,
                scale: 2.0,
                gates: Some(GateDistribution::Gaussian),
            },
            prior: Some(Prior::Molchanov),
            resolution,
            batch: self.batch_size.unwrap_or(BATCH),
            samples,
            backbone,
        })
    }
}

/// A plan with the buffers that its inputs go into.
struct Built {
    input: BatchInput,
    work: Work,
}

enum Work {
    Train(TrainStep),
    Forward(ForwardPlan),
}

impl Built {
    fn new(network: &FrozenNetwork, subject: &Subject, args: &PlanArgs) -> Result<Self> {
        let (gpu, params) = (&network.gpu, &subject.params);
        let (layout, state) = (&params.layout, &params.state);
        let distribution = params.gates.unwrap_or_default();
        let (cut, size) = (layout.cut(&network.resnet), subject.resolution);
        let rows = subject.batch * subject.samples;
        check_fit(gpu, &network.resnet, cut, size, rows)
            .with_context(|| format!("--batch-size {}", subject.batch))?;
        let input = match args.cached {
            true => BatchInput::Features {
                map: network.resnet.cut_map(cut, size),
            },
            false => BatchInput::Images { side: size, size },
        };
        let work = match args.mode {
            Mode::Train => {
                let state = TrainableState::new(layout.clone(), state.clone());
                let trainable = Trainable::upload(gpu, &state);
                let spec = StepSpec {
                    input: input.clone(),
                    batch: subject.batch,
                    scale: params.scale,
                    distribution,
                    prior: subject.prior,
                    kappa: &|_| 1.0,
                    slots: 1,
                    draw_gates: true,
                    adam: Adam::default(),
                };
                TrainStep::new(network, &trainable, &spec).map(Work::Train)
            }
            Mode::Forward | Mode::Predict => {
                let parameters = gpu.storage_with("parameters", &layout.pack(state));
                let spec = ForwardSpec {
                    input: input.clone(),
                    examples: subject.batch,
                    samples: subject.samples,
                    distribution,
                    trace: false,
                    features: false,
                    last_map: false,
                };
                let adapted = AdaptedNetwork {
                    network,
                    layout,
                    parameters: &parameters,
                    scale: params.scale,
                };
                ForwardPlan::new(adapted, spec).map(Work::Forward)
            }
        };
        let work = work.with_context(|| format!("--batch-size {}", subject.batch))?;
        Ok(Self { input, work })
    }

    fn plan(&self) -> &Plan {
        match &self.work {
            Work::Train(step) => step.plan(),
            Work::Forward(forward) => forward.plan(),
        }
    }

    /// Median times of every dispatch, after one run of everything with sensible inputs.
    fn time(&self, gpu: &Gpu, subject: &Subject, mode: Mode) -> Result<Vec<Timing>> {
        let examples: Vec<u32> = (0..subject.batch as u32).collect();
        let gates = match mode {
            Mode::Forward => GateMode::Mean,
            _ => GateMode::PerExample,
        };
        let mut values = StepValues::prediction(1, 0, gates);
        match &self.work {
            Work::Train(step) => {
                (values.purpose, values.count) = (Purpose::Train, subject.batch);
                fill(&step.batch, &self.input, subject.batch);
                step.run(&vec![0; subject.batch], &examples, &values);
            }
            Work::Forward(forward) => {
                fill(&forward.batch, &self.input, subject.batch);
                forward.run(&examples, &values)?;
            }
        }
        gpu.wait()?;
        let runs = (0..REPEATS).map(|_| self.plan().time());
        let runs: Vec<_> = runs.collect::<Result<_, _>>()?;
        let median = |dispatch: usize| {
            let mut times: Vec<Timing> = runs.iter().map(|run| run[dispatch]).collect();
            times.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            times[REPEATS / 2]
        };
        Ok((0..self.plan().dispatches().len()).map(median).collect())
    }
}

/// Grey images under the plain view, or zero features; times do not depend on values.
fn fill(batch: &Batch, input: &BatchInput, rows: usize) {
    match input {
        BatchInput::Images { side, .. } => {
            batch.write_images(&vec![128; rows * side * side * 3], &vec![PLAIN_VIEW; rows]);
        }
        BatchInput::Features { map } => {
            batch.write_features(&vec![&vec![f16::ZERO; map.floats()][..]; rows]);
        }
        _ => unreachable!("a plan has inputs of its own"),
    }
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    mode: Mode,
    adapter: String,
    batch_size: usize,
    samples: usize,
    resolution: usize,
    cached: bool,
    rank_count: usize,
    /// `gpu` (timestamps, one pass per dispatch), `host` (around each submission), null if untimed.
    clock: Option<&'static str>,
    total: Cost,
    /// Peak memory of activations, buffers shared by liveness.
    transient_bytes: u64,
    /// The frozen backbone.
    weight_bytes: u64,
    backbone_bits: BackboneBits,
    /// Adapters and head; in train mode gradients and both moments too.
    parameter_bytes: u64,
    /// The most expensive first.
    kernels: Vec<KernelCost>,
    dispatches: Vec<DispatchCost>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Cost {
    dispatches: usize,
    /// Executed, padding skipped.
    flops: u64,
    bytes: u64,
    seconds: Option<f64>,
}

impl Cost {
    fn add(&mut self, info: &DispatchInfo, timing: Option<&Timing>) {
        self.dispatches += 1;
        self.flops += info.flops;
        self.bytes += info.bytes;
        if let Some(timing) = timing {
            *self.seconds.get_or_insert(0.0) += timing.seconds;
        }
    }

    /// Milliseconds and GFLOP/s, empty where not measured.
    fn measured(&self) -> [String; 2] {
        measured(self.flops, self.seconds)
    }
}

#[derive(Serialize)]
struct KernelCost {
    kernel: String,
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Serialize)]
struct DispatchCost {
    #[serde(flatten)]
    info: DispatchInfo,
    seconds: Option<f64>,
    gflop_per_second: Option<f64>,
}

pub fn run(context: &Context, args: &PlanArgs) -> Result<()> {
    let subject = args.subject()?;
    let gpu = context.gpu()?;
    let kernels = KernelChoice::for_gpu(&gpu);
    let network = FrozenNetwork::new(&gpu, kernels, &subject.backbone);
    let built = Built::new(&network, &subject, args)?;
    let times = match args.time {
        true => Some(built.time(&gpu, &subject, args.mode)?),
        false => None,
    };
    let report = report(args, &subject, &network, built.plan(), times.as_deref());
    match args.json {
        true => output::json(&report),
        false => output::text(&describe(&report)),
    }
}

fn report(
    args: &PlanArgs,
    subject: &Subject,
    network: &FrozenNetwork,
    plan: &Plan,
    times: Option<&[Timing]>,
) -> Report {
    let mut total = Cost::default();
    let mut kernels: BTreeMap<&str, Cost> = BTreeMap::new();
    let mut dispatches = Vec::new();
    for (place, info) in plan.dispatches().iter().enumerate() {
        let timing = times.map(|times| &times[place]);
        total.add(info, timing);
        kernels.entry(&info.kernel).or_default().add(info, timing);
        let seconds = timing.map(|timing| timing.seconds);
        dispatches.push(DispatchCost {
            info: info.clone(),
            seconds,
            gflop_per_second: seconds.and_then(|seconds| rate(info.flops, seconds)),
        });
    }
    let mut kernels: Vec<KernelCost> = kernels
        .into_iter()
        .map(|(kernel, cost)| KernelCost {
            kernel: kernel.into(),
            cost,
        })
        .collect();
    let dearness = |cost: &Cost| cost.seconds.unwrap_or(cost.flops as f64);
    kernels.sort_by(|a, b| dearness(&b.cost).total_cmp(&dearness(&a.cost)));
    let copies = if args.mode == Mode::Train { 4 } else { 1 };
    Report {
        mode: args.mode,
        adapter: environment::adapter_line(&network.gpu),
        batch_size: subject.batch,
        samples: subject.samples,
        resolution: subject.resolution,
        cached: args.cached,
        rank_count: subject.params.layout.total_rank(),
        clock: times
            .and_then(|times| times.first())
            .map(|timing| if timing.gpu_clock { "gpu" } else { "host" }),
        total,
        transient_bytes: plan.transient_bytes(),
        weight_bytes: network.bytes(),
        backbone_bits: network.bits,
        parameter_bytes: copies * 4 * subject.params.layout.len as u64,
        kernels,
        dispatches,
    }
}

/// GFLOP/s, where there is anything to count.
fn rate(flops: u64, seconds: f64) -> Option<f64> {
    (flops > 0 && seconds > 0.0).then(|| flops as f64 / seconds * 1e-9)
}

fn measured(flops: u64, seconds: Option<f64>) -> [String; 2] {
    let milliseconds = seconds.map_or(String::new(), |seconds| format!("{:.3}", seconds * 1e3));
    let rate = seconds.and_then(|seconds| rate(flops, seconds));
    [
        milliseconds,
        rate.map_or(String::new(), |rate| format!("{rate:.1}")),
    ]
}

fn describe(report: &Report) -> String {
    let timed = report.clock.is_some();
    let mega = |count: u64| format!("{:.2}", count as f64 * 1e-6);
    let header = |first: &[&'static str]| -> Vec<&'static str> {
        let columns = first.iter().chain(&["MFLOP", "MB"]);
        let times = ["ms", "GFLOP/s"];
        columns
            .chain(times.iter().filter(|_| timed))
            .copied()
            .collect()
    };
    let cells = |first: Vec<String>, flops: u64, bytes: u64, times: [String; 2]| {
        let costs = [mega(flops), mega(bytes)];
        let times = times.into_iter().filter(|_| timed);
        first
            .into_iter()
            .chain(costs)
            .chain(times)
            .collect::<Vec<_>>()
    };

    let first = ["#", "dispatch", "kernel", "grid"];
    let mut dispatches = tables::new(&header(&first), &[0, 3, 4, 5, 6, 7]);
    for (number, DispatchCost { info, seconds, .. }) in report.dispatches.iter().enumerate() {
        let [x, y] = info.grid;
        let grid = if y == 1 {
            x.to_string()
        } else {
            format!("{x}x{y}")
        };
        let first = vec![
            number.to_string(),
            info.label.clone(),
            info.kernel.clone(),
            grid,
        ];
        dispatches.add_row(cells(
            first,
            info.flops,
            info.bytes,
            measured(info.flops, *seconds),
        ));
    }
    let mut kernels = tables::new(&header(&["kernel", "dispatches"]), &[1, 2, 3, 4, 5]);
    let total = KernelCost {
        kernel: "all".into(),
        cost: report.total,
    };
    for KernelCost { kernel, cost } in report.kernels.iter().chain([&total]) {
        let first = vec![kernel.clone(), cost.dispatches.to_string()];
        kernels.add_row(cells(first, cost.flops, cost.bytes, cost.measured()));
    }
    format!(
        "{}\n{}\n{}\n\n{}\n\nmemory: {} transient at the peak, {} frozen weights{}, {} parameters{}",
        title(report),
        report.adapter,
        dispatches.trim_fmt(),
        kernels.trim_fmt(),
        output::bytes(report.transient_bytes),
        output::bytes(report.weight_bytes),
        match report.backbone_bits.is_full() {
            true => String::new(),
            false => format!(" of {} bits", report.backbone_bits),
        },
        output::bytes(report.parameter_bytes),
        clock(report.clock)
    )
}

fn title(report: &Report) -> String {
    let what = match report.mode {
        Mode::Train => "one training step",
        Mode::Forward => "forward pass",
        Mode::Predict => "prediction",
    };
    let samples = match report.mode {
        Mode::Predict => format!(" x {} samples", report.samples),
        _ => String::new(),
    };
    let input = if report.cached {
        "cached features"
    } else {
        "images"
    };
    format!(
        "{what}: {} {input}{samples} at {} pixels, {} ranks",
        report.batch_size, report.resolution, report.rank_count
    )
}

fn clock(clock: Option<&str>) -> String {
    match clock {
        None => String::new(),
        Some("gpu") => format!(
            "\ntimes: GPU timestamps around each dispatch in a pass of its own, median of {REPEATS}"
        ),
        Some(_) => format!(
            "\ntimes: the host's clock around each dispatch submitted alone, median of {REPEATS}; \
             a plan in one submission takes less than their sum"
        ),
    }
}
