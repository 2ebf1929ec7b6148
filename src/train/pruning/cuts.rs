//! Cuts of more or fewer ranks, the same order throughout, and what each costs.

use std::collections::BTreeMap;

use super::bench::{Bench, Tell};
use super::{CurvePoint, PruneError};
use crate::metrics::{mean_and_error, mean_kl};
use crate::predict::Evaluated;
use crate::train::farthest;
use crate::train::gauge::{Cut, Predicted, Ranks};

/// Shares of the ranks that the curve leaves.
const SHARES: [f64; 6] = [1.0, 0.75, 0.5, 0.375, 0.25, 0.125];

/// Nats that turning alone may move the NLL by, in f32.
const ROUNDING: f64 = 1e-6;

/// How much worse a cut may be.
#[derive(Clone, Copy)]
pub struct Limits {
    pub nll_increase: Option<f64>,
    pub accuracy_drop: Option<f64>,
}

/// Scores cuts of the first ranks of an order, each cut once.
pub struct Cuts<'a> {
    bench: Bench,
    pub ranks: Ranks<'a>,
    order: Vec<(usize, usize)>,
    pub uncut: Evaluated,
    scored: BTreeMap<usize, Evaluated>,
}

impl<'a> Cuts<'a> {
    pub fn new(
        bench: Bench,
        ranks: Ranks<'a>,
        order: Vec<(usize, usize)>,
        tell: Tell,
    ) -> Result<Self, PruneError> {
        let uncut = bench.score(&ranks.before, tell)?;
        Ok(Self {
            bench,
            ranks,
            order,
            uncut,
            scored: BTreeMap::new(),
        })
    }

    pub fn cut(&self, count: usize) -> Cut {
        self.ranks.without(&self.order[..count])
    }

    /// Scores without the first `count` ranks.
    pub fn score(&mut self, count: usize, tell: Tell) -> Result<&Evaluated, PruneError> {
        if !self.scored.contains_key(&count) {
            let scores = self.bench.score(&self.cut(count).params, tell)?;
            self.scored.insert(count, scores);
        }
        Ok(&self.scored[&count])
    }

    /// As many ranks, up to `most`, as stay within the limits, as [`farthest`] finds them.
    pub fn within(&mut self, limits: Limits, most: usize, tell: Tell) -> Result<usize, PruneError> {
        if limits.nll_increase.is_none() && limits.accuracy_drop.is_none() {
            return Ok(most);
        }
        let (nll, accuracy) = (self.uncut.scores.nll, self.uncut.scores.accuracy);
        let is_good = |count: usize| -> Result<bool, PruneError> {
            let scores = &self.score(count, tell)?.scores;
            let rises = limits
                .nll_increase
                .is_some_and(|most| scores.nll > nll + most + ROUNDING);
            let falls = limits
                .accuracy_drop
                .is_some_and(|most| scores.accuracy < accuracy - most);
            Ok(!(rises || falls))
        };
        farthest(most, is_good)
    }

    /// What cuts to the usual shares cost, as far as ranks may go.
    pub fn curve(&mut self, tell: Tell) -> Result<Vec<CurvePoint>, PruneError> {
        let total = self.ranks.turned.layout.total_rank();
        let left = SHARES.map(|share| (share * total as f64).round() as usize);
        let mut counts = left
            .map(|left| (total - left).min(self.order.len()))
            .to_vec();
        counts.dedup();
        let mut points = Vec::new();
        for count in counts {
            self.score(count, tell)?;
            points.push(self.point(count));
        }
        Ok(points)
    }

    /// KL of the model without the first `count` ranks, which were scored, from the uncut one, nats per image.
    pub fn kl(&self, count: usize) -> f64 {
        let (before, after) = (&self.uncut.log_probs, &self.scored[&count].log_probs);
        mean_kl(before, after, self.ranks.turned.layout.classes)
    }

    /// What a cut of the first `count` ranks was foretold to do.
    pub fn predicted(&self, count: usize) -> Option<Predicted> {
        self.ranks.predicted(&self.order[..count])
    }

    /// The NLL that was foretold without the first `count` ranks.
    pub fn predicted_nll(&self, count: usize) -> Option<f64> {
        let predicted = self.predicted(count)?;
        Some(self.uncut.scores.nll + predicted.nll_change)
    }

    /// Standard error of the change of the NLL, paired over the images.
    fn standard_error(&self, count: usize) -> f64 {
        let labels = self.bench.labels();
        let (before, after) = (&self.uncut, &self.scored[&count]);
        let pairs = after
            .nll_each(labels)
            .into_iter()
            .zip(before.nll_each(labels));
        let changes: Vec<f64> = pairs.map(|(after, before)| after - before).collect();
        mean_and_error(&changes).1
    }

    fn point(&self, count: usize) -> CurvePoint {
        let cut = self.cut(count);
        let (scored, uncut) = (&self.scored[&count], &self.uncut);
        CurvePoint {
            ranks: cut.params.layout.total_rank(),
            scalars: cut.adapter.scalars(),
            nll: scored.scores.nll,
            nll_change: scored.scores.nll - uncut.scores.nll,
            nll_change_se: self.standard_error(count),
            predicted_nll: self.predicted_nll(count),
            kl: self.kl(count),
            predicted_kl: self.predicted(count).map(|predicted| predicted.kl),
            accuracy: scored.scores.accuracy,
        }
    }
}
