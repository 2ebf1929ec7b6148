//! Where the rows of a batch come from: images, on the host or on the GPU, or their cached features.

use std::sync::Arc;

use half::f16;

use super::{FeatureCache, PredictError};
use crate::data::{DataError, Dataset, prefetch};
use crate::gpu::Gpu;
use crate::model::{Batch, BatchInput, Cut, FrozenNetwork, PLAIN_VIEW, ResidentImages, View};

/// Bytes that sources may still take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Host memory for cached features.
    pub features: u64,
    /// GPU memory for images.
    pub images: u64,
}

/// A set of labelled images, with its features or the images themselves on the GPU where they fit a
/// budget. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    pub dataset: Arc<Dataset>,
    /// The network's input size.
    size: usize,
    rows: Rows,
}

#[derive(Clone)]
enum Rows {
    /// Uploaded with each batch.
    Images,
    Resident(Arc<ResidentImages>),
    Features(Arc<(FeatureCache, Vec<View>)>),
}

/// The inputs of one batch on the host.
pub enum Inputs {
    Images {
        pixels: Vec<u8>,
        views: Vec<View>,
    },
    Picks {
        images: Vec<usize>,
        views: Vec<View>,
    },
    Features(Vec<f16>),
}

/// Images of an upload, a multiple of four.
const UPLOAD: usize = 128;

impl Source {
    /// Images that are uploaded with each batch, for sets that are gone through once or twice.
    pub fn images(dataset: Dataset, size: usize) -> Self {
        Self {
            dataset: Arc::new(dataset),
            size,
            rows: Rows::Images,
        }
    }

    /// The features under each of `views`, where there are views to cache and the features fit the
    /// budget; else the images on the GPU, where they fit; else images uploaded with each batch.
    /// What is taken goes off the budget.
    ///
    /// # Errors
    /// The GPU fails, or an image file has changed since the set was opened.
    pub fn within(
        budget: &mut Budget,
        network: &FrozenNetwork,
        cut: Cut,
        dataset: Dataset,
        size: usize,
        views: &[View],
        progress: impl FnMut(usize),
    ) -> Result<Self, PredictError> {
        let map = network.resnet.cut_map(cut, size);
        let features = FeatureCache::bytes(map, dataset.len(), views.len());
        let images = (dataset.len() * dataset.image_bytes()) as u64;
        let rows = if !views.is_empty() && features <= budget.features {
            budget.features -= features;
            let cache = FeatureCache::compute(network, cut, &dataset, size, views, progress)?;
            Rows::Features(Arc::new((cache, views.to_vec())))
        } else if images <= budget.images {
            let resident = resident(&network.gpu, &dataset, progress)?;
            budget.images -= resident.as_ref().map_or(0, |_| images);
            resident.map_or(Rows::Images, |images| Rows::Resident(Arc::new(images)))
        } else {
            Rows::Images
        };
        Ok(Self {
            dataset: Arc::new(dataset),
            size,
            rows,
        })
    }

    /// The same with the first `n` images alone.
    pub fn first(&self, n: usize) -> Self {
        let indices: Vec<usize> = (0..n.min(self.dataset.len())).collect();
        Self {
            dataset: Arc::new(self.dataset.subset(&indices)),
            ..self.clone()
        }
    }

    /// Whether batches are features.
    pub fn is_cached(&self) -> bool {
        matches!(self.rows, Rows::Features(_))
    }

    /// Whether the images lie on the GPU.
    pub fn is_resident(&self) -> bool {
        matches!(self.rows, Rows::Resident(_))
    }

    /// What its batches are.
    pub fn input(&self) -> BatchInput {
        match &self.rows {
            Rows::Features(cache) => BatchInput::Features { map: cache.0.map() },
            Rows::Resident(images) => BatchInput::Resident {
                images: images.clone(),
                size: self.size,
            },
            Rows::Images => BatchInput::Images {
                side: self.dataset.side,
                size: self.size,
            },
        }
    }

    /// The inputs of a batch of `rows`: some images under the given views (the plain one where none
    /// are given). Reads and decodes what is not in memory.
    ///
    /// # Errors
    /// An image file has changed since the set was opened.
    ///
    /// # Panics
    /// When the features of a view are not cached: augmentations that move pixels are not.
    pub fn fetch(
        &self,
        rows: usize,
        indices: &[usize],
        views: Option<&[View]>,
    ) -> Result<Inputs, DataError> {
        let views = match views {
            Some(views) => views.to_vec(),
            None => vec![PLAIN_VIEW; indices.len()],
        };
        Ok(match &self.rows {
            Rows::Images => Inputs::Images {
                pixels: self.dataset.read(indices)?,
                views,
            },
            Rows::Resident(_) => Inputs::Picks {
                images: indices.to_vec(),
                views,
            },
            Rows::Features(cache) => {
                let (cache, known) = &**cache;
                let place = |view: &View| {
                    let found = known.iter().position(|known| known == view);
                    found.expect("the features of every view in use are cached")
                };
                let picks: Vec<_> = indices
                    .iter()
                    .zip(&views)
                    .map(|(index, view)| (*index, place(view)))
                    .collect();
                Inputs::Features(cache.gather(&picks, rows))
            }
        })
    }
}

impl Inputs {
    /// Uploads them.
    pub fn write(&self, batch: &Batch) {
        match self {
            Self::Images { pixels, views } => batch.write_images(pixels, views),
            Self::Picks { images, views } => batch.write_picks(images, views),
            Self::Features(features) => batch.write_features(features),
        }
    }
}

/// At most `count` of `0..len`, evenly spread: sets in folders are sorted by class.
pub(super) fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}

/// All images of a set on the GPU; `None` where it has no memory for them.
fn resident(
    gpu: &Gpu,
    dataset: &Dataset,
    mut progress: impl FnMut(usize),
) -> Result<Option<ResidentImages>, PredictError> {
    let Some(images) = ResidentImages::reserve(gpu, dataset.len(), dataset.side)? else {
        return Ok(None);
    };
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let parts: Vec<&[usize]> = indices.chunks(UPLOAD).collect();
    let read = |part: usize| dataset.read(parts[part]);
    prefetch(parts.len(), read, |ahead| {
        for part in &parts {
            let pixels = ahead.next(|| ()).expect("as many as there are parts")?;
            images.write(part[0], &pixels)?;
            progress(part[part.len() - 1] + 1);
        }
        Ok(Some(images))
    })
}
