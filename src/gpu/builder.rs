//! Recording a plan: dispatches over slots, each checked against what its shader says.

use std::sync::Arc;

use super::kernel::{BindingKind, Kernel, Member};
use super::liveness::{Life, assign};
use super::plan::{DispatchInfo, Location, Plan, Slot, Step};
use super::{Gpu, GpuError};

/// Bytes of NaN behind every transient buffer of a poisoned device; none may be overwritten.
const GUARD: u64 = 256;

enum Resource {
    /// Memory of the plan's own, shared by slots that are not alive at the same time.
    Transient {
        bytes: u64,
    },
    Buffer {
        buffer: wgpu::Buffer,
        offset: u64,
        bytes: u64,
    },
    Texture {
        view: wgpu::TextureView,
        bytes: u64,
    },
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

    /// Memory that only this plan needs, from its first use to its last.
    pub fn transient(&mut self, label: &str, floats: usize) -> Slot {
        let bytes = (floats.max(4) as u64 * 4).next_multiple_of(16);
        self.push(label, Resource::Transient { bytes })
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
        self.push(
            label,
            Resource::Buffer {
                buffer: buffer.clone(),
                offset,
                bytes,
            },
        )
    }

    pub fn texture(&mut self, label: &str, texture: &wgpu::Texture) -> Slot {
        let bytes = u64::from(texture.width()) * u64::from(texture.height()) * 16;
        let view = texture.create_view(&Default::default());
        self.push(label, Resource::Texture { view, bytes })
    }

    fn push(&mut self, label: &str, resource: Resource) -> Slot {
        let allowed = self.gpu.limits().max_storage_buffer_binding_size;
        let wanted = match &resource {
            Resource::Transient { bytes } | Resource::Buffer { bytes, .. } => *bytes,
            Resource::Texture { .. } => 0,
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
            let written = binding.kind == BindingKind::ReadWrite;
            assert!(
                !written || alone,
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
            (Resource::Buffer { buffer: a, .. }, Resource::Buffer { buffer: b, .. }) => a == b,
            _ => a == b,
        }
    }

    fn bytes(&self, slot: Slot) -> u64 {
        match &self.resources[slot.0].1 {
            Resource::Transient { bytes }
            | Resource::Buffer { bytes, .. }
            | Resource::Texture { bytes, .. } => *bytes,
        }
    }

    /// Assigns memory and makes the bind groups.
    pub fn build(self) -> Result<Plan, GpuError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let homes = self.homes();
        let guard = if self.gpu.options().poison { GUARD } else { 0 };
        let mut sizes = vec![0; homes.iter().flatten().max().map_or(0, |last| last + 1)];
        for (index, home) in homes.iter().enumerate() {
            if let Some(home) = home {
                sizes[*home] = self.bytes(Slot(index)).max(sizes[*home]);
            }
        }
        let scope = self
            .gpu
            .device()
            .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffers: Vec<_> = sizes
            .iter()
            .map(|bytes| self.gpu.storage("plan", bytes + guard))
            .collect();
        if pollster::block_on(scope.pop()).is_some() {
            return Err(GpuError::OutOfMemory {
                what: "the intermediate tensors of a plan".into(),
                wanted: sizes.iter().sum(),
            });
        }
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

        let locations: Vec<Location> = (0..self.resources.len())
            .map(|index| match (&self.resources[index].1, homes[index]) {
                (
                    Resource::Buffer {
                        buffer,
                        offset,
                        bytes,
                    },
                    _,
                ) => Location {
                    buffer: Some(buffer.clone()),
                    offset: *offset,
                    bytes: *bytes,
                    bound: *bytes,
                },
                (Resource::Transient { bytes }, Some(home)) => Location {
                    bound: self.bound(*bytes, &buffers[home]),
                    buffer: Some(buffers[home].clone()),
                    offset: 0,
                    bytes: *bytes,
                },
                _ => Location {
                    buffer: None,
                    offset: 0,
                    bytes: 0,
                    bound: 0,
                },
            })
            .collect();
        let mut steps = Vec::new();
        let mut infos = Vec::new();
        for (record, offset) in self.records.into_iter().zip(offsets) {
            let mut entries: Vec<_> = record
                .bind
                .iter()
                .map(|(binding, slot)| wgpu::BindGroupEntry {
                    binding: *binding,
                    resource: match &self.resources[slot.0].1 {
                        Resource::Texture { view, .. } => wgpu::BindingResource::TextureView(view),
                        _ => locations[slot.0].binding(),
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
            buffers,
            sizes,
            locations,
        };
        if plan.gpu.options().poison {
            plan.poison();
        }
        Ok(plan)
    }

    /// What of a shared buffer a tensor of `bytes` is bound with. On a poisoned device its guard too:
    /// some drivers (llvmpipe) drop what goes past a binding, so it would never be touched.
    fn bound(&self, bytes: u64, buffer: &wgpu::Buffer) -> u64 {
        match self.gpu.options().poison {
            false => bytes,
            true => buffer
                .size()
                .min(self.gpu.limits().max_storage_buffer_binding_size),
        }
    }

    /// The shared buffer of each transient slot that is used.
    fn homes(&self) -> Vec<Option<usize>> {
        let mut lives: Vec<Option<Life>> = vec![None; self.resources.len()];
        for (time, record) in self.records.iter().enumerate() {
            for (_, slot) in &record.bind {
                if let Resource::Transient { bytes } = self.resources[slot.0].1 {
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
        assign(&lives)
    }
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
