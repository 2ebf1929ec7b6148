//! `devices`: the adapters of this system and what each can do.

use anyhow::Result;
use bayeslora::gpu::{AdapterChoice, Adapters, Gpu, GpuOptions};
use bayeslora::model::KernelChoice;
use bayeslora::wgpu;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::output;

#[derive(Args)]
pub struct DevicesArgs {
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
    let found = pollster::block_on(Adapters::enumerate());
    let report = Report {
        chosen: found.index_of(context.adapter())?,
        adapters: found.list.iter().enumerate().map(row).collect(),
    };
    match args.json {
        true => output::json(&report),
        false => output::text(&describe(&report)),
    }
}

fn row((index, adapter): (usize, &wgpu::Adapter)) -> Row {
    let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
    let has = |feature| features.contains(feature);
    let opened = Gpu::open(GpuOptions {
        adapter: AdapterChoice::Index(index),
        ..Default::default()
    });
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
         {} a buffer, {} KiB of workgroup memory, {} invocations a workgroup\n   kernels   {kernels}",
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
    )
}
