//! Cuts of a finished adapter in every basis and order of the study, without training.

use anyhow::{Context as _, Result};
use bayeslora::low_level::formats::Adapter;
use bayeslora::low_level::model::{AdapterParams, Backbone, exchange};
use bayeslora::low_level::predict::{GateFactors, Labels, Predictor, Samples, Source};
use bayeslora::low_level::study::{
    CutLine, CutRecord, CutTo, Place, SAMPLED_SHARE, SAMPLES, Stored, cut_lines,
};
use bayeslora::low_level::train::gauge::{Cut, EVIDENCE_IMAGES, Evidence, Posterior, Ranks};
use bayeslora::low_level::train::{PruneGauge, Trainer, weakest};

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
    let cutter = Cutter::new(trainer, backbone, place)?;
    let sets = [("validation", validation), ("test", test)];
    let lines = cut_lines(cutter.gated, trainer.config().seed);
    let (bar, total) = (Bar::default(), lines.len() * shares.len());
    let mut records = Vec::new();
    let mut found: Option<(PruneGauge, Ranks)> = None;
    for line in lines {
        let ranks = match found.take() {
            Some((gauge, ranks)) if gauge == line.gauge => ranks,
            _ => cutter.ranks(line.gauge)?,
        };
        let order = weakest(&ranks.scores(line.order)?, 0);
        for share in std::iter::once(1.0).chain(shares.iter().copied()) {
            let left = (share * order.len() as f64).round() as usize;
            let gone = &order[..order.len() - left];
            let (cut, record) = cut(&ranks, line, share, gone);
            records.push(record);
            if share < 1.0 {
                let stored = |set: &str, samples| Stored::cut(set, line, share, samples);
                cutter.answer(&cut, share == SAMPLED_SHARE, sets, &stored)?;
                let done = records.len() * shares.len() / (shares.len() + 1);
                bar.show("cutting ranks", done, total);
            }
        }
        found = Some((line.gauge, ranks));
    }
    Ok(place.write_cuts(records)?)
}

/// Keeps the answers of cuts that have rows of their own, those of the gates too, and what is known of each cut beside its
/// answers with the mean weights.
pub fn cut_to(
    trainer: &Trainer,
    backbone: &Backbone,
    test: &Source,
    cuts: &[CutTo],
    place: &Place,
) -> Result<()> {
    let validation = trainer.validation_set().context("no validation images")?;
    let cutter = Cutter::new(trainer, backbone, place)?;
    let layers = trainer.predictor().layout().layers.len();
    let sets = [("validation", validation), ("test", test)];
    for to in cuts {
        let ranks = cutter.ranks(to.line.gauge)?;
        let order = weakest(&ranks.scores(to.line.order)?, 0);
        let left = (to.rank * layers).min(order.len());
        let share = left as f64 / order.len().max(1) as f64;
        let (cut, record) = cut(&ranks, to.line, share, &order[..order.len() - left]);
        for (set, _) in sets {
            place.write_note(&Stored::cut_to(set, *to, 0), &record)?;
        }
        let stored = |set: &str, samples| Stored::cut_to(set, *to, samples);
        cutter.answer(&cut, true, sets, &stored)?;
    }
    Ok(())
}

/// A cut, and what is known of it before it is asked anything.
fn cut(ranks: &Ranks, line: CutLine, share: f64, gone: &[(usize, usize)]) -> (Cut, CutRecord) {
    let cut = ranks.without(gone);
    let predicted = ranks.predicted(gone).expect("there is evidence");
    let record = CutRecord {
        gauge: line.gauge.name().into(),
        order: line.order.name().into(),
        share,
        ranks: cut.params.layout.total_rank(),
        scalars: cut.adapter.scalars(),
        predicted_nll_change: predicted.nll_change,
        predicted_kl: predicted.kl,
    };
    (cut, record)
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

/// Where the answers on a set are kept, by its name and the number of samples.
type Keeping<'a> = &'a dyn Fn(&str, usize) -> Stored;

/// The adapter of a run to be cut.
struct Cutter<'a> {
    trainer: &'a Trainer,
    backbone: &'a Backbone,
    place: &'a Place,
    adapter: Adapter,
    gated: bool,
    evidence: Evidence,
}

impl<'a> Cutter<'a> {
    fn new(trainer: &'a Trainer, backbone: &'a Backbone, place: &'a Place) -> Result<Self> {
        let validation = trainer.validation_set().context("no validation images")?;
        let adapter = trainer.adapter()?;
        Ok(Self {
            gated: adapter.layers.iter().all(|layer| layer.log_alpha.is_some()),
            evidence: evidence(trainer, validation)?,
            trainer,
            backbone,
            place,
            adapter,
        })
    }

    fn ranks(&self, gauge: PruneGauge) -> Result<Ranks<'_>> {
        let mixed = (self.gated && gauge != PruneGauge::None).then_some(Posterior::Mixed);
        let (config, ways) = (self.trainer.config(), (gauge, mixed));
        let evidence = Some(&self.evidence);
        Ok(Ranks::new(
            self.backbone,
            &self.adapter,
            config,
            ways,
            evidence,
        )?)
    }

    /// Keeps the answers that are not there yet: of the mean weights, and of the gates, if there are any and they are asked.
    fn answer(
        &self,
        cut: &Cut,
        sampled: bool,
        sets: [(&str, &Source); 2],
        stored: Keeping,
    ) -> Result<()> {
        let mean = self.predictor(cut.params.clone());
        for (set, source) in sets {
            self.keep(&stored(set, 0), &mean, source, Samples::MEAN)?;
            if self.gated && sampled {
                let resnet = &self.trainer.network().resnet;
                let params = exchange::from_file(resnet, &cut.adapter)?;
                let drawn = Samples::new(SAMPLES, self.trainer.config().seed);
                let stored = stored(set, drawn.count);
                self.keep(&stored, &self.predictor(params), source, drawn)?;
            }
        }
        Ok(())
    }

    fn predictor(&self, params: AdapterParams) -> Predictor {
        let network = self.trainer.network().clone();
        Predictor::with_params(network, params, self.adapter.resolution)
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
