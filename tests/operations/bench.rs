//! The devices, the layout's conversion, and the comparison.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use bayeslora::low_level::gpu::{DispatchInfo, Gpu, GpuOptions, Plan, Slot};
use bayeslora::low_level::model::{ConvKernel, Graph, KernelChoice, Map, ProductKernel, Tensor};
use bayeslora::wgpu;

use crate::common;
use crate::reference::tensor::Tensor as Twin;

/// Largest error of a sum of products, relative to the largest element of the result.
///
/// Rounding n products and their partial sums errs by about sqrt(n) 2^-24 of the sum's own size, and
/// the largest element is at least as large as a typical sum. The longest sums here have some 700
/// terms, and real errors stay below 1e-6.
pub const SUM: f64 = 2e-6;

/// A few roundings of each element, no sum.
pub const ROUNDING: f64 = 3e-7;

/// Copies, maxima, zeros.
pub const EXACT: f64 = 0.0;

/// Written behind and before the range that an operation may write.
const SENTINEL: f32 = 12345.678;

/// f32s on each side of an external range; the alignment of a binding. The one behind is bound too, since
/// llvmpipe drops what goes past a binding.
const MARGIN: usize = 64;

/// A device and the kernels to run on it.
#[derive(Clone)]
pub struct Setup {
    pub name: String,
    pub gpu: Gpu,
    pub kernels: KernelChoice,
}

struct Devices {
    default: Gpu,
    checked: Gpu,
    bare: Gpu,
}

fn open(options: GpuOptions) -> Gpu {
    common::gpu(GpuOptions {
        poison: true,
        ..options
    })
}

static DEVICES: LazyLock<Devices> = LazyLock::new(|| Devices {
    default: open(GpuOptions::default()),
    checked: open(GpuOptions {
        runtime_checks: true,
        ..Default::default()
    }),
    bare: open(GpuOptions {
        extras: false,
        ..Default::default()
    }),
});

/// The default device of this binary.
pub fn default_gpu() -> Gpu {
    DEVICES.default.clone()
}

/// The one with WebGPU's default limits and no feature.
pub fn bare_gpu() -> Gpu {
    DEVICES.bare.clone()
}

/// A device that allows few workgroups a dimension and small bindings.
pub fn lowered_gpu(workgroups: u32, binding: u64) -> Gpu {
    static LOWERED: LazyLock<Mutex<HashMap<(u32, u64), Gpu>>> = LazyLock::new(Mutex::default);
    let mut lowered = LOWERED.lock().unwrap();
    let new = || {
        open(GpuOptions {
            limits: Some(wgpu::Limits {
                max_compute_workgroups_per_dimension: workgroups,
                max_storage_buffer_binding_size: binding,
                ..default_gpu().limits()
            }),
            ..Default::default()
        })
    };
    lowered
        .entry((workgroups, binding))
        .or_insert_with(new)
        .clone()
}

/// Every device with the kernels it takes and the plain ones, the default one also with `variants`;
/// grids fold at `fold` workgroups.
pub fn setups(fold: u32, variants: &[KernelChoice]) -> Vec<Setup> {
    let lowered = lowered_gpu(fold, 2 << 20);
    let devices = [
        ("default", &DEVICES.default),
        ("runtime checks", &DEVICES.checked),
        ("default limits", &DEVICES.bare),
        ("lowered limits", &lowered),
    ];
    let mut all = Vec::new();
    for (device, gpu) in devices {
        let mut choices = common::kernel_choices(gpu);
        if device == "default" {
            choices.extend(variants);
        }
        for kernels in choices {
            let [(_, conv), (_, low_rank)] = kernels.describe();
            all.push(Setup {
                name: format!("{device}; {conv}; {low_rank}"),
                gpu: gpu.clone(),
                kernels,
            });
        }
    }
    all
}

/// What one float of the engine's memory should hold.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    Value(f64),
    /// A padding lane: zero.
    Padding,
    /// Between two tensors: as it was before.
    Untouched,
}

/// `[N,C,H,W]` or `[N,C]` to `[position][row][channel quads]`.
pub fn map_lanes(x: &Twin) -> Vec<Lane> {
    let x = match x.shape.len() {
        2 => x.reshaped(&[x.shape[0], x.shape[1], 1, 1]),
        _ => x.clone(),
    };
    let [rows, channels, height, width] = x.dims4();
    let mut lanes = Vec::new();
    for position in 0..height * width {
        for row in 0..rows {
            for channel in 0..channels.next_multiple_of(4) {
                lanes.push(match channel < channels {
                    true => Lane::Value(x.at(&[row, channel, position / width, position % width])),
                    false => Lane::Padding,
                });
            }
        }
    }
    lanes
}

