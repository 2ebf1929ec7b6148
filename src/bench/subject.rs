//! What is measured: a backbone, adapters on some of its layers, a batch of images.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BenchError;
use crate::data::{self, Dataset};
use crate::gpu::Gpu;
use crate::model::{
    AdapterLayout, Backbone, BackboneBits, Cut, FrozenNetwork, PLAIN_VIEW, check_fit,
};
use crate::predict::{Budget, Source};
use crate::train::upload;

/// s = lora_alpha / r of the adapters, the commands' default.
pub(super) const SCALE: f32 = 2.0;

/// What a report's figures depend on; reports with other settings are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Images of a batch.
    pub batch: usize,
    /// Side of the network's input in pixels.
    pub size: usize,
    /// Ranks of every adapter.
    pub rank: usize,
    /// Gate samples per image of the predictive.
    pub samples: usize,
    /// The adapted layers.
    pub targets: Vec<String>,
    /// Bits of each frozen weight.
    #[serde(default, skip_serializing_if = "BackboneBits::is_full")]
    pub backbone_bits: BackboneBits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 32,
            size: 64,
            rank: 8,
            samples: 8,
            targets: vec!["layer3".into(), "layer4".into()],
            backbone_bits: BackboneBits::F32,
        }
    }
}

/// The embedded backbone on a device, with a batch of images of the embedded sample.
pub struct Subject {
    pub gpu: Gpu,
    pub settings: Settings,
    pub backbone: Backbone,
    pub network: Arc<FrozenNetwork>,
    /// Places of the adapted convolutions.
    pub convs: Vec<usize>,
    pub cut: Cut,
    images: Dataset,
}

impl Subject {
    /// Uploads the backbone.
    ///
    /// # Errors
    /// The batch does not fit the device, or the program itself is damaged.
    ///
    /// # Panics
    /// When a target is no layer of the backbone.
    pub fn new(gpu: &Gpu, settings: Settings) -> Result<Self, BenchError> {
        let backbone = Backbone::embedded()?.in_bits(settings.backbone_bits);
        let (convs, _) = backbone
            .resnet
            .select(&settings.targets)
            .expect("layers of the backbone");
        let cut = backbone.resnet.cut(&convs);
        check_fit(gpu, &backbone.resnet, cut, settings.size, settings.batch)?;
        let sample = data::open("sample", &Default::default())?.train;
        let indices: Vec<usize> = (0..sample.len()).cycle().take(settings.batch).collect();
        Ok(Self {
            gpu: gpu.clone(),
            network: upload(gpu, &backbone),
            cut,
            convs,
            backbone,
            images: sample.subset(&indices),
            settings,
        })
    }

    /// Adapters of `rank` on every target, with a head for the sample's classes.
    pub fn layout(&self, rank: usize) -> AdapterLayout {
        let ids: Vec<u32> = (0..rank as u32).collect();
        let ids = vec![ids; self.convs.len()];
        let classes = self.images.classes.len();
        AdapterLayout::new(&self.backbone.resnet, &self.convs, false, classes, &ids)
    }

    /// The batch as images.
    pub fn images(&self) -> Source {
        Source::images(self.images.clone(), self.settings.size)
    }

    /// The batch as cached features, on the GPU where it has the memory, as in training.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn features(&self) -> Result<Source, BenchError> {
        Ok(Source::within(
            &mut Budget {
                features: Some(u64::MAX),
                resident: u64::MAX,
            },
            &self.network,
            self.cut,
            self.images.clone(),
            self.settings.size,
            &[PLAIN_VIEW],
            |_| (),
        )?)
    }

    pub(super) fn labels(&self) -> &[u32] {
        &self.images.labels
    }
}
