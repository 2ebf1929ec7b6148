//! An open device: capabilities, buffers, textures, the kernel cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::kernel::Kernel;
use super::shaders::Variables;
use super::{AdapterChoice, Adapters, GpuError};

/// How to open a device. The default takes the best adapter with all that it offers.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    pub adapter: AdapterChoice,
    /// Use the adapter's optional features and larger limits. Without, the device has WebGPU's
    /// default limits and no feature, and only plain kernels run.
    pub extras: bool,
    /// Lowers limits further, to make chunking happen at small shapes (tests).
    pub limits: Option<wgpu::Limits>,
    /// Keep naga's bounds checks and loop bounds in the shaders. The shaders do not rely on
    /// them; they cost time on real GPUs.
    pub runtime_checks: bool,
    /// Fill every buffer of a plan with NaN before use, guard bands behind it included (tests).
    pub poison: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            adapter: AdapterChoice::Best,
            extras: true,
            limits: None,
            runtime_checks: false,
            poison: false,
        }
    }
}

/// A device and its queue, with what the engine needs to know about them.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    options: GpuOptions,
    kernels: Mutex<HashMap<(String, Variables), Arc<Kernel>>>,
}

impl Gpu {
    /// Opens the chosen adapter, blocking until it is ready.
    pub fn open(options: GpuOptions) -> Result<Self, GpuError> {
        pollster::block_on(Self::open_async(options))
    }

    /// Opens the chosen adapter.
    pub async fn open_async(options: GpuOptions) -> Result<Self, GpuError> {
        let adapter = Adapters::enumerate().await.choose(&options.adapter)?;
        let info = adapter.get_info();
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let required_features = match options.extras {
            true => adapter.features() & wanted,
            false => wgpu::Features::empty(),
        };
        let required_limits = match (&options.limits, options.extras) {
            (Some(limits), _) => limits.clone(),
            (None, true) => adapter.limits(),
            (None, false) => wgpu::Limits::default(),
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("bayeslora"),
                required_features,
                required_limits,
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Device {
                adapter: info.name.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self::assemble(device, queue, info, options))
    }

    /// Wraps a device that the application has opened itself.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        Self::assemble(device, queue, info, GpuOptions::default())
    }

    fn assemble(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        options: GpuOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            device,
            queue,
            info,
            options,
            kernels: Mutex::default(),
        }))
    }

    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    pub fn options(&self) -> &GpuOptions {
        &self.0.options
    }

    pub fn limits(&self) -> wgpu::Limits {
        self.0.device.limits()
    }

    pub fn has(&self, feature: wgpu::Features) -> bool {
        self.0.device.features().contains(feature)
    }

    /// A software adapter (llvmpipe, SwiftShader, WARP).
    pub fn is_software(&self) -> bool {
        self.0.info.device_type == wgpu::DeviceType::Cpu
    }

    /// The subgroup size, where there is exactly one and the device can use subgroups.
    pub fn subgroup_size(&self) -> Option<u32> {
        let (min, max) = (self.0.info.subgroup_min_size, self.0.info.subgroup_max_size);
        (self.has(wgpu::Features::SUBGROUP) && min == max).then_some(min)
    }

    /// The kernel made of a shader file and the values of its template variables; compiled once.
    ///
    /// # Panics
    /// When the shader does not exist or does not compile: a bug of ours, not of the user.
    pub fn kernel(&self, shader: &str, variables: Variables) -> Arc<Kernel> {
        let mut cache = self
            .0
            .kernels
            .lock()
            .expect("no kernel compilation panicked");
        cache
            .entry((shader.to_owned(), variables))
            .or_insert_with_key(|(shader, variables)| {
                Arc::new(Kernel::compile(self, shader, variables))
            })
            .clone()
    }

    /// A zeroed storage buffer of `bytes` (rounded up to a vec4).
    pub fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// A storage buffer holding `data`.
    pub fn storage_with<T: bytemuck::Pod>(&self, label: &str, data: &[T]) -> wgpu::Buffer {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.storage(label, bytes.len() as u64);
        self.0.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// A zeroed uniform buffer.
    pub fn uniform(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.next_multiple_of(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// An `rgba32float` texture of `width` x `height` texels holding `data`, row by row.
    pub fn texture_with(
        &self,
        label: &str,
        width: u32,
        height: u32,
        data: &[f32],
    ) -> wgpu::Texture {
        assert_eq!(
            data.len(),
            width as usize * height as usize * 4,
            "{label}: texel count"
        );
        let size = wgpu::Extent3d {
            width,
            height,
            depth_or_array_layers: 1,
        };
        let texture = self.0.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::TEXTURE_BINDING
                | wgpu::TextureUsages::COPY_DST
                | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        self.0.queue.write_texture(
            texture.as_image_copy(),
            bytemuck::cast_slice(data),
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(width * 16),
                rows_per_image: Some(height),
            },
            size,
        );
        texture
    }

    /// Waits for all submitted work.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.0
            .device
            .poll(wgpu::PollType::wait_indefinitely())
            .map(drop)
            .map_err(|error| GpuError::Failed {
                during: "waiting for the GPU".into(),
                reason: error.to_string(),
            })
    }

    /// Waits until a submission is done, so that the host does not run far ahead.
    ///
    /// # Errors
    /// The device is lost.
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        let wait = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        };
        self.0
            .device
            .poll(wait)
            .map(drop)
            .map_err(|error| GpuError::Failed {
                during: "waiting for the GPU".into(),
                reason: error.to_string(),
            })
    }

    /// Whether all submitted work is done.
    pub fn is_idle(&self) -> bool {
        let poll = self.0.device.poll(wgpu::PollType::Poll);
        poll.is_ok_and(|status| status.is_queue_empty())
    }
}
