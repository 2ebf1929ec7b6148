//! An open device: capabilities, buffers, textures, the kernel cache.

use std::collections::HashMap;
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::builder::largest_texture;
use super::faults::{Faults, without_panic};
use super::kernel::Kernel;
use super::shaders::Variables;
use super::{AdapterChoice, Adapters, Choices, GpuError, cache};

/// What convolutions multiply; sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// Operands rounded to f16, where a kernel and the device can: on matrix units, or with half the
    /// traffic.
    F16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
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
    device: ManuallyDrop<wgpu::Device>,
    queue: ManuallyDrop<wgpu::Queue>,
    faults: Arc<Faults>,
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
    ///
    /// # Errors
    /// There is no such adapter, or it refuses.
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
        let gpu = Self::assemble(device, queue, info, options, matrix);
        gpu.0.faults.listen(&gpu.0.device);
        Ok(gpu)
    }

    /// Wraps a device that the application has opened itself. Its handlers of errors and of the loss
    /// of the device stay; what this library causes is caught in error scopes and does not reach them.
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
        let folder = options.cache.as_deref();
        let faults = Arc::<Faults>::default();
        let pipelines = folder.and_then(|folder| cache::pipelines(&device, &faults, &info, folder));
        Self(Arc::new(Inner {
            device: ManuallyDrop::new(device),
            queue: ManuallyDrop::new(queue),
            faults,
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
            cache::write_pipelines(folder, &self.0.info, &data);
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

    /// The kernel made of a shader file and the values of its template variables; compiled once. Where
    /// the device cannot make it, what is built with it fails.
    ///
    /// # Panics
    /// When the shader does not exist or is not WGSL: a bug in this program, not a mistake of the user.
    pub fn kernel(&self, shader: &str, variables: Variables) -> Arc<Kernel> {
        let key = (shader.to_owned(), variables);
        let mut cache = self
            .0
            .kernels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = cache.get(&key) {
            return kernel.clone();
        }
        let what = || format!("the kernel {shader}");
        let compile = || Arc::new(Kernel::compile(self, shader, &key.1));
        let (kernel, error) = self.0.faults.attempt(&self.0.device, what, 0, compile);
        match error {
            None => drop(cache.insert(key, kernel.clone())),
            Some(error) => self.0.faults.keep(error),
        }
        kernel
    }

    /// A zeroed storage buffer of `bytes` (rounded up to a vec4). Where it does not fit the device,
    /// the next call that can fail says so.
    pub fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        self.create_buffer(label, bytes.max(16).next_multiple_of(16), usage)
    }

    /// A storage buffer holding `data`.
    pub fn storage_with<T: bytemuck::Pod>(&self, label: &str, data: &[T]) -> wgpu::Buffer {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.storage(label, bytes.len() as u64);
        self.write(&buffer, 0, bytes);
        buffer
    }

    /// A zeroed uniform buffer.
    pub fn uniform(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        self.create_buffer(label, bytes.next_multiple_of(16), usage)
    }

    /// A buffer; one that the device does not allow is a small one and an error for the next look.
    pub(super) fn create_buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> wgpu::Buffer {
        let allowed = self.limits().max_buffer_size;
        let size = self.allowed(label, bytes, allowed, 16);
        self.during(
            || format!("the buffer `{label}`"),
            size,
            || {
                self.0.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            },
        )
    }

    /// What is wanted where it is allowed; else `instead`, and an error for the next look.
    fn allowed(&self, label: &str, wanted: u64, allowed: u64, instead: u64) -> u64 {
        if wanted <= allowed {
            return wanted;
        }
        let what = format!("the buffer `{label}`");
        self.0.faults.keep(GpuError::BufferTooLarge {
            what,
            wanted,
            allowed,
        });
        instead
    }

    /// Writes to a buffer, before whatever is submitted next.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        let what = || "a write to the GPU".to_owned();
        self.during(what, bytes.len() as u64, || {
            self.0.queue.write_buffer(buffer, offset, bytes);
        });
    }

    /// Submits what `record` records; `what` names it in errors.
    pub fn submit(
        &self,
        what: impl FnOnce() -> String,
        record: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> wgpu::SubmissionIndex {
        self.during(what, 0, || {
            let mut encoder = self.0.device.create_command_encoder(&Default::default());
            record(&mut encoder);
            self.0.queue.submit([encoder.finish()])
        })
    }

    /// Does `work` on the device; what goes wrong in it is returned by the next call that can fail.
    pub(super) fn during<T>(
        &self,
        what: impl FnOnce() -> String,
        bytes: u64,
        work: impl FnOnce() -> T,
    ) -> T {
        let (made, error) = self.0.faults.attempt(&self.0.device, what, bytes, work);
        error
            .into_iter()
            .for_each(|error| self.0.faults.keep(error));
        made
    }

    /// The first error since the last look.
    ///
    /// # Errors
    /// Something that could not return an error has failed.
    pub fn check(&self) -> Result<(), GpuError> {
        self.0.faults.check()
    }

    /// A zeroed `rgba32float` texture that shaders read or write texel by texel.
    pub fn texture(&self, label: &str, width: u32, height: u32) -> wgpu::Texture {
        let bytes = 16 * u64::from(width) * u64::from(height);
        let limits = self.limits();
        let (width, height) = match width.max(height) <= limits.max_texture_dimension_2d {
            true => (width, height),
            false => {
                self.0.faults.keep(GpuError::BufferTooLarge {
                    what: format!("the texture `{label}`"),
                    wanted: bytes,
                    allowed: largest_texture(&limits),
                });
                (1, 1)
            }
        };
        self.during(
            || format!("the texture `{label}`"),
            bytes,
            || {
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
            },
        )
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
        let bytes: &[u8] = bytemuck::cast_slice(data);
        self.during(
            || "a texture's contents".into(),
            bytes.len() as u64,
            || {
                self.0.queue.write_texture(
                    texture.as_image_copy(),
                    bytes,
                    wgpu::TexelCopyBufferLayout {
                        offset: 0,
                        bytes_per_row: Some(texture.width() * 16),
                        rows_per_image: None,
                    },
                    texture.size(),
                );
            },
        );
    }

    /// Waits for all submitted work.
    ///
    /// # Errors
    /// The device is lost, or something since the last look has failed.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::wait_indefinitely()).map(drop)
    }

    /// Waits until a submission is done, so that the host does not run far ahead.
    ///
    /// # Errors
    /// The device is lost, or something since the last look has failed.
    pub fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        let wait = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        };
        self.poll(wait).map(drop)
    }

    /// Whether all submitted work is done, or never will be.
    pub fn is_idle(&self) -> bool {
        self.0.faults.is_lost()
            || self
                .raw_poll(wgpu::PollType::Poll)
                .is_none_or(|status| status.is_ok_and(|status| status.is_queue_empty()))
    }

    fn poll(&self, how: wgpu::PollType) -> Result<wgpu::PollStatus, GpuError> {
        self.check()?;
        let status = self.raw_poll(how);
        self.check()?;
        match status {
            Some(Ok(status)) => Ok(status),
            // The submission that was to be waited for has never come to the device.
            Some(Err(_)) | None => {
                self.0.faults.lose("work that was submitted did not run");
                self.check().map(|()| wgpu::PollStatus::QueueEmpty)
            }
        }
    }

    /// `None` where wgpu gave up: a device that is lost while it is waited for makes it panic.
    fn raw_poll(&self, how: wgpu::PollType) -> Option<Result<wgpu::PollStatus, wgpu::PollError>> {
        without_panic(|| self.0.device.poll(how))
            .inspect_err(|reason| self.0.faults.lose(reason))
            .ok()
    }
}

impl Drop for Inner {
    /// A lost device stays where it is: wgpu waits for the queue that it closes, and panics where that
    /// fails.
    fn drop(&mut self) {
        self.pipelines = None;
        let _ = without_panic(|| {
            if !self.faults.is_lost() {
                // SAFETY: nothing uses them any more.
                unsafe {
                    ManuallyDrop::drop(&mut self.queue);
                    ManuallyDrop::drop(&mut self.device);
                }
            }
        });
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
