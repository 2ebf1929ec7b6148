//! Recording a plan: dispatches over slots, each checked against what its shader says.

use std::sync::Arc;

use super::kernel::{Kernel, Member};
use super::liveness::{Life, assign};
use super::memory::{Memory, MemoryKind, TEXTURE_WIDTH};
use super::plan::{DispatchInfo, Home, Location, Plan, Slot, Step};
use super::{Gpu, GpuError};

/// Bytes of NaN behind every transient buffer of a poisoned device; none may be overwritten.
const GUARD: u64 = 256;

enum Resource {
    /// Memory of the plan's own, shared by slots that are not alive at the same time.
    Transient { kind: MemoryKind, bytes: u64 },
    /// Memory that outlives the plan.
    External {
        memory: Memory,
        offset: u64,
        bytes: u64,
    },
}

impl Resource {
    fn bytes(&self) -> u64 {
        match self {
            Self::Transient { bytes, .. } | Self::External { bytes, .. } => *bytes,
        }
    }

    fn kind(&self) -> MemoryKind {
        match self {
            Self::Transient { kind, .. } => *kind,
            Self::External { memory, .. } => memory.kind(),
        }
    }
}

/// The value of a member of a shader's `params`.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    U(u32),
    F(f32),
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::U(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::F(value)
    }
}

/// One dispatch as recorded.
pub struct Dispatch<'a> {
    /// What it does for which layer, as shown to users.
    pub label: String,
    pub kernel: Arc<Kernel>,
    /// Every binding of the shader but `params`, by name.
    pub bind: &'a [(&'a str, Slot)],
    /// Every member of the shader's `params` but `tiles`, by name.
    pub params: &'a [(&'a str, Value)],
    /// Workgroups in all; folded over two dimensions, and told to the shader as `tiles`.
    pub workgroups: u64,
    /// Floating-point operations executed.
    pub flops: u64,
}

struct Record {
    info: DispatchInfo,
    kernel: Arc<Kernel>,
    bind: Vec<(u32, Slot)>,
    params: Vec<u8>,
}

/// Records the dispatches of a plan.
pub struct Builder {
    gpu: Gpu,
    resources: Vec<(String, Resource)>,
    records: Vec<Record>,
    kept: Vec<Slot>,
    error: Option<GpuError>,
}

