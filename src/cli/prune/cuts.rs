//! Cuts of more or fewer ranks, the same order throughout, and what each costs.

use std::collections::BTreeMap;

use anyhow::Result;
use bayeslora::low_level::metrics::mean_kl;
use bayeslora::low_level::predict::Evaluated;
use bayeslora::low_level::train::farthest;
use bayeslora::low_level::train::gauge::{Cut, Predicted, Ranks};
use serde::Serialize;

use super::bench::Bench;

/// Shares of the ranks that the curve leaves.
const SHARES: [f64; 6] = [1.0, 0.75, 0.5, 0.375, 0.25, 0.125];

/// Nats that turning alone may move the NLL by, in f32.
const ROUNDING: f64 = 1e-6;

/// How much worse a cut may be.
pub struct Limits {
    pub nll_increase: Option<f64>,
    pub accuracy_drop: Option<f64>,
}

/// One cut of the curve. Scores are of the mean weights on the held-out images.
#[derive(Serialize)]
pub struct CurvePoint {
    pub ranks: usize,
    /// Numbers that the adapter has left.
    pub scalars: usize,
    pub nll: f64,
    pub nll_change: f64,
    /// Standard error of that change over the images.
    pub nll_change_se: f64,
    /// The NLL as the gates' gradients foretell it: its slope and the KL; null without evidence.
    pub predicted_nll: Option<f64>,
    /// KL of the cut model from the uncut one, nats per image.
    pub kl: f64,
    /// The same as the gates' gradients foretell it, cross terms included; null without evidence.
    pub predicted_kl: Option<f64>,
    pub accuracy: f64,
}

/// Scores cuts of the first ranks of an order, each cut once.
pub struct Cuts<'a> {
    bench: &'a Bench,
    ranks: &'a Ranks<'a>,
    order: Vec<(usize, usize)>,
    pub uncut: Evaluated,
    scored: BTreeMap<usize, Evaluated>,
}

impl<'a> Cuts<'a> {
    pub fn new(bench: &'a Bench, ranks: &'a Ranks, order: Vec<(usize, usize)>) -> Result<Self> {
        let (layout, state) = &ranks.before;
        Ok(Self {
            bench,
            ranks,
            order,
            uncut: bench.score(layout, state)?,
            scored: BTreeMap::new(),
        })
    }

    pub fn cut(&self, count: usize) -> Cut {
        self.ranks.without(&self.order[..count])
    }

    /// Scores without the first `count` ranks.
    pub fn score(&mut self, count: usize) -> Result<&Evaluated> {
        if !self.scored.contains_key(&count) {
            let cut = self.cut(count);
            let scores = self.bench.score(&cut.layout, &cut.state)?;
            self.scored.insert(count, scores);
        }
        Ok(&self.scored[&count])
    }

    /// As many ranks, up to `most`, as stay within the limits, as [`farthest`] finds them.
    pub fn within(&mut self, limits: &Limits, most: usize) -> Result<usize> {
        let (nll, accuracy) = (self.uncut.scores.nll, self.uncut.scores.accuracy);
        let is_good = |count: usize| -> Result<bool> {
            let scores = &self.score(count)?.scores;
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
    pub fn curve(&mut self) -> Result<Vec<CurvePoint>> {
        let total = self.ranks.layout.total_rank();
        let left = SHARES.map(|share| (share * total as f64).round() as usize);
        let mut counts = left
            .map(|left| (total - left).min(self.order.len()))
            .to_vec();
        counts.dedup();
        counts.into_iter().map(|count| self.point(count)).collect()
    }

    /// KL of the model without the first `count` ranks from the uncut one, nats per image.
    pub fn kl(&mut self, count: usize) -> Result<f64> {
        self.score(count)?;
        let (before, after) = (&self.uncut.log_probs, &self.scored[&count].log_probs);
        Ok(mean_kl(before, after, self.ranks.layout.classes))
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
        let classes = self.ranks.layout.classes;
        let labels = self.bench.labels().iter().map(|label| *label as usize);
        let (before, after) = (&self.uncut.log_probs, &self.scored[&count].log_probs);
        let rows = before
            .chunks_exact(classes)
            .zip(after.chunks_exact(classes));
        let changes: Vec<f64> = rows
            .zip(labels)
            .map(|((before, after), label)| f64::from(before[label]) - f64::from(after[label]))
            .collect();
        let n = changes.len() as f64;
        let mean = changes.iter().sum::<f64>() / n;
        let squares = changes.iter().map(|change| (change - mean).powi(2));
        (squares.sum::<f64>() / ((n - 1.0).max(1.0) * n)).sqrt()
    }

    fn point(&mut self, count: usize) -> Result<CurvePoint> {
        let (cut, kl) = (self.cut(count), self.kl(count)?);
        let (scored, uncut) = (&self.scored[&count], &self.uncut);
        Ok(CurvePoint {
            ranks: cut.layout.total_rank(),
            scalars: cut.adapter.scalars(),
            nll: scored.scores.nll,
            nll_change: scored.scores.nll - uncut.scores.nll,
            nll_change_se: self.standard_error(count),
            predicted_nll: self.predicted_nll(count),
            kl,
            predicted_kl: self.predicted(count).map(|predicted| predicted.kl),
            accuracy: scored.scores.accuracy,
        })
    }
}
