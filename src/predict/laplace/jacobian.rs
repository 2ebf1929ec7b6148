//! Jacobians of the logits at z = 1, as a plan: one forward pass, and one backward pass per class.

use super::factors::{Site, SiteValues};
use crate::gpu::{Gpu, GpuError, Plan, Slot};
use crate::model::{AdapterFactors, Batch, BatchInput};
use crate::predict::Predictor;

/// What the logits are differentiated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The head: its input is the Jacobian, and no backward pass is needed.
    Features,
    /// The gates of all layers.
    Gates,
    /// A and B of all layers.
    Adapters,
}

/// A forward pass with a backward pass from e_c for every class c, ready to be replayed.
pub struct JacobianPlan {
    gpu: Gpu,
    plan: Plan,
    wanted: Wanted,
    pub batch: Batch,
    log_probs: wgpu::Buffer,
    pooled: Slot,
    /// dlogits_c/dz, one buffer per class.
    gates: Vec<wgpu::Buffer>,
    /// In the order of the layout.
    pub sites: Vec<Site>,
    slots: Vec<SiteSlots>,
}

/// Where the factors of an adapter's gradients are.
struct SiteSlots {
    x: Slot,
    h: Slot,
    /// One a class.
    q: Vec<Slot>,
    grad: Vec<Slot>,
}

/// What a batch gives; of features, gates and sites what is wanted.
pub struct Answer {
    /// `[rows, classes]`
    pub log_probs: Vec<f32>,
    /// `[rows, features]`, features padded to four.
    pub pooled: Vec<f32>,
    /// As [`AdapterLayout::rank_table`](crate::model::AdapterLayout::rank_table) lays out gates, one a
    /// class.
    pub gates: Vec<Vec<f32>>,
    pub sites: Vec<SiteValues>,
}

impl JacobianPlan {
    /// Builds the plan for batches of `rows` examples.
    ///
    /// # Errors
    /// A tensor does not fit the device.
    pub fn new(
        predictor: &Predictor,
        input: BatchInput,
        rows: usize,
        wanted: Wanted,
    ) -> Result<Self, GpuError> {
        let adapted = predictor.adapted();
        let (gpu, classes) = (&adapted.network.gpu, adapted.layout.classes);
        let mut pass = adapted.forward(input, rows, 1, None);
        let log_probs = pass.log_probs();
        let pooled = pass.activations.pooled.slot;
        pass.graph.builder.keep(pooled);

        let mut gates = Vec::new();
        let mut factors: Vec<Vec<AdapterFactors>> = Vec::new();
        if wanted != Wanted::Features {
            // Sums over the batch, which are not read.
            let sums = gpu.storage("gradients", 4 * adapted.layout.len as u64);
            for class in 0..classes {
                // dL/dlogits = e_class in every row.
                let mut unit = vec![0.0f32; pass.logit_floats()];
                let each = unit.chunks_exact_mut(classes.next_multiple_of(4));
                each.for_each(|row| row[class] = 1.0);
                let unit = gpu.storage_with("d logits", &unit);
                let grad = pass.logit_gradients(&unit);
                let backward = pass.backward(grad, &sums);
                gates.push(backward.gate_gradients);
                factors.push(backward.factors);
            }
        }
        let mut site_slots = Vec::new();
        let mut sites = Vec::new();
        if wanted == Wanted::Adapters {
            for (place, of) in factors[0].iter().enumerate() {
                let each = || factors.iter().map(|class| &class[place]);
                let slots = SiteSlots {
                    x: of.x.slot,
                    h: of.h.slot,
                    q: each().map(|factors| factors.q.slot).collect(),
                    grad: each().map(|factors| factors.grad.slot).collect(),
                };
                let gradients = slots.q.iter().chain(&slots.grad);
                for slot in [slots.x, slots.h].iter().chain(gradients) {
                    pass.graph.builder.keep(*slot);
                }
                site_slots.push(slots);
                sites.push(Site::new(of, adapted.scale));
            }
        }
        Ok(Self {
            gpu: gpu.clone(),
            plan: pass.graph.builder.build()?,
            wanted,
            batch: pass.batch,
            log_probs,
            pooled,
            gates,
            sites,
            slots: site_slots,
        })
    }

    /// Runs the batch written before.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn run(&self) -> Result<Answer, GpuError> {
        self.plan.run();
        let read = |buffer: &wgpu::Buffer| self.gpu.read(buffer, 0, buffer.size());
        let all = |slots: &[Slot]| -> Result<Vec<Vec<f32>>, GpuError> {
            slots.iter().map(|slot| self.plan.read(*slot)).collect()
        };
        let site = |slots: &SiteSlots| -> Result<SiteValues, GpuError> {
            Ok(SiteValues {
                x: self.plan.read(slots.x)?,
                h: self.plan.read(slots.h)?,
                q: all(&slots.q)?,
                grad: all(&slots.grad)?,
            })
        };
        let empty = Answer {
            log_probs: read(&self.log_probs)?,
            pooled: Vec::new(),
            gates: Vec::new(),
            sites: Vec::new(),
        };
        Ok(match self.wanted {
            Wanted::Features => Answer {
                pooled: self.plan.read(self.pooled)?,
                ..empty
            },
            Wanted::Gates => Answer {
                gates: self.gates.iter().map(read).collect::<Result<_, _>>()?,
                ..empty
            },
            Wanted::Adapters => Answer {
                sites: self.slots.iter().map(site).collect::<Result<_, _>>()?,
                ..empty
            },
        })
    }
}
