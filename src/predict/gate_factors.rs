//! What the gradients of gates are made of, for any basis that the ranks are turned into.

use faer::{Mat, MatRef};
use rand::RngExt;
use rayon::prelude::*;

use super::source::spread;
use super::{PredictError, Predictor, Source};
use crate::data::{keyed_rng, prefetch};
use crate::gpu::{Gpu, GpuError, Plan, Slot};
use crate::model::{
    AdapterFactors, AdapterLayout, Batch, BatchInput, GateMode, LayoutLayer, Map, StepValues,
};

/// Whose labels the likelihood is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Two for each image, drawn from the model's mean weights: second moments of the gradients are those of Fisher.
    Drawn { seed: u64 },
    /// The images' own: the mean of the gradients is the slope of their NLL.
    Given,
}

impl Labels {
    /// For each image.
    const fn count(self) -> usize {
        match self {
            Self::Drawn { .. } => 2,
            Self::Given => 1,
        }
    }
}

/// Bytes of host memory that the factors of all images may take.
const MOST_BYTES: usize = 2 << 30;

/// Images of a batch: enough to fill a device.
const SOFTWARE_ROWS: usize = 32;
const HARDWARE_ROWS: usize = 128;

/// Gradients of the NLL with respect to the gates of every layer at z = 1, before any basis is chosen. With h = A x and
/// q = s B' G (G: the gradient at the adapter's output) the gradient of rank i's gate is sum_p q_i(p) h_i(p); turned by R
/// it becomes that of R^-1 h and R' q.
pub struct GateFactors {
    /// In the order of the layout.
    pub layers: Vec<LayerFactors>,
    /// Images that were gone through.
    pub images: usize,
}

/// Those of one layer of r ranks.
pub struct LayerFactors {
    /// E[h h'] over images and positions, `[r, r]`.
    pub moments_h: Mat<f64>,
    /// E[sum_p q q'] over images and labels, `[r, r]`.
    pub moments_q: Mat<f64>,
    /// sum_p q(p) h(p)' of every image and label, `[draws, r, r]`.
    outer: Vec<f32>,
}

impl GateFactors {
    /// Images whose factors the host has memory for.
    pub fn most_images(layout: &AdapterLayout, labels: Labels) -> usize {
        let squares = layout.layers.iter().map(|layer| layer.rank().pow(2));
        let per_image = size_of::<f32>() * labels.count() * squares.sum::<usize>();
        MOST_BYTES / per_image.max(1)
    }

    /// Goes through at most `images` images of a set, evenly spread, one backward pass a label. `progress` is called with
    /// the number of images done.
    ///
    /// # Errors
    /// There are no images, the GPU fails, or a batch does not fit it; an image file has changed since the set was opened.
    pub fn gather(
        predictor: &Predictor,
        source: &Source,
        images: usize,
        labels: Labels,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, PredictError> {
        let layout = &predictor.layout;
        let indices = spread(source.dataset.len(), images);
        let rows = match predictor.network.gpu.is_software() {
            true => SOFTWARE_ROWS,
            false => HARDWARE_ROWS,
        };
        let rows = rows.min(indices.len());
        if rows == 0 {
            return Err(PredictError::Empty);
        }
        let forward = predictor.plan(predictor.spec(source, rows, 1))?;
        let plan = FactorPlan::new(predictor, source.input(), rows, labels.count())?;
        let ranks = layout.layers.iter().map(LayoutLayer::rank);
        let mut sums: Vec<Sum> = ranks.map(Sum::new).collect();
        let batches: Vec<&[usize]> = indices.chunks(rows).collect();
        let fetch = |number: usize| source.fetch(batches[number], None);
        let mean = StepValues::prediction(0, 0, GateMode::Mean);
        prefetch(batches.len(), fetch, |ahead| {
            for (number, batch) in batches.iter().enumerate() {
                let inputs = ahead.next(|| ()).expect("as many as there are batches")?;
                inputs.write(&forward.batch);
                inputs.write(&plan.batch);
                let ids: Vec<u32> = batch.iter().map(|index| *index as u32).collect();
                let log_probs = forward.run(&ids, &mean)?;
                plan.run(&log_probs, |row, draw, log_probs| match labels {
                    Labels::Given => source.dataset.labels[batch[row]] as usize,
                    Labels::Drawn { seed } => {
                        let number = (labels.count() * batch[row] + draw) as u64;
                        let mut rng = keyed_rng("labels of gate gradients", seed, number);
                        class(log_probs, rng.random())
                    }
                });
                for site in &plan.sites {
                    sums[site.number].add(&plan, site, batch.len())?;
                }
                progress(number * rows + batch.len());
            }
            Ok::<_, PredictError>(())
        })?;
        let images = indices.len();
        let finish = |sum: Sum| sum.finish(images, labels.count());
        let layers = sums.into_iter().map(finish).collect();
        Ok(Self { layers, images })
    }
}

impl LayerFactors {
    /// The gradient of each gate for every image and label `[draws, k]` in the basis where h is `left` h `[k, r]` and q
    /// is `right`' q `[r, k]`: (right' (sum_p q h') left')_ii.
    pub fn gradients(&self, left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
        let (k, r) = left.shape();
        let draws = self.outer.len() / (r * r).max(1);
        // sum_ab right_ai left_ib outer_ab, a product with the matrix of these weights.
        let weights = Mat::from_fn(r * r, k, |ab, i| right[(ab / r, i)] * left[(i, ab % r)]);
        let outer = Mat::from_fn(draws, r * r, |n, ab| f64::from(self.outer[n * r * r + ab]));
        outer * weights
    }
}

/// The class that a uniform number stands for.
fn class(log_probs: &[f32], uniform: f64) -> usize {
    let mut left = uniform;
    for (class, log) in log_probs.iter().enumerate() {
        left -= f64::from(*log).exp();
        if left < 0.0 {
            return class;
        }
    }
    log_probs.len() - 1
}

/// One layer's sums over batches.
struct Sum {
    rank: usize,
    h: Mat<f64>,
    q: Mat<f64>,
    positions: usize,
    outer: Vec<f32>,
}

impl Sum {
    fn new(rank: usize) -> Self {
        Self {
            rank,
            h: Mat::zeros(rank, rank),
            q: Mat::zeros(rank, rank),
            positions: 1,
            outer: Vec::new(),
        }
    }

