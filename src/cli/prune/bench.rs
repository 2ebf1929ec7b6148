//! Scores of adapters of any rank on the same held-out images.

use std::sync::Arc;

use anyhow::Result;
use bayeslora::data::Dataset;
use bayeslora::data::reuse::Part;
use bayeslora::formats::GateDistribution;
use bayeslora::gpu::Gpu;
use bayeslora::model::{AdapterLayout, AdapterState, FrozenNetwork, KernelChoice, PLAIN_VIEW};
use bayeslora::predict::{Evaluated, Predictor, Samples, Source, evaluate};
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

/// The validation split of the run, or the test set where it had none.
pub fn held_out(run: &Run, data: Option<&Location>, bar: &Bar) -> Result<(Dataset, HeldOutSet)> {
    let data = data.unwrap_or(&run.inputs.data);
    let own = run.own(data, Changed::Say)?;
    let (part, split) = match own.recorded.validation.is_empty() {
        false => (Part::Validation, "validation"),
        true => (Part::Test, "test"),
    };
    let [dataset] = own.open([part], bar)?;
    let dataset = run.align(dataset)?;
    let held_out = HeldOutSet {
        data: data.clone(),
        split,
        images: dataset.len(),
    };
    Ok((dataset, held_out))
}

/// A backbone on the GPU with held-out images.
pub struct Bench {
    network: Arc<FrozenNetwork>,
    source: Source,
    scale: f32,
    size: usize,
    bar: Bar,
}

impl Bench {
    pub fn new(
        gpu: &Gpu,
        run: &Run,
        layout: &AdapterLayout,
        dataset: Dataset,
        bar: Bar,
    ) -> Result<Self> {
        let network = FrozenNetwork::new(gpu, KernelChoice::for_gpu(gpu), &run.backbone);
        let convs: Vec<_> = layout
            .layers
            .iter()
            .filter_map(|layer| layer.conv)
            .collect();
        let (cut, size) = (network.resnet.cut(&convs), run.adapter.resolution);
        let (mut budget, total) = (run.config.budget(), dataset.len());
        // Every attempt goes through the same frozen layers.
        let progress = |done| bar.show("caching", done, total);
        let views = &[PLAIN_VIEW];
        let source = Source::within(&mut budget, &network, cut, dataset, size, views, progress)?;
        Ok(Self {
            network: Arc::new(network),
            source,
            scale: run.adapter.scale(),
            size,
            bar,
        })
    }

    /// Scores with the mean weights.
    pub fn score(&self, layout: &AdapterLayout, state: &AdapterState) -> Result<Evaluated> {
        let predictor = Predictor::with_state(
            self.network.clone(),
            layout.clone(),
            state,
            self.scale,
            GateDistribution::Gaussian,
            self.size,
        );
        let total = self.source.dataset.len();
        let mut progress = |done| self.bar.show("evaluating", done, total);
        Ok(evaluate(
            &predictor,
            &self.source,
            Samples::MEAN,
            0.0,
            &mut progress,
        )?)
    }
}
