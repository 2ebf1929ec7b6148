//! From what a [`Builder`] has recorded to a [`Plan`]: memory by liveness, parameters, bind groups.

use super::builder::Resource;
use super::liveness::{Life, assign};
use super::memory::{Memory, MemoryKind};
use super::plan::{Home, Location, Step};
use super::{Builder, GpuError, Plan, Slot};

/// Bytes of NaN behind every transient tensor of a poisoned device; none may be overwritten.
const GUARD: u64 = 256;

impl Builder {
    /// Assigns memory and makes the bind groups.
    ///
    /// # Errors
    /// A tensor does not fit the device, all of them do not, or a kernel or buffer made since the last
    /// look could not be made.
    pub fn build(self) -> Result<Plan, GpuError> {
        let before = self.gpu.check();
        if let Some(error) = self.error {
            return Err(error);
        }
        before?;
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
        self.gpu.write(&params, 0, &arena);

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
            let what = || format!("the dispatch `{}`", record.info.label);
            let bind_group = self.gpu.during(what, 0, || {
                self.gpu
                    .device()
                    .create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&record.info.label),
                        layout: &record.kernel.layout,
                        entries: &entries,
                    })
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
        plan.gpu.check()?;
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
        let home = |(kind, bytes): &(MemoryKind, u64)| Home {
            memory: Memory::new(&self.gpu, *kind, bytes + guard),
            bytes: *bytes,
        };
        let homes = sizes.iter().map(home).collect();
        match self.gpu.check() {
            Ok(()) => Ok((assigned, homes)),
            Err(GpuError::OutOfMemory { .. }) => Err(GpuError::OutOfMemory {
                what: "the intermediate tensors of a plan".into(),
                wanted: sizes.iter().map(|(_, bytes)| bytes).sum(),
            }),
            Err(error) => Err(error),
        }
    }
}