    fn add(&mut self, plan: &FactorPlan, site: &FactorSite, images: usize) -> Result<(), GpuError> {
        let h = plan.plan.read(site.h)?;
        let q: Vec<Vec<f32>> = site
            .q
            .iter()
            .map(|slot| plan.plan.read(*slot))
            .collect::<Result<_, _>>()?;
        let (positions, width) = (site.map.positions(), site.map.quads() * 4);
        self.positions = positions;
        // [rank, position] of one row.
        let of_row = |values: &[f32], row: usize, scale: f64| {
            Mat::from_fn(self.rank, positions, |i, p| {
                scale * f64::from(values[(p * plan.rows + row) * width + i])
            })
        };
        // h h', and q q' and q h' for each label.
        let of_image = |row: usize| {
            let h = of_row(&h, row, 1.0);
            let labels = q.iter().map(|q| {
                let q = of_row(q, row, plan.scale);
                (&q * q.transpose(), &q * h.transpose())
            });
            let labels: Vec<_> = labels.collect();
            (&h * h.transpose(), labels)
        };
        let rows: Vec<_> = (0..images).into_par_iter().map(of_image).collect();
        for (h, labels) in rows {
            self.h += h;
            for (q, outer) in labels {
                self.q += q;
                let values = (0..self.rank).flat_map(|i| (0..self.rank).map(move |j| (i, j)));
                self.outer.extend(values.map(|at| outer[at] as f32));
            }
        }
        Ok(())
    }

    fn finish(self, images: usize, labels: usize) -> LayerFactors {
        let (images, labels) = (images as f64, labels as f64);
        LayerFactors {
            moments_h: self.h / faer::Scale(images * self.positions as f64),
            moments_q: self.q / faer::Scale(images * labels),
            outer: self.outer,
        }
    }
}

/// Where the factors of one adapter are.
struct FactorSite {
    /// Its number in the layout.
    number: usize,
    map: Map,
    h: Slot,
    /// One for each label.
    q: Vec<Slot>,
}

/// A forward pass, and a backward pass for each label from gradients that the host writes.
struct FactorPlan {
    gpu: Gpu,
    plan: Plan,
    batch: Batch,
    sites: Vec<FactorSite>,
    /// dL/dlogits for each label.
    gradients: Vec<wgpu::Buffer>,
    rows: usize,
    classes: usize,
    scale: f64,
}

impl FactorPlan {
    fn new(
        predictor: &Predictor,
        input: BatchInput,
        rows: usize,
        labels: usize,
    ) -> Result<Self, GpuError> {
        let adapted = predictor.adapted();
        let gpu = &adapted.network.gpu;
        // Sums over the batch, which are not read.
        let sums = gpu.storage("gradients", 4 * adapted.layout.len as u64);
        let mut pass = adapted.forward(input, rows, 1, None);
        let floats = pass.logit_floats();
        let gradients = (0..labels).map(|_| gpu.storage("d logits", 4 * floats as u64));
        let gradients: Vec<wgpu::Buffer> = gradients.collect();
        let backward = |gradient| {
            let grad = pass.logit_gradients(gradient);
            pass.backward(grad, &sums).factors
        };
        let each: Vec<Vec<AdapterFactors>> = gradients.iter().map(backward).collect();
        let site = |(place, first): (usize, &AdapterFactors)| FactorSite {
            number: first.number,
            map: first.h.map,
            h: first.h.slot,
            q: each.iter().map(|factors| factors[place].q.slot).collect(),
        };
        let sites: Vec<FactorSite> = each[0].iter().enumerate().map(site).collect();
        for site in &sites {
            let slots = site.q.iter().chain([&site.h]);
            slots.for_each(|slot| pass.graph.builder.keep(*slot));
        }
        Ok(Self {
            gpu: gpu.clone(),
            plan: pass.graph.builder.build()?,
            batch: pass.batch,
            sites,
            gradients,
            rows,
            classes: adapted.layout.classes,
            scale: f64::from(adapted.scale),
        })
    }

    /// Runs the batch written before, whose log probabilities are given, with the label that each row and draw is said
    /// to have.
    fn run(&self, log_probs: &[f32], mut label: impl FnMut(usize, usize, &[f32]) -> usize) {
        let width = self.classes.next_multiple_of(4);
        for (draw, buffer) in self.gradients.iter().enumerate() {
            // Rows that the batch leaves empty have none.
            let mut values = vec![0.0f32; self.rows * width];
            let rows = log_probs.chunks_exact(self.classes);
            for (row, (logs, gradient)) in rows.zip(values.chunks_exact_mut(width)).enumerate() {
                let pairs = gradient.iter_mut().zip(logs);
                pairs.for_each(|(to, log)| *to = log.exp());
                gradient[label(row, draw, logs)] -= 1.0;
            }
            self.gpu.write(buffer, 0, bytemuck::cast_slice(&values));
        }
        self.plan.run();
    }
}