impl Builder {
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            resources: Vec::new(),
            records: Vec::new(),
            kept: Vec::new(),
            error: None,
        }
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A buffer that only this plan needs, from its first use to its last.
    pub fn transient(&mut self, label: &str, floats: usize) -> Slot {
        self.push_transient(label, MemoryKind::Buffer, floats)
    }

    /// A texture of one vec4 a texel, in rows of [`TEXTURE_WIDTH`], that only this plan needs.
    pub fn transient_texture(&mut self, label: &str, floats: usize) -> Slot {
        self.push_transient(label, MemoryKind::Texture, floats)
    }

    fn push_transient(&mut self, label: &str, kind: MemoryKind, floats: usize) -> Slot {
        let bytes = (floats.max(4) as u64 * 4).next_multiple_of(16);
        self.push(label, Resource::Transient { kind, bytes })
    }

    /// A whole buffer that outlives the plan.
    pub fn buffer(&mut self, label: &str, buffer: &wgpu::Buffer) -> Slot {
        self.buffer_range(label, buffer, 0, buffer.size())
    }

    /// A range of a buffer that outlives the plan; `offset` is a multiple of 256.
    pub fn buffer_range(
        &mut self,
        label: &str,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Slot {
        let memory = Memory::Buffer(buffer.clone());
        self.push(
            label,
            Resource::External {
                memory,
                offset,
                bytes,
            },
        )
    }

    /// A texture that outlives the plan.
    pub fn texture(&mut self, label: &str, texture: &wgpu::Texture) -> Slot {
        let memory = Memory::Texture(texture.clone());
        let (offset, bytes) = (0, memory.bytes());
        self.push(
            label,
            Resource::External {
                memory,
                offset,
                bytes,
            },
        )
    }

    fn push(&mut self, label: &str, resource: Resource) -> Slot {
        let limits = self.gpu.limits();
        let wanted = resource.bytes();
        let allowed = match resource.kind() {
            MemoryKind::Buffer => limits.max_storage_buffer_binding_size,
            MemoryKind::Texture => largest_texture(&limits),
        };
        if wanted > allowed && self.error.is_none() {
            let what = label.into();
            self.error = Some(GpuError::BufferTooLarge {
                what,
                wanted,
                allowed,
            });
        }
        self.resources.push((label.to_owned(), resource));
        Slot(self.resources.len() - 1)
    }

    /// Keeps a transient slot readable after the plan has run.
    pub fn keep(&mut self, slot: Slot) {
        self.kept.push(slot);
    }

    /// Records a dispatch.
    ///
    /// # Panics
    /// When a binding or parameter of the shader is missing, unknown or of the wrong type, or a
    /// buffer is both written and bound a second time: bugs of ours.
    pub fn dispatch(&mut self, dispatch: Dispatch) {
        let Dispatch {
            label,
            kernel,
            bind,
            params,
            workgroups,
            flops,
        } = dispatch;
        let grid = fold(
            workgroups,
            self.gpu.limits().max_compute_workgroups_per_dimension,
        );
        let mut slots = Vec::new();
        for binding in kernel
            .bindings
            .iter()
            .filter(|binding| binding.name != "params")
        {
            let slot = bind.iter().find(|(name, _)| *name == binding.name);
            let (_, slot) = slot.unwrap_or_else(|| panic!("{label}: no {:?} bound", binding.name));
            slots.push((binding, *slot));
        }
        assert_eq!(
            slots.len(),
            bind.len(),
            "{label}: {} does not bind all it gets",
            kernel.name
        );
        for (binding, slot) in &slots {
            let alone = slots
                .iter()
                .filter(|(_, other)| self.overlap(*slot, *other))
                .count()
                == 1;
            assert!(
                !binding.kind.is_written() || alone,
                "{label}: {:?} is read and written",
                binding.name
            );
        }
        let bytes = slots.iter().map(|(_, slot)| self.bytes(*slot)).sum();
        let params = encode(&label, &kernel, params, workgroups);
        self.records.push(Record {
            info: DispatchInfo {
                label,
                kernel: kernel.name.clone(),
                grid,
                flops,
                bytes,
            },
            bind: slots
                .iter()
                .map(|(binding, slot)| (binding.index, *slot))
                .collect(),
            params,
            kernel,
        });
    }

    /// Whether writing one slot writes the other; wgpu tracks whole buffers, not ranges.
    fn overlap(&self, a: Slot, b: Slot) -> bool {
        match (&self.resources[a.0].1, &self.resources[b.0].1) {
            (Resource::External { memory: a, .. }, Resource::External { memory: b, .. }) => a == b,
            _ => a == b,
        }
    }

    fn bytes(&self, slot: Slot) -> u64 {
        self.resources[slot.0].1.bytes()
    }

    /// Assigns memory and makes the bind groups.
    pub fn build(self) -> Result<Plan, GpuError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let (assigned, homes) = self.homes()?;
        let stride = u64::from(self.gpu.limits().min_uniform_buffer_offset_alignment);
        let mut offsets = Vec::new();
        let mut arena = Vec::new();
        for record in &self.records {
            arena.resize(arena.len().next_multiple_of(stride as usize), 0u8);
            offsets.push(arena.len() as u64);
            arena.extend_from_slice(&record.params);
        }
        let params = self.gpu.uniform("params", arena.len().max(16) as u64);
        arena.resize(params.size() as usize, 0);
        self.gpu.queue().write_buffer(&params, 0, &arena);

        let locations: Vec<Location> = self
            .resources
            .iter()
            .zip(&assigned)
            .map(|((_, resource), home)| self.location(resource, home.map(|home| &homes[home])))
            .collect();
        let mut steps = Vec::new();
        let mut infos = Vec::new();
        for (record, offset) in self.records.into_iter().zip(offsets) {
            let views: Vec<_> = record
                .bind
                .iter()
                .map(|(_, slot)| match &locations[slot.0].memory {
                    Some(Memory::Texture(texture)) => {
                        Some(texture.create_view(&Default::default()))
                    }
                    _ => None,
                })
                .collect();
            let mut entries: Vec<_> = record
                .bind
                .iter()
                .zip(&views)
                .map(|((binding, slot), view)| wgpu::BindGroupEntry {
                    binding: *binding,
                    resource: match view {
                        Some(view) => wgpu::BindingResource::TextureView(view),
                        None => locations[slot.0].buffer_binding(),
                    },
                })
                .collect();
            let own = record
                .kernel
                .bindings
                .iter()
                .find(|binding| binding.name == "params");
            if let Some(binding) = own {
                entries.push(wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &params,
                        offset,
                        size: wgpu::BufferSize::new(record.params.len() as u64),
                    }),
                });
            }
            let bind_group = self
                .gpu
                .device()
                .create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&record.info.label),
                    layout: &record.kernel.layout,
                    entries: &entries,
                });
            steps.push(Step {
                kernel: record.kernel,
                bind_group,
                grid: record.info.grid,
            });
            infos.push(record.info);
        }
        let plan = Plan {
            gpu: self.gpu,
            steps,
            infos,
            homes,
            locations,
        };
        plan.gpu.keep_pipelines();
        if plan.gpu.options().poison {
            plan.poison();
        }
        Ok(plan)
    }

    fn location(&self, resource: &Resource, home: Option<&Home>) -> Location {
        match (resource, home) {
            (
                Resource::External {
                    memory,
                    offset,
                    bytes,
                },
                _,
            ) => Location {
                memory: Some(memory.clone()),
                offset: *offset,
                bytes: *bytes,
                bound: *bytes,
            },
            (Resource::Transient { bytes, .. }, home) => Location {
                memory: home.map(|home| home.memory.clone()),
                offset: 0,
                bytes: *bytes,
                bound: home.map_or(0, |home| self.bound(*bytes, home.memory.bytes())),
            },
        }
    }

    /// What of a shared buffer a tensor of `bytes` is bound with. On a poisoned device its guard too:
    /// some drivers (llvmpipe) drop what goes past a binding, so it would never be touched.
    fn bound(&self, bytes: u64, home: u64) -> u64 {
        match self.gpu.options().poison {
            false => bytes,
            true => home.min(self.gpu.limits().max_storage_buffer_binding_size),
        }
    }

    /// The number of the memory of each transient slot in use, and all such memory.
    fn homes(&self) -> Result<(Vec<Option<usize>>, Vec<Home>), GpuError> {
        let mut lives: Vec<Option<Life>> = vec![None; self.resources.len()];
        for (time, record) in self.records.iter().enumerate() {
            for (_, slot) in &record.bind {
                if let Resource::Transient { bytes, .. } = self.resources[slot.0].1 {
                    let born = Life {
                        first: time,
                        last: time,
                        bytes,
                    };
                    lives[slot.0].get_or_insert(born).last = time;
                }
            }
        }
        for slot in &self.kept {
            if let Some(life) = &mut lives[slot.0] {
                life.last = usize::MAX;
            }
        }
        let mut assigned = vec![None; self.resources.len()];
        let mut sizes: Vec<(MemoryKind, u64)> = Vec::new();
        for kind in [MemoryKind::Buffer, MemoryKind::Texture] {
            let of_kind = |(life, (_, resource)): (&Option<Life>, &(String, Resource))| {
                life.filter(|_| resource.kind() == kind)
            };
            let lives: Vec<_> = lives.iter().zip(&self.resources).map(of_kind).collect();
            let first = sizes.len();
            for (slot, home) in assign(&lives).into_iter().enumerate() {
                let Some(home) = home else { continue };
                assigned[slot] = Some(first + home);
                sizes.resize(sizes.len().max(first + home + 1), (kind, 0));
                sizes[first + home].1 = sizes[first + home].1.max(self.bytes(Slot(slot)));
            }
        }
        let guard = if self.gpu.options().poison { GUARD } else { 0 };
        let scope = self
            .gpu
            .device()
            .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let home = |(kind, bytes): &(MemoryKind, u64)| Home {
            memory: Memory::new(&self.gpu, *kind, bytes + guard),
            bytes: *bytes,
        };
        let homes = sizes.iter().map(home).collect();
        match pollster::block_on(scope.pop()) {
            None => Ok((assigned, homes)),
            Some(_) => Err(GpuError::OutOfMemory {
                what: "the intermediate tensors of a plan".into(),
                wanted: sizes.iter().map(|(_, bytes)| bytes).sum(),
            }),
        }
    }
}

