//! Devices.

use std::time::Duration;

use bayeslora::{AdapterChoice, Adapters, Gpu, GpuError, GpuOptions, Precision, wgpu};
use pyo3::prelude::*;

/// How long a software adapter may compute before it can be stopped.
const SUBMISSION: Duration = Duration::from_millis(20);

/// A device that work can run on.
#[pyclass(frozen, get_all, module = "bayeslora")]
pub struct Device {
    index: usize,
    name: String,
    backend: String,
    driver: String,
    software: bool,
}

#[pymethods]
impl Device {
    fn __repr__(&self) -> String {
        format!("<Device {}: {} ({})>", self.index, self.name, self.backend)
    }
}

/// The devices of this system, the best first.
#[pyfunction]
pub fn devices(py: Python) -> Vec<Device> {
    let found = py.detach(|| pollster::block_on(Adapters::enumerate(wgpu::Backends::PRIMARY)));
    let numbered = found.list.iter().enumerate();
    let device = |(index, adapter): (usize, &wgpu::Adapter)| {
        let info = adapter.get_info();
        Device {
            index,
            software: is_software(&info),
            name: info.name,
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .into(),
        }
    };
    numbered.map(device).collect()
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// How the caller names a device.
#[derive(FromPyObject)]
pub enum Choice {
    Index(usize),
    Name(String),
}

/// Opens the device that is named, or the best.
pub fn open(choice: Option<Choice>, precision: Precision) -> Result<Gpu, GpuError> {
    let choice = match choice {
        None => AdapterChoice::Best,
        Some(Choice::Index(index)) => AdapterChoice::Index(index),
        Some(Choice::Name(name)) => name.parse().expect("any text names an adapter"),
    };
    let adapter =
        pollster::block_on(Adapters::enumerate(wgpu::Backends::PRIMARY)).choose(&choice)?;
    let options = GpuOptions {
        precision,
        // Such an adapter computes within the call that submits.
        submission: is_software(&adapter.get_info()).then_some(SUBMISSION),
        ..GpuOptions::default()
    };
    Gpu::open_on(&adapter, options)
}
