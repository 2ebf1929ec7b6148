//! Where the rows of a batch come from: images or their cached features, on the host or on the GPU.

use std::sync::Arc;

use half::f16;

use super::PredictError;
use super::features::{FeatureSet, HostFeatures};
use crate::data::{DataError, Dataset, prefetch};
use crate::gpu::Gpu;
use crate::model::{
    Batch, BatchInput, Cut, FrozenNetwork, PLAIN_VIEW, ResidentFeatures, ResidentImages, View,
};

/// Bytes that sources may still take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Host memory for cached features; `None` caches none, on the GPU neither.
    pub features: Option<u64>,
    /// GPU memory for cached features or images.
    pub resident: u64,
}

/// A set of labelled images, with its features, or the images themselves on the GPU, where they fit a
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
    /// Of every image under each of the views.
    Features(Features, Arc<[View]>),
}

#[derive(Clone)]
enum Features {
    Resident(Arc<ResidentFeatures>),
    Host(Arc<HostFeatures>),
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
    FeaturePicks(Vec<usize>),
    Features {
        set: Arc<HostFeatures>,
        rows: Vec<usize>,
    },
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

    /// Where there are views to cache, the features under each of them, on the GPU or else in host
    /// memory, where they fit the budget; else the images on the GPU, where they fit; else images
    /// uploaded with each batch. What is taken goes off the budget.
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
        mut progress: impl FnMut(usize),
    ) -> Result<Self, PredictError> {
        let set = FeatureSet {
            network,
            cut,
            dataset: &dataset,
            size,
            views,
        };
        let rows = match features(budget, set, &mut progress)? {
            Some(features) => Rows::Features(features, views.into()),
            None => match resident(budget, &network.gpu, &dataset, progress)? {
                Some(images) => Rows::Resident(Arc::new(images)),
                None => Rows::Images,
            },
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
        matches!(self.rows, Rows::Features(..))
    }

    /// Whether the images or their features lie on the GPU.
    pub fn is_resident(&self) -> bool {
        matches!(
            self.rows,
            Rows::Resident(_) | Rows::Features(Features::Resident(_), _)
        )
    }

    /// What its batches are.
    pub fn input(&self) -> BatchInput {
        match &self.rows {
            Rows::Features(Features::Resident(features), _) => {
                BatchInput::ResidentFeatures(features.clone())
            }
            Rows::Features(Features::Host(features), _) => BatchInput::Features {
                map: features.map(),
            },
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

    /// The inputs of a batch: some images under the given views (the plain one where none are given).
    /// Reads and decodes what is not in memory.
    ///
    /// # Errors
    /// An image file has changed since the set was opened.
    ///
    /// # Panics
    /// When the features of a view are not cached: augmentations that move pixels are not.
    pub fn fetch(&self, indices: &[usize], views: Option<&[View]>) -> Result<Inputs, DataError> {
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
            Rows::Features(features, known) => {
                let place = |view: &View| {
                    let found = known.iter().position(|known| known == view);
                    found.expect("the features of every view in use are cached")
                };
                let rows = indices
                    .iter()
                    .zip(&views)
                    .map(|(index, view)| index * known.len() + place(view))
                    .collect();
                match features {
                    Features::Resident(_) => Inputs::FeaturePicks(rows),
                    Features::Host(set) => Inputs::Features {
                        set: set.clone(),
                        rows,
                    },
                }
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
            Self::FeaturePicks(rows) => batch.write_feature_picks(rows),
            Self::Features { set, rows } => {
                let rows: Vec<&[f16]> = rows.iter().map(|row| set.row(*row)).collect();
                batch.write_features(&rows);
            }
        }
    }
}

/// The features of a set, where they are to be cached and there is memory for them.
fn features(
    budget: &mut Budget,
    set: FeatureSet,
    mut progress: impl FnMut(usize),
) -> Result<Option<Features>, PredictError> {
    let bytes = set.bytes();
    let Some(host) = budget.features.as_mut().filter(|_| !set.views.is_empty()) else {
        return Ok(None);
    };
    if bytes <= budget.resident
        && let Some(features) = set.on_gpu(&mut progress)?
    {
        budget.resident -= bytes;
        return Ok(Some(Features::Resident(Arc::new(features))));
    }
    if bytes > *host {
        return Ok(None);
    }
    *host -= bytes;
    let features = set.on_host(progress)?;
    Ok(Some(Features::Host(Arc::new(features))))
}

/// At most `count` of `0..len`, evenly spread: sets in folders are sorted by class.
pub(super) fn spread(len: usize, count: usize) -> Vec<usize> {
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}

/// All images of a set on the GPU; `None` where there is no memory for them.
fn resident(
    budget: &mut Budget,
    gpu: &Gpu,
    dataset: &Dataset,
    mut progress: impl FnMut(usize),
) -> Result<Option<ResidentImages>, PredictError> {
    let bytes = (dataset.len() * dataset.image_bytes()) as u64;
    if bytes > budget.resident {
        return Ok(None);
    }
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
        budget.resident -= bytes;
        Ok(Some(images))
    })
}