/// PEFT's A `[rank,in,k,k]`, or its gradient, to `[rank][tap][channel quads]`.
pub fn a_lanes(a: &Twin) -> Vec<Lane> {
    let [rank, inputs, kernel, _] = a.dims4();
    let mut lanes = Vec::new();
    for i in 0..rank {
        for tap in 0..kernel * kernel {
            for c in 0..inputs.next_multiple_of(4) {
                lanes.push(match c < inputs {
                    true => Lane::Value(a.at(&[i, c, tap / kernel, tap % kernel])),
                    false => Lane::Padding,
                });
            }
        }
    }
    lanes
}

/// PEFT's B `[out,rank]`, or its gradient, to `[rank][channel quads]`.
pub fn b_lanes(b: &Twin) -> Vec<Lane> {
    let [outputs, rank] = b.dims2();
    let a = Twin::from_fn(&[rank, outputs, 1, 1], |i| {
        b.at(&[i % outputs, i / outputs])
    });
    a_lanes(&a)
}

/// One vector, padded to quads.
pub fn vector_lanes(values: &[f64]) -> Vec<Lane> {
    map_lanes(&Twin::new(&[1, values.len()], values.to_vec()))
}

pub fn values(values: &[f64]) -> Vec<Lane> {
    values.iter().copied().map(Lane::Value).collect()
}

/// As uploaded, padding zero.
pub fn floats(lanes: &[Lane]) -> Vec<f32> {
    lanes
        .iter()
        .map(|lane| match lane {
            Lane::Value(value) => *value as f32,
            Lane::Padding => 0.0,
            Lane::Untouched => f32::NAN,
        })
        .collect()
}

/// The map of a twin `[N,C,H,W]` or `[N,C]`.
pub fn map_of(x: &Twin) -> Map {
    match x.shape[..] {
        [_, channels, height, width] => Map {
            height,
            width,
            channels,
        },
        [_, channels] => Map::vector(channels),
        _ => panic!("{:?} is no map", x.shape),
    }
}

/// A range of a larger buffer that an operation writes.
#[derive(Clone)]
pub struct Target {
    pub slot: Slot,
    pub buffer: wgpu::Buffer,
    before: Vec<f32>,
}

impl Target {
    fn read(&self, gpu: &Gpu) -> Vec<f32> {
        let all: Vec<f32> = gpu.read(&self.buffer, 0, self.buffer.size()).unwrap();
        let end = MARGIN + self.before.len();
        let outside = all[..MARGIN].iter().chain(&all[end..]);
        assert!(
            outside.into_iter().all(|value| *value == SENTINEL),
            "a dispatch wrote outside its range"
        );
        all[MARGIN..end].to_vec()
    }
}

enum Place {
    Plan(Slot),
    Target(Target),
}

struct Expectation {
    name: String,
    place: Place,
    lanes: Vec<Lane>,
    tolerance: f64,
}

/// One case on one setup: records a plan and what it should give.
pub struct Bench {
    pub setup: Setup,
    pub graph: Graph,
    expectations: Vec<Expectation>,
    targets: Vec<Target>,
}

