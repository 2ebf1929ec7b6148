//! `devices`: the adapters of this system and what each can do.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bayeslora::low_level::bench::{Settings, Step, Subject, Work};
use bayeslora::low_level::gpu::{AdapterChoice, Adapters};
use bayeslora::low_level::model::{ConvShape, KernelChoice};
use bayeslora::wgpu;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::output;

#[derive(Args)]
pub struct DevicesArgs {
    /// Measure which kernels are fastest on the chosen adapter and keep the choices; on hardware adapters
    /// this also happens at the first training
    #[arg(long)]
    tune: bool,
    /// Batch size that --tune measures
    #[arg(long, value_name = "N", default_value_t = Settings::default().batch, requires = "tune")]
    batch_size: usize,
    /// Side of the network's input in pixels that --tune measures
    #[arg(long, value_name = "PIXELS", default_value_t = Settings::default().size, requires = "tune")]
    resolution: usize,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    /// Index of the adapter that commands use, as --adapter (or its default) has it.
    chosen: usize,
    adapters: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    index: usize,
    name: String,
    r#type: &'static str,
    backend: String,
    driver: String,
    features: Features,
    limits: Limits,
    /// By operation; null where the adapter refuses to open.
    kernels: Option<Map<String, Value>>,
    /// What has been measured fastest, by operation and shape.
    choices: BTreeMap<String, String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Features {
    subgroup: bool,
    subgroup_min_size: u32,
    subgroup_max_size: u32,
    shader_f16: bool,
    timestamp_query: bool,
    cooperative_matrix: bool,
}

/// Counts and bytes, in WebGPU's names.
#[derive(Serialize)]
struct Limits {
    max_storage_buffers_per_shader_stage: u32,
    max_storage_buffer_binding_size: u64,
    max_buffer_size: u64,
    max_compute_workgroup_storage_size: u32,
    max_compute_invocations_per_workgroup: u32,
}

pub fn run(context: &Context, args: &DevicesArgs) -> Result<()> {
    if args.tune {
        measure(context, args)?;
    }
    let found = pollster::block_on(Adapters::enumerate(super::context::backends()?));
    let report = Report {
        chosen: found.index_of(context.adapter())?,
        adapters: found
            .list
            .iter()
            .enumerate()
            .map(|(index, adapter)| row(context, index, adapter))
            .collect(),
    };
    match args.json {
        true => output::json(&report),
        false => output::text(&describe(&report)),
    }
}

/// Builds the plans of a training step, a forward pass and a predictive, which measures all that is not known yet.
/// Software adapters, which compile slowly, measure one shape of each kind instead.
fn measure(context: &Context, args: &DevicesArgs) -> Result<()> {
    let gpu = context.gpu()?;
    super::context::tune(&gpu);
    let kernels = KernelChoice::for_gpu(&gpu);
    if kernels.textured() {
        for shape in ConvShape::representatives(args.resolution, args.batch_size) {
            kernels.conv(&gpu, &shape);
            let kept = shape.alike().and_then(|alike| gpu.choices().get(&alike));
            ensure!(
                kept.is_some(),
                "--tune: no kernel could be measured with --batch-size {} and --resolution {}; try smaller ones",
                args.batch_size,
                args.resolution
            );
        }
        return Ok(());
    }
    let settings = Settings {
        batch: args.batch_size,
        size: args.resolution,
        ..Default::default()
    };
    let subject = Subject::new(&gpu, settings)?;
    for work in Work::ALL {
        Step::new(&subject, work)?;
    }
    Ok(())
}

fn row(context: &Context, index: usize, adapter: &wgpu::Adapter) -> Row {
    let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
    let has = |feature| features.contains(feature);
    let opened = context.open(AdapterChoice::Index(index));
    let choices = opened.as_ref().map(|gpu| gpu.choices().measured());
    let kernels = opened.as_ref().ok().map(|gpu| {
        let choice = KernelChoice::for_gpu(gpu).describe();
        choice
            .into_iter()
            .map(|(name, kernel)| (name.into(), kernel.into()))
            .collect()
    });
    let driver = [info.driver, info.driver_info]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    Row {
        index,
        name: info.name,
        r#type: kind(info.device_type),
        backend: info.backend.to_string(),
        driver,
        features: Features {
            subgroup: has(wgpu::Features::SUBGROUP),
            subgroup_min_size: info.subgroup_min_size,
            subgroup_max_size: info.subgroup_max_size,
            shader_f16: has(wgpu::Features::SHADER_F16),
            timestamp_query: has(wgpu::Features::TIMESTAMP_QUERY),
            cooperative_matrix: has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        },
        limits: Limits {
            max_storage_buffers_per_shader_stage: limits.max_storage_buffers_per_shader_stage,
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
        },
        kernels,
        choices: choices.unwrap_or_default(),
        error: opened.err().map(|error| error.to_string()),
    }
}

fn kind(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

fn describe(report: &Report) -> String {
    let rows: Vec<_> = report.adapters.iter().map(describe_row).collect();
    format!(
        "{}\n\nused: {} (--adapter NAME|INDEX|cpu|gpu chooses another)",
        rows.join("\n\n"),
        report.chosen
    )
}

fn describe_row(row: &Row) -> String {
    let Features {
        subgroup,
        subgroup_min_size: min,
        subgroup_max_size: max,
        ..
    } = row.features;
    let subgroups = match subgroup {
        false => "no subgroups".into(),
        true if min == max => format!("subgroups of {min}"),
        true => format!("subgroups of {min} to {max}"),
    };
    let mut features = vec![subgroups];
    for (there, name) in [
        (row.features.shader_f16, "f16 shaders"),
        (row.features.timestamp_query, "timestamps"),
        (row.features.cooperative_matrix, "cooperative matrices"),
    ] {
        features.push(if there {
            name.into()
        } else {
            format!("no {name}")
        });
    }
    let limits = &row.limits;
    let kernels = match (&row.kernels, &row.error) {
        (Some(kernels), _) => kernels
            .iter()
            .map(|(name, kernel)| format!("{name} {}", kernel.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("; "),
        (None, error) => format!("none: {}", error.as_deref().unwrap_or("it does not open")),
    };
    format!(
        "{}: {}\n   {}, {} ({})\n   features  {}\n   limits    {} storage buffers, {} a binding, \
         {} a buffer, {} KiB of workgroup memory, {} invocations a workgroup\n   kernels   {kernels}\n   \
         measured  {}",
        row.index,
        row.name,
        row.r#type,
        row.backend,
        row.driver,
        features.join(", "),
        limits.max_storage_buffers_per_shader_stage,
        output::bytes(limits.max_storage_buffer_binding_size),
        output::bytes(limits.max_buffer_size),
        limits.max_compute_workgroup_storage_size / 1024,
        limits.max_compute_invocations_per_workgroup,
        describe_choices(&row.choices),
    )
}

/// How often each kernel was the fastest.
fn describe_choices(choices: &BTreeMap<String, String>) -> String {
    let mut wins: BTreeMap<&str, usize> = BTreeMap::new();
    for kernel in choices.values() {
        *wins.entry(kernel).or_default() += 1;
    }
    let mut wins: Vec<_> = wins.into_iter().collect();
    wins.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let wins: Vec<_> = wins
        .iter()
        .map(|(kernel, count)| format!("{kernel} for {count}"))
        .collect();
    match choices.len() {
        0 => "nothing yet: default kernels (--tune measures)".into(),
        count => format!("{count} shapes: {} (--json lists them)", wins.join("; ")),
    }
}
