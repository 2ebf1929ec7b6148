//! Opening a device, and taking one that an application has opened.

use std::fmt;

use super::{Adapters, Gpu, GpuError, GpuOptions};

/// Storage textures that a convolution of software adapters binds: input, weight, residual, mask, output.
pub const STORAGE_TEXTURES: u32 = 5;

/// What the engine makes use of where an adapter has it, apart from what wgpu calls experimental.
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::SHADER_F16);

/// Why an application's device is slower than one that this library opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortfall {
    /// A software adapter without the feature SUBGROUP.
    Subgroups,
    /// A software adapter with fewer than [`STORAGE_TEXTURES`] storage textures per shader stage.
    StorageTextures {
        /// As many as the device allows.
        has: u32,
    },
    /// f16 was asked for, and the feature SHADER_F16 is off.
    F16,
    /// A cache folder was given, and the feature PIPELINE_CACHE is off.
    PipelineCache,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Subgroups => f.write_str(
                "the device was opened without the feature SUBGROUP: this software adapter runs several times slower",
            ),
            Self::StorageTextures { has } => write!(
                f,
                "the device was opened with {has} storage textures per shader stage instead of {STORAGE_TEXTURES}: this \
                 software adapter runs several times slower"
            ),
            Self::F16 => f.write_str("the device was opened without the feature SHADER_F16: f16 kernels are not used"),
            Self::PipelineCache => {
                f.write_str("the device was opened without the feature PIPELINE_CACHE: pipelines are compiled at every start")
            }
        }
    }
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
    ///
    /// # Errors
    /// There is no such adapter, or it refuses.
    pub async fn open_async(options: GpuOptions) -> Result<Self, GpuError> {
        let adapters = Adapters::enumerate(options.backends).await;
        let adapter = adapters.choose(&options.adapter)?;
        Self::open_on_async(&adapter, options).await
    }

    /// Opens a device of this library's own on an application's adapter, blocking until it is ready. That is the way to
    /// train beside a renderer: the two devices do not wait for each other. `options.backends` and `options.adapter` are not
    /// looked at.
    ///
    /// # Errors
    /// The adapter refuses.
    pub fn open_on(adapter: &wgpu::Adapter, options: GpuOptions) -> Result<Self, GpuError> {
        pollster::block_on(Self::open_on_async(adapter, options))
    }

    /// As [`open_on`](Self::open_on), without blocking.
    ///
    /// # Errors
    /// The adapter refuses.
    pub async fn open_on_async(
        adapter: &wgpu::Adapter,
        options: GpuOptions,
    ) -> Result<Self, GpuError> {
        let info = adapter.get_info();
        let (features, limits) = Self::recommended(adapter);
        let matrices = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let required_features = match options.extras {
            true => features | (adapter.features() & matrices),
            false => wgpu::Features::empty(),
        };
        let required_limits = match (&options.limits, options.extras) {
            (Some(limits), _) => limits.clone(),
            (None, true) => limits,
            (None, false) => wgpu::Limits::default(),
        };
        let experimental_features = match required_features.intersects(matrices) {
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
        gpu.faults().listen(gpu.device());
        Ok(gpu)
    }

    /// What an application should open its own device with, beside what it needs itself, if it is to be shared at full speed:
    /// both together, the features and the limits.
    pub fn recommended(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
        (adapter.features() & WANTED, adapter.limits())
    }

    /// Takes a device that the application has opened itself, and says why it is slower than it could be, if it is
    /// ([`recommended`](Self::recommended) is not). Of the options `backends`, `adapter`,
    /// `extras` and `limits` are not looked at.
    ///
    /// The device's handlers of errors and of its loss stay; what this library causes is caught in error scopes and does not
    /// reach them. A renderer on the same queue gets its turn between submissions: see [`GpuOptions::submission`].
    ///
    /// # Errors
    /// The device was opened with less than WebGPU's default limits for compute shaders, without which no kernel runs.
    pub fn from_device(
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: GpuOptions,
    ) -> Result<(Self, Vec<Shortfall>), GpuError> {
        check_limits(&device.limits())?;
        let info = device.adapter_info();
        let gpu = Self::assemble(device, queue, info, options, None);
        let shortfalls = gpu.shortfalls();
        Ok((gpu, shortfalls))
    }

    fn shortfalls(&self) -> Vec<Shortfall> {
        let options = self.options();
        let has = self.limits().max_storage_textures_per_shader_stage;
        let lacks = |feature| !self.has(feature);
        let f16 = options.precision == super::Precision::F16;
        let all = [
            (
                self.is_software() && lacks(wgpu::Features::SUBGROUP),
                Shortfall::Subgroups,
            ),
            (
                self.is_software() && has < STORAGE_TEXTURES,
                Shortfall::StorageTextures { has },
            ),
            (f16 && lacks(wgpu::Features::SHADER_F16), Shortfall::F16),
            (
                options.cache.is_some() && lacks(wgpu::Features::PIPELINE_CACHE),
                Shortfall::PipelineCache,
            ),
        ];
        let there = all.into_iter().filter(|(is_there, _)| *is_there);
        there.map(|(_, shortfall)| shortfall).collect()
    }
}

/// What every kernel takes for granted.
fn check_limits(has: &wgpu::Limits) -> Result<(), GpuError> {
    let needs = wgpu::Limits::default();
    let pairs = [
        (
            "max_storage_buffers_per_shader_stage",
            has.max_storage_buffers_per_shader_stage,
            needs.max_storage_buffers_per_shader_stage,
        ),
        (
            "max_uniform_buffers_per_shader_stage",
            has.max_uniform_buffers_per_shader_stage,
            1,
        ),
        (
            "max_compute_invocations_per_workgroup",
            has.max_compute_invocations_per_workgroup,
            needs.max_compute_invocations_per_workgroup,
        ),
        (
            "max_compute_workgroup_size_x",
            has.max_compute_workgroup_size_x,
            needs.max_compute_workgroup_size_x,
        ),
        (
            "max_compute_workgroup_storage_size",
            has.max_compute_workgroup_storage_size,
            needs.max_compute_workgroup_storage_size,
        ),
        (
            "max_compute_workgroups_per_dimension",
            has.max_compute_workgroups_per_dimension,
            1,
        ),
    ];
    match pairs.into_iter().find(|(_, has, needs)| has < needs) {
        None => Ok(()),
        Some((limit, has, needs)) => Err(GpuError::Limit { limit, has, needs }),
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