/// Bytes of the largest tensor that a texture of [`TEXTURE_WIDTH`] holds.
pub fn largest_texture(limits: &wgpu::Limits) -> u64 {
    u64::from(TEXTURE_WIDTH) * u64::from(limits.max_texture_dimension_2d) * 16
}

/// A near-square grid of at least `workgroups`, within the limit of a dimension.
fn fold(workgroups: u64, limit: u32) -> [u32; 2] {
    let rows = workgroups.div_ceil(u64::from(limit)).max(1);
    let columns = workgroups.div_ceil(rows);
    assert!(
        rows <= u64::from(limit),
        "{workgroups} workgroups do not fit a {limit} x {limit} grid"
    );
    [columns as u32, rows as u32]
}

fn encode(label: &str, kernel: &Kernel, params: &[(&str, Value)], workgroups: u64) -> Vec<u8> {
    let mut bytes = vec![0; kernel.params_size as usize];
    let mut given = params.len();
    for Member {
        name,
        offset,
        float,
    } in &kernel.members
    {
        let value = match params.iter().find(|(given, _)| given == name) {
            Some((_, value)) => *value,
            None if name == "tiles" => {
                given += 1;
                Value::U(u32::try_from(workgroups).expect("tiles fit 32 bits"))
            }
            None => panic!("{label}: no parameter {name:?}"),
        };
        let word = match (value, float) {
            (Value::U(value), false) => value.to_le_bytes(),
            (Value::F(value), true) => value.to_le_bytes(),
            _ => panic!("{label}: parameter {name:?} has another type"),
        };
        bytes[*offset as usize..][..4].copy_from_slice(&word);
    }
    assert_eq!(
        given,
        kernel.members.len(),
        "{label}: parameters {} does not know",
        kernel.name
    );
    bytes
}
