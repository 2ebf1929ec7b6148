//! An open device: capabilities, buffers, textures, the kernel cache.

use std::collections::HashMap;
use std::fmt;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faults::{Faults, without_panic};
use super::kernel::Kernel;
use super::pace::Pace;
use super::shaders::Variables;
use super::stop::StopHandle;
use super::wait::Submission;
use super::{AdapterChoice, Choices, GpuError, InUse, cache};

/// What convolutions multiply; sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 throughout.
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
    /// Where adapters are looked for: all native back ends (Vulkan, Metal, DirectX 12), or some of them.
    pub backends: wgpu::Backends,
    /// Which adapter of the system.
    pub adapter: AdapterChoice,
    /// Use the adapter's optional features and larger limits. Without, the device has WebGPU's
    /// default limits and no feature, and only plain kernels run.
    pub extras: bool,
    /// Lowers limits further, to make chunking happen at small shapes (tests).
    pub limits: Option<wgpu::Limits>,
    /// Keep naga's bounds checks and loop bounds in the shaders. The shaders do not rely on
    /// them; they cost time on real GPUs.
    pub runtime_checks: bool,
    /// What convolutions multiply.
    pub precision: Precision,
    /// A folder for compiled pipelines and measured kernel choices, so that the next start is faster;
    /// nothing is kept without.
    pub cache: Option<PathBuf>,
    /// Fill every buffer of a plan with NaN before use, guard bands behind it included (tests).
    pub poison: bool,
    /// Cut work into submissions of about this length and wait for each, so that a renderer on the same queue gets its
    /// turn in between; `None` keeps the device busiest. A single dispatch is never cut: the longest takes some
    /// milliseconds of a software adapter.
    pub submission: Option<Duration>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            backends: wgpu::Backends::PRIMARY,
            adapter: AdapterChoice::Best,
            extras: true,
            limits: None,
            runtime_checks: false,
            precision: Precision::F32,
            cache: None,
            poison: false,
            submission: None,
        }
    }
}

/// A device and its queue, with what the engine needs to know about them. Clones share the device.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>, StopHandle, Arc<InUse>);

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
    /// The last submission of this library's own: an application's on the same queue are not waited for.
    last: Mutex<Option<Submission>>,
    pace: Pace,
}

impl Gpu {
    pub(super) fn assemble(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        options: GpuOptions,
        matrix: Option<u32>,
    ) -> Self {
        let folder = options.cache.as_deref();
        let faults = Arc::<Faults>::default();
        let pipelines = folder.and_then(|folder| cache::pipelines(&device, &faults, &info, folder));
        let inner = Inner {
            device: ManuallyDrop::new(device),
            queue: ManuallyDrop::new(queue),
            faults,
            info,
            options,
            matrix,
            kernels: Mutex::default(),
            choices: Choices::default(),
            pipelines,
            last: Mutex::default(),
            pace: Pace::default(),
        };
        Self(Arc::new(inner), StopHandle::default(), Arc::default())
    }

    /// The same device, for work that a handle can stop: what is made with this `Gpu` ends with [`GpuError::Stopped`] where
    /// it next waits for the device, or within a millisecond if it waits now.
    pub fn stopped_by(&self, handle: &StopHandle) -> Self {
        Self(self.0.clone(), handle.clone(), self.2.clone())
    }

    /// The same device, for a network whose plans take kernels that were given to it and to no other.
    pub fn for_network(&self) -> Self {
        Self(self.0.clone(), self.1.clone(), Arc::default())
    }

    /// The kernels of the plans that are made with this `Gpu`.
    pub fn in_use(&self) -> &InUse {
        &self.2
    }

    /// What stops work on it.
    pub fn stop_handle(&self) -> &StopHandle {
        &self.1
    }

    pub(super) fn faults(&self) -> &Arc<Faults> {
        &self.0.faults
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// The last of this library's submissions.
    pub(super) fn last_submission(&self) -> Option<Submission> {
        let last = self.0.last.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device, to be shared with other work.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// Its queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Name, driver and kind of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    /// As it was opened with.
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

    /// Of the device, which may be lower than those of the adapter.
    pub fn limits(&self) -> wgpu::Limits {
        self.0.device.limits()
    }

    /// Whether the device was opened with all of these features.
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
    ) -> Submission {
        self.during(what, 0, || {
            let mut encoder = self.0.device.create_command_encoder(&Default::default());
            record(&mut encoder);
            let index = self.0.queue.submit([encoder.finish()]);
            let submission = Submission::new(index, &self.0.queue);
            let last = self.0.last.lock();
            *last.unwrap_or_else(PoisonError::into_inner) = Some(submission.clone());
            submission
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
        self.texture_of(wgpu::TextureFormat::Rgba32Float, label, width, height)
    }

    /// A zeroed texture of 16 bytes a texel.
    fn texture_of(
        &self,
        format: wgpu::TextureFormat,
        label: &str,
        width: u32,
        height: u32,
    ) -> wgpu::Texture {
        let bytes = 16 * u64::from(width) * u64::from(height);
        let longest = self.limits().max_texture_dimension_2d;
        let (width, height) = match width.max(height) <= longest {
            true => (width, height),
            false => {
                let allowed = [width, height].map(|side| u64::from(side.min(longest)));
                self.0.faults.keep(GpuError::BufferTooLarge {
                    what: format!("the texture `{label}`"),
                    wanted: bytes,
                    allowed: 16 * allowed[0] * allowed[1],
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
                    format,
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

    /// An `rgba32uint` texture holding words of little-endian `bytes`, row by row, that shaders only read.
    pub(crate) fn words_with(
        &self,
        label: &str,
        width: u32,
        height: u32,
        bytes: &[u8],
    ) -> wgpu::Texture {
        let format = wgpu::TextureFormat::Rgba32Uint;
        let texture = self.texture_of(format, label, width, height);
        self.fill_texture(&texture, bytes);
        texture
    }

    /// Overwrites a whole texture, row by row.
    pub fn write_texture(&self, texture: &wgpu::Texture, data: &[f32]) {
        self.fill_texture(texture, bytemuck::cast_slice(data));
    }

    fn fill_texture(&self, texture: &wgpu::Texture, bytes: &[u8]) {
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
