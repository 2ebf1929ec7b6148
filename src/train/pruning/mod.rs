//! Cutting ranks of a finished adapter: which, how far, and what that costs on held-out images.

mod bench;
mod cuts;
mod error;
mod report;
mod way;

pub use error::PruneError;
pub use report::{CurvePoint, LayerReport, PruneReport, ScoredRank};
pub use way::{PruneOptions, Way};

use self::bench::{Bench, Tell};
use self::cuts::{Cuts, Limits};
use super::gauge::{Cut, Ranks};
use super::kl::effective_rank;
use super::sets::check_set;
use super::{PruneEvent, TrainConfig, weakest};
use crate::data::Dataset;
use crate::formats::Adapter;
use crate::gpu::Gpu;
use crate::model::Backbone;
use crate::predict::{fitted, require_trained};

/// The images of a prune. Labels count the adapter's classes.
pub struct PruneImages {
    /// What the adapter was trained on, where [`Way::needs_evidence`].
    pub train: Option<Dataset>,
    /// What the cost is measured on: neither trained nor, for figures to report, tested on.
    pub held_out: Dataset,
}

/// An adapter whose ranks were turned and put in order, with the held-out images that say what a cut costs.
///
/// There is one order of all ranks, and a cut takes the first so many of it. [`count`](Self::count) says how many the options
/// cut; [`report`](Self::report) and [`adapter`](Self::adapter) take any number.
pub struct Pruning<'a> {
    adapter: &'a Adapter,
    way: Way,
    scores: Vec<Vec<f64>>,
    candidates: usize,
    limits: Limits,
    evidence_images: Option<usize>,
    cuts: Cuts<'a>,
}

impl<'a> Pruning<'a> {
    /// Turns an adapter that `config` has trained over `backbone`. `tell` is called with progress, now and by the other methods.
    ///
    /// # Errors
    /// Options contradict each other or the adapter, whose head must be trained, a set is empty or has labels without a class, an image file has changed, or
    /// the GPU fails.
    pub fn new(
        gpu: &Gpu,
        subject: (&'a Backbone, &'a Adapter, &TrainConfig),
        options: &PruneOptions,
        images: PruneImages,
        tell: Tell,
    ) -> Result<Self, PruneError> {
        let (backbone, adapter, config) = subject;
        require_trained(adapter)?;
        let way = Way::new(options, adapter, config)?;
        let left = options.left(adapter)?;
        let classes = adapter.head.classes;
        check_set("held-out", &images.held_out, classes)?;
        if let Some(train) = &images.train {
            check_set("training", train, classes)?;
        }
        let bench = Bench::new(gpu, subject, images.held_out, tell)?;
        let evidence = match images.train.filter(|_| way.needs_evidence()) {
            None => None,
            Some(train) => {
                let before = fitted(backbone, adapter)?;
                let (wanted, seed) = (options.evidence_images, config.seed);
                Some(bench.evidence(&before, train, wanted, seed, tell)?)
            }
        };
        let how = (way.gauge, way.posterior);
        let ranks = Ranks::new(backbone, adapter, config, how, evidence.as_ref())?;
        let scores = ranks.scores(way.by)?;
        let order = weakest(&scores, options.min_rank);
        let noisy = match options.threshold {
            None => order.len(),
            // They come noisiest first.
            Some(threshold) => order
                .iter()
                .take_while(|(layer, place)| -scores[*layer][*place] >= threshold)
                .count(),
        };
        let candidates = noisy.min(ranks.turned.layout.total_rank() - left);
        Ok(Self {
            adapter,
            way,
            scores,
            candidates,
            limits: Limits {
                nll_increase: options.max_nll_increase,
                accuracy_drop: options.max_accuracy_drop,
            },
            evidence_images: evidence.map(|found| found.fisher.images),
            cuts: Cuts::new(bench, ranks, order, tell)?,
        })
    }

    /// Training images that the evidence is from.
    pub fn evidence_images(&self) -> Option<usize> {
        self.evidence_images
    }

    /// How many ranks the options cut.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn count(&mut self, tell: Tell) -> Result<usize, PruneError> {
        self.cuts.within(self.limits, self.candidates, tell)
    }

    /// The adapter without the first `count` ranks of the order.
    ///
    /// # Panics
    /// There are fewer.
    pub fn adapter(&self, count: usize) -> Adapter {
        self.cuts.cut(count).adapter
    }

    /// What it costs to cut the first `count` ranks, and what it would to cut others.
    ///
    /// # Errors
    /// The GPU fails.
    ///
    /// # Panics
    /// There are fewer.
    pub fn report(&mut self, count: usize, tell: Tell) -> Result<PruneReport, PruneError> {
        let curve = self.cuts.curve(tell)?;
        let after = self.cuts.score(count, tell)?.clone();
        let Self { cuts, way, .. } = &*self;
        let (turned, chosen): (Cut, Cut) = (cuts.cut(0), cuts.cut(count));
        let (before, ranks) = (&cuts.uncut, &cuts.ranks);
        Ok(PruneReport {
            gauge: way.gauge,
            by: way.by,
            posterior: way.posterior,
            candidates: self.candidates,
            event: PruneEvent::new(
                ranks.turned.layout.total_rank(),
                chosen.params.layout.total_rank(),
                Some(before),
                Some(&after),
            ),
            nll_before: before.scores.nll,
            nll_after: after.scores.nll,
            accuracy_before: before.scores.accuracy,
            accuracy_after: after.scores.accuracy,
            predicted_nll: cuts.predicted_nll(count),
            kl: cuts.kl(count),
            predicted_kl: cuts.predicted(count).map(|predicted| predicted.kl),
            evidence_images: self.evidence_images,
            effective_rank_before: effective_rank(&turned.adapter),
            effective_rank_after: effective_rank(&chosen.adapter),
            scalars_before: self.adapter.scalars(),
            scalars_after: chosen.adapter.scalars(),
            layers: LayerReport::all(ranks, &self.scores, &chosen.kept, way.by),
            curve,
        })
    }
}
