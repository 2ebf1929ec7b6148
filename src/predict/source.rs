//! Where the rows of a batch come from: images, or their cached features.

use half::f16;

use crate::data::Dataset;
use crate::gpu::GpuError;
use crate::model::{Batch, BatchInput, Cut, FeatureCache, FrozenNetwork, PLAIN_VIEW, View};

/// A set of labelled images, with its features where they fit the budget.
pub struct Source {
    pub dataset: Dataset,
    /// The network's input size.
    size: usize,
    cache: Option<(FeatureCache, Vec<View>)>,
}

impl Source {
    /// Images without a cache.
    pub fn images(dataset: Dataset, size: usize) -> Self {
        Self {
            dataset,
            size,
            cache: None,
        }
    }

    /// Bytes that caching the features of a set under `views` views takes.
    pub fn cache_bytes(
        network: &FrozenNetwork,
        cut: Cut,
        size: usize,
        images: usize,
        views: usize,
    ) -> u64 {
        FeatureCache::bytes(network.resnet.cut_map(cut, size), images, views)
    }

    /// Images with the features under each of `views` computed now.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn cached(
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
            dataset.side,
            size,
            dataset.len(),
            |index| dataset.image(index),
            views,
            progress,
        )?;
        Ok(Self {
            cache: Some((cache, views.to_vec())),
            dataset,
            size,
        })
    }

    pub fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    /// What its batches are.
    pub fn input(&self) -> BatchInput {
        match &self.cache {
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
        match &self.cache {
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
