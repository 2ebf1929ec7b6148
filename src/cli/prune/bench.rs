//! The images of a prune, and what the GPU says about them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::{
    AdapterLayout, AdapterState, FrozenNetwork, KernelChoice, PLAIN_VIEW,
};
use bayeslora::low_level::predict::{
    Evaluated, GateFactors, Labels, Predictor, Samples, Source, evaluate, fitted,
};
use bayeslora::low_level::train::gauge::{EVIDENCE_IMAGES, Evidence};
use serde::Serialize;

use crate::cli::context::Bar;
use crate::cli::location::Location;
use crate::cli::run::Run;
use crate::cli::run_images::Changed;

/// What the cost is measured on.
#[derive(Serialize)]
pub struct HeldOutSet {
    pub data: Location,
    /// `validation` or `test`.
    pub split: &'static str,
    pub images: usize,
}

/// The images of a prune.
pub struct Images {
    /// Where they were asked for.
    pub train: Option<Dataset>,
    pub held_out: Dataset,
    pub set: HeldOutSet,
}

impl Images {
    /// The validation split of the run, or the test set where it had none, and its training images where they are needed.
    pub fn open(run: &Run, data: Option<&Location>, train: bool, bar: &Bar) -> Result<Self> {
        let data = data.unwrap_or(&run.inputs.data);
        let own = run.own(data, Changed::Say)?;
        let (part, split) = match own.recorded.validation.is_empty() {
            false => (Part::Validation, "validation"),
            true => (Part::Test, "test"),
        };
        let (train, held_out) = match train {
            true => {
                let [train, held_out] = own.open([Part::Train, part], bar)?;
                (Some(run.align(train)?), held_out)
            }
            false => {
                let [held_out] = own.open([part], bar)?;
                (None, held_out)
            }
        };
        let held_out = run.align(held_out)?;
        let set = HeldOutSet {
            data: data.clone(),
            split,
            images: held_out.len(),
        };
        Ok(Self {
            train,
            held_out,
            set,
        })
    }
}

/// A backbone on the GPU with held-out images.
pub struct Bench {
    network: Arc<FrozenNetwork>,
    held_out: Source,
    scale: f32,
    size: usize,
    bar: Bar,
}

impl Bench {
    pub fn new(gpu: &Gpu, run: &Run, held_out: Dataset, bar: Bar) -> Result<Self> {
        let network = FrozenNetwork::new(gpu, KernelChoice::for_gpu(gpu), &run.backbone);
        let (layout, _) = fitted(&run.backbone, &run.adapter)?;
        let convs: Vec<_> = layout
            .layers
            .iter()
            .filter_map(|layer| layer.conv)
            .collect();
        let (cut, size) = (network.resnet.cut(&convs), run.adapter.resolution);
        let (mut budget, total) = (run.config.budget(), held_out.len());
        // Every attempt goes through the same frozen layers.
        let progress = |done| bar.show("caching", done, total);
        let views = &[PLAIN_VIEW];
        let held_out = Source::within(&mut budget, &network, cut, held_out, size, views, progress)?;
        Ok(Self {
            network: Arc::new(network),
            held_out,
            scale: run.adapter.scale(),
            size,
            bar,
        })
    }

    /// The held-out images' own.
    pub fn labels(&self) -> &[u32] {
        &self.held_out.dataset.labels
    }

    /// Mean weights.
    fn predictor(&self, layout: &AdapterLayout, state: &AdapterState) -> Predictor {
        Predictor::with_state(
            self.network.clone(),
            layout.clone(),
            state,
            self.scale,
            None,
            self.size,
        )
    }

    /// Scores with the mean weights.
    pub fn score(&self, layout: &AdapterLayout, state: &AdapterState) -> Result<Evaluated> {
        let total = self.held_out.dataset.len();
        let mut progress = |done| self.bar.show("evaluating", done, total);
        Ok(evaluate(
            &self.predictor(layout, state),
            &self.held_out,
            Samples::MEAN,
            0.0,
            &mut progress,
        )?)
    }

    /// Asks training images, `wanted` of them or the usual number, with labels drawn from the model, and as many held-out
    /// images with their own.
    pub fn evidence(&self, run: &Run, train: Dataset, wanted: Option<usize>) -> Result<Evidence> {
        let (layout, state) = fitted(&run.backbone, &run.adapter)?;
        let labels = Labels::Drawn {
            seed: run.config.seed,
        };
        let most = GateFactors::most_images(&layout, labels);
        ensure!(
            wanted.is_none_or(|images| images.min(train.len()) <= most),
            "--evidence-images: there is too little memory for the gradients of so many images and {} ranks; take at most \
             {most}",
            layout.total_rank()
        );
        let images = wanted.unwrap_or(EVIDENCE_IMAGES.min(most));
        let predictor = self.predictor(&layout, &state);
        let train = Source::images(train, self.size);
        let mut progress = |done, total| self.bar.show("weighing ranks", done, total);
        Ok(Evidence::gather(
            &predictor,
            &train,
            &self.held_out,
            images,
            labels,
            &mut progress,
        )?)
    }
}
