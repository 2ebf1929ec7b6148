//! Features at the cut, computed once per image and view, rounded to f16, and kept on the GPU or in host
//! memory.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::PredictError;
use crate::data::{DataError, Dataset, prefetch};
use crate::gpu::{GpuError, Plan, Slot, largest_that_fits};
use crate::model::{Batch, BatchInput, Cut, FrozenNetwork, Graph, Map, ResidentFeatures, View};

/// Rows computed at a time.
const ROWS: usize = 64;

/// The images and views whose features are computed.
#[derive(Clone, Copy)]
pub struct FeatureSet<'a> {
    pub network: &'a FrozenNetwork,
    pub cut: Cut,
    pub dataset: &'a Dataset,
    /// The network's input size.
    pub size: usize,
    pub views: &'a [View],
}

/// Computes rows at a time: images under all views.
struct Prefix {
    plan: Plan,
    batch: Batch,
    out: Slot,
    map: Map,
    /// Of the plan.
    rows: usize,
}

impl FeatureSet<'_> {
    pub fn map(&self) -> Map {
        self.network.resnet.cut_map(self.cut, self.size)
    }

    /// Features of every image under every view: rows.
    pub fn rows(&self) -> usize {
        self.dataset.len() * self.views.len()
    }

    /// Bytes of all features.
    pub fn bytes(&self) -> u64 {
        2 * (self.map().floats() * self.rows()) as u64
    }

    /// Computes the features and uploads them; `None` where the GPU does not have the memory.
    /// `progress` is called with the number of images done.
    ///
    /// # Errors
    /// The GPU fails in another way, or an image file has changed since the set was opened.
    pub fn on_gpu(
        &self,
        progress: impl FnMut(usize),
    ) -> Result<Option<ResidentFeatures>, PredictError> {
        let gpu = &self.network.gpu;
        let Some(resident) = ResidentFeatures::reserve(gpu, self.map(), self.rows())? else {
            return Ok(None);
        };
        let write = |first: usize, features: &[f16]| resident.write(first, features);
        match self.compute(write, progress) {
            Ok(()) => Ok(Some(resident)),
            // They leave too little to compute with.
            Err(PredictError::Gpu(GpuError::OutOfMemory { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Computes the features and keeps them in host memory. `progress` is called with the number of
    /// images done.
    ///
    /// # Errors
    /// The GPU fails, or an image file has changed since the set was opened.
    pub fn on_host(&self, progress: impl FnMut(usize)) -> Result<HostFeatures, PredictError> {
        let map = self.map();
        let mut data = Vec::with_capacity(map.floats() * self.rows());
        let keep = |_: usize, features: &[f16]| {
            data.extend_from_slice(features);
            Ok(())
        };
        self.compute(keep, progress)?;
        Ok(HostFeatures { map, data })
    }

    /// Calls `keep` with the features of rows from a number on, `[rows, position, channel]`, in order.
    fn compute(
        &self,
        mut keep: impl FnMut(usize, &[f16]) -> Result<(), GpuError>,
        mut progress: impl FnMut(usize),
    ) -> Result<(), PredictError> {
        let (images, views) = (self.dataset.len(), self.views);
        if images == 0 {
            return Err(PredictError::Empty);
        }
        let most = (ROWS / views.len()).clamp(1, images);
        let prefix = |at_once: usize| Prefix::new(self, at_once * views.len());
        let (at_once, prefix) = largest_that_fits(most, prefix)?;
        let indices: Vec<usize> = (0..images).collect();
        let groups: Vec<&[usize]> = indices.chunks(at_once).collect();
        // Each image once a view.
        let read = |group: usize| {
            let pixels = self.dataset.read(groups[group])?;
            let images = pixels.chunks_exact(self.dataset.image_bytes());
            let rows = images.flat_map(|image| std::iter::repeat_n(image, views.len()));
            Ok::<_, DataError>(rows.collect::<Vec<_>>().concat())
        };
        prefetch(groups.len(), read, |ahead| {
            // The GPU computes a group while the host takes the one before.
            let mut last = None;
            for number in 0..=groups.len() {
                let next = groups.get(number).map(|group| {
                    let pixels = ahead.next(|| ()).expect("as many as there are groups")?;
                    prefix
                        .batch
                        .write_images(&pixels, &views.repeat(group.len()));
                    prefix.plan.run();
                    Ok::<_, DataError>((number, prefix.plan.read_later(prefix.out)))
                });
                if let Some((number, reading)) = std::mem::replace(&mut last, next.transpose()?) {
                    let group = groups[number];
                    let rows = group.len() * views.len();
                    let features = prefix.halves(&reading.wait()?, rows);
                    keep(number * at_once * views.len(), &features)?;
                    progress(number * at_once + group.len());
                }
            }
            Ok(())
        })
    }
}

impl Prefix {
    fn new(set: &FeatureSet, rows: usize) -> Result<Self, GpuError> {
        let (network, size) = (set.network, set.size);
        let side = set.dataset.side;
        let batch = Batch::new(&network.gpu, BatchInput::Images { side, size }, rows);
        let mut graph = Graph::new(&network.gpu, network.kernels);
        let out = batch.features(&mut graph, network, set.cut);
        graph.builder.keep(out.slot);
        Ok(Self {
            plan: graph.builder.build()?,
            batch,
            out: out.slot,
            map: out.map,
            rows,
        })
    }

    /// The first `rows` rows of what the plan gave, `[position, row, channel]`, row by row.
    fn halves(&self, found: &[f32], rows: usize) -> Vec<f16> {
        let width = self.map.quads() * 4;
        let mut halves = vec![f16::ZERO; self.map.floats() * rows];
        let each = halves.par_chunks_exact_mut(self.map.floats()).enumerate();
        each.for_each(|(row, features)| {
            for (position, channels) in features.chunks_exact_mut(width).enumerate() {
                let start = (position * self.rows + row) * width;
                channels.convert_from_f32_slice(&found[start..start + width]);
            }
        });
        halves
    }
}

/// Features in host memory.
pub struct HostFeatures {
    map: Map,
    /// `[row, position, channel]`, channels padded.
    data: Vec<f16>,
}

impl HostFeatures {
    pub fn map(&self) -> Map {
        self.map
    }

    /// Of one row, `[position, channel]`.
    pub fn row(&self, number: usize) -> &[f16] {
        let floats = self.map.floats();
        &self.data[number * floats..][..floats]
    }
}