impl Bench {
    fn new(setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            graph: Graph::new(&setup.gpu, setup.kernels),
            expectations: Vec::new(),
            targets: Vec::new(),
        }
    }

    pub fn gpu(&self) -> &Gpu {
        &self.setup.gpu
    }

    /// [`SUM`] for convolutions by this setup's kernels, which may round their operands. Errors of u
    /// in each operand leave about sqrt(2 n) u of a product's size in a sum of n, whose own size is
    /// about sqrt(n) of it: u of the largest element whatever n, and four times that at worst.
    pub fn sum(&self) -> f64 {
        SUM + 4.0 * self.setup.kernels.roundoff().unwrap_or(0.0)
    }

    /// Values between NaNs: a read outside shows.
    pub fn data(&mut self, values: &[f32]) -> Slot {
        let margin = vec![f32::NAN; MARGIN];
        let all = [&margin[..], values, &margin[..]].concat();
        let buffer = self.gpu().storage_with("test input", &all);
        let bytes = (values.len() + MARGIN) as u64 * 4;
        let builder = &mut self.graph.builder;
        builder.buffer_range("test input", &buffer, MARGIN as u64 * 4, bytes)
    }

    pub fn words(&mut self, values: &[u32]) -> Slot {
        let mut padded = values.to_vec();
        padded.resize(values.len().next_multiple_of(4), 0);
        self.data(bytemuck::cast_slice(&padded))
    }

    pub fn lanes(&mut self, lanes: &[Lane]) -> Slot {
        self.data(&floats(lanes))
    }

    /// A twin's tensor as an operation's input: a feature map.
    pub fn input(&mut self, x: &Twin) -> Tensor {
        match self.graph.kernels.textured() {
            true => {
                let data = floats(&map_lanes(x));
                self.graph
                    .constant("test input", map_of(x), x.shape[0], &data)
            }
            false => self.buffer_input(x),
        }
    }

    /// The same for what is in a buffer whatever the kernels: low-rank activations and vectors.
    pub fn buffer_input(&mut self, x: &Twin) -> Tensor {
        Tensor {
            slot: self.lanes(&map_lanes(x)),
            map: map_of(x),
            rows: x.shape[0],
            textured: false,
        }
    }

    /// A range to be written, NaN before, between sentinels.
    pub fn target(&mut self, len: usize) -> Target {
        self.target_with(&vec![f32::NAN; len])
    }

    /// A range to be written, with its content before.
    pub fn target_with(&mut self, before: &[f32]) -> Target {
        let mut before = before.to_vec();
        before.resize(before.len().next_multiple_of(4), f32::NAN);
        let margin = vec![SENTINEL; MARGIN];
        let all = [&margin[..], &before, &margin[..]].concat();
        let buffer = self.gpu().storage_with("test target", &all);
        let (offset, bytes) = (MARGIN as u64 * 4, (before.len() + MARGIN) as u64 * 4);
        let builder = &mut self.graph.builder;
        let slot = builder.buffer_range("test target", &buffer, offset, bytes);
        let target = Target {
            slot,
            buffer,
            before,
        };
        self.targets.push(target.clone());
        target
    }

    /// After the run `tensor` is the twin's.
    pub fn expect(&mut self, name: &str, tensor: Tensor, twin: &Twin, tolerance: f64) {
        assert_eq!((tensor.map, tensor.rows), (map_of(twin), twin.shape[0]));
        self.graph.builder.keep(tensor.slot);
        self.expectations.push(Expectation {
            name: name.into(),
            place: Place::Plan(tensor.slot),
            lanes: map_lanes(twin),
            tolerance,
        });
    }

    /// After the run `target` holds `lanes`.
    pub fn expect_target(&mut self, name: &str, target: &Target, lanes: Vec<Lane>, tolerance: f64) {
        self.expectations.push(Expectation {
            name: name.into(),
            place: Place::Target(target.clone()),
            lanes,
            tolerance,
        });
    }

    fn finish(self) -> Outcome {
        let gpu = self.setup.gpu;
        let plan = self.graph.builder.build().unwrap();
        plan.run();
        let mut outcome = Outcome {
            results: Vec::new(),
            dispatches: plan.dispatches().to_vec(),
        };
        for expectation in self.expectations {
            let found = match &expectation.place {
                Place::Plan(slot) => plan.read(*slot).unwrap(),
                Place::Target(target) => target.read(&gpu),
            };
            let error = compare(&expectation, &found);
            outcome
                .results
                .push((expectation.name, error, expectation.tolerance, found));
        }
        for target in &self.targets {
            target.read(&gpu);
        }
        whole(&plan);
        outcome
    }
}

/// Fails when a dispatch wrote past a buffer of its plan.
pub fn whole(plan: &Plan) {
    assert!(
        plan.guards_are_whole().unwrap(),
        "a dispatch wrote past its buffer"
    );
}

struct Outcome {
    results: Vec<(String, f64, f64, Vec<f32>)>,
    dispatches: Vec<DispatchInfo>,
}

/// Largest error relative to the largest element; infinite for a NaN or a padding lane that is not zero.
fn compare(expectation: &Expectation, found: &[f32]) -> f64 {
    let lanes = &expectation.lanes;
    assert!(
        found.len() >= lanes.len(),
        "{}: {} floats of {}",
        expectation.name,
        found.len(),
        lanes.len()
    );
    let (mut worst, mut largest) = (0f64, 0f64);
    for (lane, found) in lanes.iter().zip(found) {
        let error = match lane {
            Lane::Value(value) => {
                largest = largest.max(value.abs());
                (f64::from(*found) - value).abs()
            }
            Lane::Padding if *found == 0.0 => 0.0,
            Lane::Untouched if found.to_bits() == f32::NAN.to_bits() => 0.0,
            _ => f64::INFINITY,
        };
        worst = worst.max(if error.is_nan() { f64::INFINITY } else { error });
    }
    match worst {
        0.0 => 0.0,
        _ => worst / largest.max(f64::MIN_POSITIVE),
    }
}

