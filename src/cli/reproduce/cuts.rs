//! Cuts of a finished adapter in every basis and order of the study, without training.

use anyhow::{Context as _, Result};
use bayeslora::formats::Adapter;
use bayeslora::model::{AdapterLayout, AdapterState, Backbone, exchange};
use bayeslora::predict::{GateFactors, Labels, Predictor, Samples, Source};
use bayeslora::study::{CutLine, CutRecord, Place, SAMPLED_SHARE, SAMPLES, Stored, cut_lines};
use bayeslora::train::gauge::{Cut, EVIDENCE_IMAGES, Evidence, Posterior, Ranks};
use bayeslora::train::{PruneGauge, Trainer, weakest};

use crate::cli::context::Bar;

/// Keeps the answers of every cut on the validation images and these test images, and at last what else is known of the
/// cuts. One pass over training images serves them all.
pub fn try_cuts(
    trainer: &Trainer,
    backbone: &Backbone,
    test: &Source,
    shares: &[f64],
    place: &Place,
) -> Result<()> {
    let validation = trainer.validation_set().context("no validation images")?;
    let adapter = trainer.adapter()?;
    let evidence = evidence(trainer, validation)?;
    let gated = adapter.layers.iter().all(|layer| layer.log_alpha.is_some());
    let lines = cut_lines(gated, trainer.config().seed);
    let (bar, total) = (Bar::default(), lines.len() * shares.len());
    let mut records = Vec::new();
    let mut found: Option<(PruneGauge, Ranks)> = None;
    for line in lines {
        let ranks = match found.take() {
            Some((gauge, ranks)) if gauge == line.gauge => ranks,
            _ => {
                let mixed = (gated && line.gauge != PruneGauge::None).then_some(Posterior::Mixed);
                let ways = (line.gauge, mixed);
                Ranks::new(backbone, &adapter, trainer.config(), ways, Some(&evidence))?
            }
        };
        let order = weakest(&ranks.scores(line.order)?, 0);
        for share in std::iter::once(1.0).chain(shares.iter().copied()) {
            let left = (share * order.len() as f64).round() as usize;
            let gone = &order[..order.len() - left];
            let cut = ranks.without(gone);
            let predicted = ranks.predicted(gone).expect("there is evidence");
            records.push(CutRecord {
                gauge: line.gauge.name().into(),
                order: line.order.name().into(),
                share,
                ranks: cut.layout.total_rank(),
                scalars: cut.adapter.scalars(),
                predicted_nll_change: predicted.nll_change,
                predicted_kl: predicted.kl,
            });
            if share < 1.0 {
                let cutting = Cutting {
                    trainer,
                    adapter: &adapter,
                    place,
                    line,
                    share,
                };
                cutting.answer(&cut, gated, [("validation", validation), ("test", test)])?;
                let done = records.len() * shares.len() / (shares.len() + 1);
                bar.show("cutting ranks", done, total);
            }
        }
        found = Some((line.gauge, ranks));
    }
    Ok(place.write_cuts(records)?)
}

fn evidence(trainer: &Trainer, validation: &Source) -> Result<Evidence> {
    let predictor = trainer.predictor();
    let drawn = Labels::Drawn {
        seed: trainer.config().seed,
    };
    let images = EVIDENCE_IMAGES.min(GateFactors::most_images(predictor.layout(), drawn));
    let bar = Bar::default();
    let mut progress = |done, total| bar.show("weighing ranks", done, total);
    let train = trainer.training_set();
    Ok(Evidence::gather(
        &predictor,
        train,
        validation,
        images,
        drawn,
        &mut progress,
    )?)
}

/// One cut of one run.
struct Cutting<'a> {
    trainer: &'a Trainer,
    adapter: &'a Adapter,
    place: &'a Place,
    line: CutLine,
    share: f64,
}

impl Cutting<'_> {
    /// Keeps the answers that are not there yet: of the mean weights, and of the gates where half of the ranks is left.
    fn answer(&self, cut: &Cut, gated: bool, sets: [(&str, &Source); 2]) -> Result<()> {
        let mean = self.predictor(cut.layout.clone(), &cut.state);
        for (set, source) in sets {
            let stored = Stored::cut(set, self.line, self.share, 0);
            self.keep(&stored, &mean, source, Samples::MEAN)?;
            if gated && self.share == SAMPLED_SHARE {
                let resnet = &self.trainer.network().resnet;
                let (layout, state) = exchange::from_file(resnet, &cut.adapter)?;
                let drawn = Samples::new(SAMPLES, self.trainer.config().seed);
                let stored = Stored::cut(set, self.line, self.share, drawn.count);
                self.keep(&stored, &self.predictor(layout, &state), source, drawn)?;
            }
        }
        Ok(())
    }

    fn predictor(&self, layout: AdapterLayout, state: &AdapterState) -> Predictor {
        Predictor::with_state(
            self.trainer.network().clone(),
            layout,
            state,
            self.adapter.scale(),
            Some(self.adapter.gates),
            self.adapter.resolution,
        )
    }

    fn keep(
        &self,
        stored: &Stored,
        predictor: &Predictor,
        source: &Source,
        samples: Samples,
    ) -> Result<()> {
        if self.place.has(stored) {
            return Ok(());
        }
        let log_probs = predictor.log_probs(source, samples, &mut |_| ())?;
        let (draws, classes) = (samples.count.max(1), predictor.layout().classes);
        Ok(self.place.write(stored, &log_probs, draws, classes)?)
    }
}
