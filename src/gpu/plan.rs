//! Plans: a fixed list of dispatches over buffers that share memory by liveness, replayed as often
//! as wanted without allocating anything. [`Builder`](super::Builder) makes them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::kernel::Kernel;
use super::memory::Memory;
use super::pace::work;
use super::{Gpu, GpuError, Reading, Submission, Timing};

/// Why a slot has memory that is read.
const READ_BACK: &str = "only slots in use are read back";

/// A buffer or texture as a dispatch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(super) usize);

/// What a plan tells of one of its dispatches.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DispatchInfo {
    pub label: String,
    pub kernel: String,
    pub grid: [u32; 2],
    /// Floating-point operations executed, padding skipped.
    pub flops: u64,
    /// Bytes of everything bound, each counted once.
    pub bytes: u64,
}

/// Where the memory of a slot is.
pub(super) struct Location {
    /// `None` for a slot that no dispatch uses.
    pub memory: Option<Memory>,
    pub offset: u64,
    pub bytes: u64,
    /// Bytes of a buffer that a dispatch can reach.
    pub bound: u64,
}

impl Location {
    /// What a dispatch binds, where the memory is a buffer.
    pub fn buffer_binding(&self) -> wgpu::BindingResource<'_> {
        let Some(Memory::Buffer(buffer)) = &self.memory else {
            panic!("every bound slot has memory");
        };
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: self.offset,
            size: wgpu::BufferSize::new(self.bound),
        })
    }
}

/// Memory of the plan's own, and how much of it is in use.
pub(super) struct Home {
    pub memory: Memory,
    pub bytes: u64,
}

/// A dispatch as it is replayed.
pub(super) struct Step {
    pub kernel: Arc<Kernel>,
    pub bind_group: wgpu::BindGroup,
    pub grid: [u32; 2],
}

/// A fixed list of dispatches with their memory.
pub struct Plan {
    pub(super) gpu: Gpu,
    pub(super) steps: Vec<Step>,
    pub(super) infos: Vec<DispatchInfo>,
    pub(super) homes: Vec<Home>,
    pub(super) locations: Vec<Location>,
}

impl Plan {
    /// The dispatches, in order.
    pub fn dispatches(&self) -> &[DispatchInfo] {
        &self.infos
    }

    /// Bytes of GPU memory of the plan's own.
    pub fn transient_bytes(&self) -> u64 {
        self.homes.iter().map(|home| home.bytes).sum()
    }

    /// Submits every dispatch once; returns without waiting, unless the device's options ask for short submissions. What
    /// goes wrong is returned by whoever waits for the results.
    pub fn run(&self) -> Submission {
        let length = self.gpu.options().submission;
        let (mut start, mut sum) = (0, 0.0);
        for (index, info) in self.infos.iter().enumerate() {
            let work = work(info);
            if index > start && sum + work > self.gpu.pace().most(length) {
                self.submit_in_turn(start..index, sum);
                (start, sum) = (index, 0.0);
            }
            sum += work;
        }
        self.submit_in_turn(start..self.steps.len(), sum)
    }

    /// Submits some dispatches, and waits for them where others are to have their turn after them.
    fn submit_in_turn(&self, range: Range<usize>, work: f64) -> Submission {
        let start = Instant::now();
        let submission = self.submit(range);
        if self.gpu.options().submission.is_some() {
            match self.gpu.wait_for(submission.clone()) {
                Ok(()) => self.gpu.pace().learn(work, start.elapsed()),
                // Whoever waits next hears of it by the handle, and other work on the device does not.
                Err(GpuError::Stopped) => {}
                Err(error) => self.gpu.faults().keep(error),
            }
        }
        submission
    }

    fn submit(&self, range: Range<usize>) -> Submission {
        let infos = &self.infos[range.clone()];
        let what = || match infos {
            [] => "an empty plan".into(),
            [only] => format!("the dispatch `{}`", only.label),
            [first, .., last] => format!("the dispatches `{}` to `{}`", first.label, last.label),
        };
        self.gpu.submit(what, |encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for step in &self.steps[range] {
                step.record(&mut pass);
            }
        })
    }

    /// Runs every dispatch alone and measures it: by the GPU's clock with one pass per dispatch
    /// where the device has timestamps, else by the host's clock around each submission.
    pub fn time(&self) -> Result<Vec<Timing>, GpuError> {
        super::profile::time(&self.gpu, self.steps.len(), |index, pass| {
            self.steps[index].record(pass);
        })
    }

    /// The same for one dispatch, by its place in the list.
    pub fn time_one(&self, index: usize) -> Result<Timing, GpuError> {
        let times = super::profile::time(&self.gpu, 1, |_, pass| self.steps[index].record(pass))?;
        Ok(times[0])
    }

    /// The contents of a slot, as far as they are still alive ([`Builder::keep`](super::Builder::keep)).
    pub fn read(&self, slot: Slot) -> Result<Vec<f32>, GpuError> {
        self.read_part(slot, 0..self.floats(slot))
    }

    /// The same, copied after the work submitted before, for whoever waits for it later; what is past
    /// the slot's floats is of no use.
    pub fn read_later(&self, slot: Slot) -> Reading<f32> {
        let location = &self.locations[slot.0];
        match location.memory.as_ref().expect(READ_BACK) {
            Memory::Buffer(buffer) => self.gpu.read_later(buffer, location.offset, location.bytes),
            Memory::Texture(texture) => self.gpu.read_texture_later(texture),
        }
    }

    /// The same for a range of its floats, cut where the contents end.
    pub fn read_part(&self, slot: Slot, floats: Range<usize>) -> Result<Vec<f32>, GpuError> {
        let location = &self.locations[slot.0];
        let memory = location.memory.as_ref();
        let memory = memory.expect(READ_BACK);
        let [start, end] = [floats.start, floats.end].map(|f| (f as u64 * 4).min(location.bytes));
        memory.read(&self.gpu, location.offset + start, end - start)
    }

    /// How many floats a slot holds.
    pub(super) fn floats(&self, slot: Slot) -> usize {
        self.locations[slot.0].bytes as usize / 4
    }

    pub(super) fn poison(&self) {
        for Home { memory, bytes } in &self.homes {
            memory.poison(&self.gpu, *bytes);
        }
    }

    /// Whether the guard bands of a poisoned device are as they were.
    pub fn guards_are_whole(&self) -> Result<bool, GpuError> {
        for Home { memory, bytes } in &self.homes {
            if !memory.guard_is_whole(&self.gpu, *bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Step {
    fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}
