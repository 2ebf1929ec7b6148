//! Recording a plan: dispatches over slots, each checked against what its shader says.

use std::sync::Arc;

use super::kernel::Kernel;
use super::memory::{Memory, MemoryKind, TEXTURE_WIDTH};
use super::params::{Value, encode};
use super::plan::{DispatchInfo, Slot};
use super::{Gpu, GpuError};

pub(super) enum Resource {
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
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Transient { bytes, .. } | Self::External { bytes, .. } => *bytes,
        }
    }

    pub fn kind(&self) -> MemoryKind {
        match self {
            Self::Transient { kind, .. } => *kind,
            Self::External { memory, .. } => memory.kind(),
        }
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

pub(super) struct Record {
    pub info: DispatchInfo,
    pub kernel: Arc<Kernel>,
    pub bind: Vec<(u32, Slot)>,
    pub params: Vec<u8>,
}

/// Records the dispatches of a plan.
pub struct Builder {
    pub(super) gpu: Gpu,
    pub(super) resources: Vec<(String, Resource)>,
    pub(super) records: Vec<Record>,
    pub(super) kept: Vec<Slot>,
    pub(super) error: Option<GpuError>,
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

    /// A texture of one vec4 per texel, in rows of [`TEXTURE_WIDTH`], that only this plan needs.
    pub fn transient_texture(&mut self, label: &str, floats: usize) -> Slot {
        self.push_transient(label, MemoryKind::Texture, floats)
    }

    fn push_transient(&mut self, label: &str, kind: MemoryKind, floats: usize) -> Slot {
        let bytes = (floats.max(4) as u64 * 4).next_multiple_of(16);
        self.push(label, Resource::Transient { kind, bytes })
    }

    /// Memory that outlives the plan, all of it.
    pub fn memory(&mut self, label: &str, memory: &Memory) -> Slot {
        let (memory, offset, bytes) = (memory.clone(), 0, memory.bytes());
        self.push(
            label,
            Resource::External {
                memory,
                offset,
                bytes,
            },
        )
    }

    /// A whole buffer that outlives the plan.
    pub fn buffer(&mut self, label: &str, buffer: &wgpu::Buffer) -> Slot {
        self.memory(label, &Memory::Buffer(buffer.clone()))
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
        self.memory(label, &Memory::Texture(texture.clone()))
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
    /// buffer is both written and bound a second time: bugs in this program.
    pub fn dispatch(&mut self, dispatch: Dispatch) {
        if self.error.is_some() {
            // Sizes of what does not fit the device may fit no grid either.
            return;
        }
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

    pub(super) fn bytes(&self, slot: Slot) -> u64 {
        self.resources[slot.0].1.bytes()
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
