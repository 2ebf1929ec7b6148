//! Where the rows of a batch come from: images, or their cached features.

use std::sync::Arc;

use half::f16;

use crate::data::Dataset;
use crate::gpu::GpuError;
use crate::model::{Batch, BatchInput, Cut, FeatureCache, FrozenNetwork, PLAIN_VIEW, View};

/// A set of labelled images, with its features where they fit the budget. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    pub dataset: Arc<Dataset>,
    /// The network's input size.
    size: usize,
    cache: Option<Arc<(FeatureCache, Vec<View>)>>,
}

impl Source {
    /// Images without a cache.
    pub fn images(dataset: Dataset, size: usize) -> Self {
        Self {
            dataset: Arc::new(dataset),
            size,
            cache: None,
        }
    }

    /// Images with the features under each of `views`, where they take no more than `budget` bytes
    /// (which they are taken off); without where they take more, or where there are no views to
    /// cache.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn within(
        budget: &mut u64,
        network: &FrozenNetwork,
        cut: Cut,
        dataset: Dataset,
        size: usize,
        views: &[View],
        progress: impl FnMut(usize),
    ) -> Result<Self, GpuError> {
        let map = network.resnet.cut_map(cut, size);
        let bytes = FeatureCache::bytes(map, dataset.len(), views.len());
        if views.is_empty() || bytes > *budget {
            return Ok(Self::images(dataset, size));
        }
        *budget -= bytes;
        Self::cached(network, cut, dataset, size, views, progress)
    }

    fn cached(
        network: &FrozenNetwork,
        cut: Cut,
        dataset: Dataset,
        size: usize,
        views: &[View],
        progress: impl FnMut(usize),
    ) -> Result<Self, GpuError> {
        let cache = FeatureCache::compute(
            network,
            cut,
            (&dataset.pixels, dataset.side),
            size,
            views,
            progress,
        )?;
        Ok(Self {
            cache: Some(Arc::new((cache, views.to_vec()))),
            dataset: Arc::new(dataset),
            size,
        })
    }

    pub fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    /// What its batches are.
    pub fn input(&self) -> BatchInput {
        match self.cache.as_deref() {
            Some((cache, _)) => BatchInput::Features { map: cache.map() },
            None => BatchInput::Images {
                side: self.dataset.side,
                size: self.size,
            },
        }
    }

    /// Uploads some images under the given views (the plain one where none are given).
    ///
    /// # Panics
    /// When the features of a view are not cached: augmentations that move pixels are not.
    pub fn upload(
        &self,
        batch: &Batch,
        rows: usize,
        indices: &[usize],
        views: Option<&[View]>,
        scratch: &mut Vec<f16>,
    ) {
        let view = |row: usize| views.map_or(PLAIN_VIEW, |views| views[row]);
        match self.cache.as_deref() {
            Some((cache, known)) => {
                let place = |row: usize| {
                    let found = known.iter().position(|known| *known == view(row));
                    found.expect("the features of every view in use are cached")
                };
                let picks: Vec<_> = indices
                    .iter()
                    .enumerate()
                    .map(|(row, index)| (*index, place(row)))
                    .collect();
                cache.gather(&picks, rows, scratch);
                batch.write_features(scratch);
            }
            None => {
                let pixels: Vec<u8> = indices
                    .iter()
                    .flat_map(|index| self.dataset.image(*index))
                    .copied()
                    .collect();
                let views: Vec<View> = (0..indices.len()).map(view).collect();
                batch.write_images(&pixels, &views);
            }
        }
    }
}
