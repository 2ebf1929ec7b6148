//! An open device: capabilities, buffers, textures, the kernel cache.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::kernel::Kernel;
use super::shaders::Variables;
use super::{AdapterChoice, Adapters, Choices, GpuError, cache};

/// The cache file of compiled pipelines.
const PIPELINES: &str = "pipelines";

/// What convolutions multiply; sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    /// Operands rounded to f16, where a kernel and the device can: on matrix units, or with half the
    /// traffic.
    F16,
}

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
    pub precision: Precision,
    /// A folder for compiled pipelines and measured kernel choices, so that the next start is faster;
    /// nothing is kept without.
    pub cache: Option<PathBuf>,
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
            precision: Precision::F32,
            cache: None,
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
    /// Side of the adapter's cooperative matrices.
    matrix: Option<u32>,
    kernels: Mutex<HashMap<(String, Variables), Arc<Kernel>>>,
    choices: Choices,
    pipelines: Option<wgpu::PipelineCache>,
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
        let wanted = wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE
            | wgpu::Features::SHADER_F16
            | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let required_features = match options.extras {
            true => adapter.features() & wanted,
            false => wgpu::Features::empty(),
        };
        let required_limits = match (&options.limits, options.extras) {
            (Some(limits), _) => limits.clone(),
            (None, true) => adapter.limits(),
            (None, false) => wgpu::Limits::default(),
        };
        let experimental_features =
            match required_features.intersects(wgpu::Features::all_experimental_mask()) {
                // SAFETY: wgpu asks to acknowledge that what it calls experimental may be unsound. Only
                // cooperative matrices are asked for; the shaders that use them are our own, load and
                // store inside their arrays in uniform control flow, and run where the adapter names
                // their shape.
                true => unsafe { wgpu::ExperimentalFeatures::enabled() },
                false => wgpu::ExperimentalFeatures::disabled(),
            };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("bayeslora"),
                required_features,
                required_limits,
                experimental_features,
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Device {
                adapter: info.name.clone(),
                reason: error.to_string(),
            })?;
        let matrix = matrix_size(&adapter.cooperative_matrix_properties());
        Ok(Self::assemble(device, queue, info, options, matrix))
    }

    /// Wraps a device that the application has opened itself.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        Self::assemble(device, queue, info, GpuOptions::default(), None)
    }

    fn assemble(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        options: GpuOptions,
        matrix: Option<u32>,
    ) -> Self {
        let file = options.cache.as_deref();
        let file = file.map(|folder| cache::file(folder, &info, PIPELINES));
        let pipelines = cache::pipelines(&device, file.as_deref());
        Self(Arc::new(Inner {
            device,
            queue,
            info,
            options,
            matrix,
            kernels: Mutex::default(),
            choices: Choices::default(),
            pipelines,
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

    /// Takes the choices kept in the cache folder, and keeps there what is measured from now on.
    pub fn keep_choices(&self) {
        if let Some(folder) = &self.0.options.cache {
            let file = cache::file(folder, &self.0.info, "kernels.json");
            self.0.choices.keep_in(file);
        }
    }

    pub(super) fn pipelines(&self) -> Option<&wgpu::PipelineCache> {
        self.0.pipelines.as_ref()
    }

    /// Writes the compiled pipelines to the cache folder.
    pub(super) fn keep_pipelines(&self) {
        let Some(folder) = &self.0.options.cache else {
            return;
        };
        if let Some(data) = self.pipelines().and_then(wgpu::PipelineCache::get_data) {
            cache::write(&cache::file(folder, &self.0.info, PIPELINES), &data);
        }
    }

    /// Which kernels have been found fastest here.
    pub fn choices(&self) -> &Choices {
        &self.0.choices
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

    /// The side of square cooperative matrices that multiply f16 and add f32, where the device has
    /// them and the subgroups that compute them.
    pub fn cooperative_matrix(&self) -> Option<u32> {
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP;
        // llvmpipe (Mesa 26.2.6) crashes when it compiles them for subgroups of 16.
        let fits = |size: &u32| !self.is_software() || self.0.info.subgroup_max_size <= *size;
        self.0.matrix.filter(|_| self.has(needed)).filter(fits)
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

    /// A zeroed `rgba32float` texture that shaders read or write texel by texel.
    pub fn texture(&self, label: &str, width: u32, height: u32) -> wgpu::Texture {
        self.0.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::STORAGE_BINDING
                | wgpu::TextureUsages::COPY_DST
                | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        })
    }

    /// A texture holding `data`, row by row.
    pub fn texture_with(
        &self,
        label: &str,
        width: u32,
        height: u32,
        data: &[f32],
    ) -> wgpu::Texture {
        let texture = self.texture(label, width, height);
        self.write_texture(&texture, data);
        texture
    }

    /// Overwrites a whole texture, row by row.
    pub fn write_texture(&self, texture: &wgpu::Texture, data: &[f32]) {
        assert_eq!(
            data.len(),
            texture.width() as usize * texture.height() as usize * 4,
            "texel count"
        );
        self.0.queue.write_texture(
            texture.as_image_copy(),
            bytemuck::cast_slice(data),
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(texture.width() * 16),
                rows_per_image: None,
            },
            texture.size(),
        );
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

/// The largest of the square shapes.
fn matrix_size(shapes: &[wgpu::CooperativeMatrixProperties]) -> Option<u32> {
    let fits = |shape: &&wgpu::CooperativeMatrixProperties| {
        shape.ab_type == wgpu::CooperativeScalarType::F16
            && shape.cr_type == wgpu::CooperativeScalarType::F32
            && shape.m_size == shape.n_size
            && shape.n_size == shape.k_size
            && !shape.saturating_accumulation
    };
    let sizes = shapes.iter().filter(fits).map(|shape| shape.m_size);
    sizes.max()
}