/// Runs a case on every setup, compares with the twins, and the bits between setups with the same
/// kernels. Gives the dispatches of each setup's plan.
pub fn everywhere(
    case: &str,
    fold: u32,
    record: impl Fn(&mut Bench),
) -> Vec<(Setup, Vec<DispatchInfo>)> {
    on(&setups(fold, &[]), case, record)
}

/// Whether to run what an adapter can and would not choose, too; see the top of `main.rs`.
fn all_variants() -> bool {
    !std::env::var("OPERATIONS").is_ok_and(|which| which == "defaults")
}

/// The same with every variant of the convolutions.
pub fn every_variant(case: &str, fold: u32, record: impl Fn(&mut Bench)) {
    let variants = match all_variants() {
        true => KernelChoice::variants(&default_gpu()),
        false => Vec::new(),
    };
    on(&setups(fold, &variants), case, record);
}

/// Every candidate of the tuner on the default device.
pub fn every_candidate(case: &str, lines: usize, cols: usize, record: impl Fn(&mut Bench)) {
    if !all_variants() {
        return;
    }
    let gpu = default_gpu();
    let setup = |(kernels, kernel): (KernelChoice, ProductKernel)| Setup {
        name: kernel.to_string(),
        gpu: gpu.clone(),
        kernels: KernelChoice {
            conv: Some(ConvKernel::Direct(kernel)),
            ..kernels
        },
    };
    let of = |kernels: KernelChoice| {
        let candidates = ProductKernel::candidates(&gpu, kernels.textured(), lines, cols);
        candidates.into_iter().map(move |kernel| (kernels, kernel))
    };
    let all = common::kernel_choices(&gpu).into_iter().flat_map(of);
    let setups: Vec<_> = all.map(setup).collect();
    on(&setups, case, record);
}

/// The same with every variant of the adapters' products.
pub fn every_low_rank(
    case: &str,
    fold: u32,
    record: impl Fn(&mut Bench),
) -> Vec<(Setup, Vec<DispatchInfo>)> {
    on(&setups(fold, &[KernelChoice::TILED]), case, record)
}

fn on(
    setups: &[Setup],
    case: &str,
    record: impl Fn(&mut Bench),
) -> Vec<(Setup, Vec<DispatchInfo>)> {
    let mut failures = Vec::new();
    let mut worst: Vec<(String, f64)> = Vec::new();
    let mut seen: Vec<(Setup, Vec<Vec<u32>>)> = Vec::new();
    let mut plans = Vec::new();
    for setup in setups {
        let mut bench = Bench::new(setup);
        record(&mut bench);
        let outcome = bench.finish();
        assert!(!outcome.results.is_empty(), "{case}: nothing is compared");
        let mut bits = Vec::new();
        for (name, error, tolerance, found) in outcome.results {
            match worst.iter_mut().find(|(known, _)| *known == name) {
                Some((_, worst)) => *worst = worst.max(error),
                None => worst.push((name.clone(), error)),
            }
            if error > tolerance {
                failures.push(format!(
                    "{name}: {error:.1e} > {tolerance:.0e} on {}",
                    setup.name
                ));
            }
            bits.push(
                found
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>(),
            );
        }
        match seen
            .iter()
            .find(|(first, _)| first.kernels == setup.kernels)
        {
            None => seen.push((setup.clone(), bits)),
            Some((first, expected)) if *expected != bits => {
                failures.push(format!(
                    "other bits on {} than on {}",
                    setup.name, first.name
                ));
            }
            Some(_) => {}
        }
        plans.push((setup.clone(), outcome.dispatches));
    }
    let worst: Vec<_> = worst
        .iter()
        .map(|(name, error)| format!("{name} {error:.1e}"))
        .collect();
    println!("{case:<60} {}", worst.join(", "));
    assert!(failures.is_empty(), "{case}: {failures:#?}");
    plans
}

/// Grids of two dimensions on the lowered device: the case was large enough to fold.
pub fn assert_folded(plans: &[(Setup, Vec<DispatchInfo>)]) {
    for (setup, dispatches) in plans {
        if setup.name.starts_with("lowered") {
            assert!(
                dispatches.iter().all(|dispatch| dispatch.grid[1] > 1),
                "{}: no fold: {dispatches:?}",
                setup.name
            );
        }
    }
}
