//! Which basis, which order, which gates: what was asked for, and what follows from the adapter.

use super::PruneError;
use crate::formats::{Adapter, GateDistribution};
use crate::train::config::check_ranges;
use crate::train::gauge::{Order, Posterior};
use crate::train::{PruneGauge, TrainConfig};

/// How ranks are cut, and how far: of several limits each holds.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// The basis in which ranks are cut. By default `svd` without gates and `evidence` with them; `none` where the order goes
    /// by log alpha, or where weights are drawn.
    pub gauge: Option<PruneGauge>,
    /// What ranks are chosen by. By default what suits the basis.
    pub by: Option<Order>,
    /// What becomes of the gates when ranks are turned. By default [`Posterior::Mixed`], which keeps their effect.
    pub posterior: Option<Posterior>,
    /// Ranks to leave, over all layers.
    pub keep_ranks: Option<usize>,
    /// Share of the ranks to leave, 0 to 1.
    pub keep: Option<f64>,
    /// Log alpha from which on ranks go.
    pub threshold: Option<f64>,
    /// Nats that the held-out NLL may rise by.
    pub max_nll_increase: Option<f64>,
    /// How far the held-out accuracy may fall, 0 to 1.
    pub max_accuracy_drop: Option<f64>,
    /// Ranks that every layer keeps at least.
    pub min_rank: usize,
    /// Training images that the evidence is taken from, evenly spread. By default 2000, or all if there are fewer.
    pub evidence_images: Option<usize>,
}

impl PruneOptions {
    /// Checks every value, as far as it does not depend on the adapter.
    pub(super) fn check(&self) -> Result<(), PruneError> {
        let counts = [
            ("keep-ranks", self.keep_ranks),
            ("min-rank", Some(self.min_rank)),
            ("evidence-images", self.evidence_images),
        ];
        let numbers = [
            ("keep", self.keep),
            ("threshold", self.threshold),
            ("max-nll-increase", self.max_nll_increase),
            ("max-accuracy-drop", self.max_accuracy_drop),
        ];
        let counts = counts.map(|(option, count)| (option, count.map(|count| count as u64)));
        Ok(check_ranges(&counts, &numbers)?)
    }

    /// Ranks to leave at least.
    pub(super) fn left(&self, adapter: &Adapter) -> Result<usize, PruneError> {
        let ranks = || adapter.layers.iter().map(|layer| layer.rank());
        let total: usize = ranks().sum();
        let least: usize = ranks().map(|rank| rank.min(self.min_rank)).sum();
        let share = |share: f64| (share * total as f64).round() as usize;
        let Some(left) = self.keep_ranks.max(self.keep.map(share)) else {
            return Ok(least);
        };
        if left > total {
            return Err(PruneError::TooMany { left, total });
        }
        match left < least {
            true => Err(PruneError::TooFew {
                left,
                least,
                min_rank: self.min_rank,
            }),
            false => Ok(left),
        }
    }
}

/// What a prune does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The basis.
    pub gauge: PruneGauge,
    /// What ranks are chosen by.
    pub by: Order,
    /// `None` where no gate is in another basis than its own.
    pub posterior: Option<Posterior>,
}

impl Way {
    /// Without gates the singular directions serve, which need no images; with gates a turn costs them their independence,
    /// and what it is done for should be worth it: training images are asked. `config` has trained the adapter.
    ///
    /// # Errors
    /// Options contradict each other, the adapter or its method.
    pub fn new(
        options: &PruneOptions,
        adapter: &Adapter,
        config: &TrainConfig,
    ) -> Result<Self, PruneError> {
        options.check()?;
        let gated = adapter.layers.iter().all(|layer| layer.log_alpha.is_some());
        let drops = adapter.gates == GateDistribution::Bernoulli;
        let by_alpha = options.threshold.is_some() || options.by == Some(Order::Alpha);
        let method = || adapter.method.clone();
        if by_alpha {
            let option = match options.threshold {
                Some(_) => "threshold",
                None => "by alpha",
            };
            if adapter.is_mixed() {
                return Err(PruneError::MixedAlpha { option });
            }
            if !gated {
                return Err(PruneError::NoAlpha {
                    option,
                    method: method(),
                });
            }
            if drops {
                return Err(PruneError::FixedAlpha {
                    option,
                    method: method(),
                });
            }
        }
        if adapter.is_mixed() && options.gauge == Some(PruneGauge::None) {
            return Err(PruneError::MixedInPlace);
        }
        let weights = adapter.gates == GateDistribution::Weights;
        let gauge = options.gauge.unwrap_or(match gated {
            _ if by_alpha => PruneGauge::None,
            true if weights && options.posterior.is_none() => PruneGauge::None,
            true => PruneGauge::Evidence,
            false => PruneGauge::Svd,
        });
        let by = options.by.unwrap_or(match (gauge, gated) {
            (PruneGauge::Evidence, _) => Order::Evidence,
            (PruneGauge::Svd, _) => Order::SingularValue,
            (PruneGauge::None, true) if !drops => Order::Alpha,
            (PruneGauge::None, _) => Order::Magnitude,
        });
        if gauge != PruneGauge::None && by_alpha {
            return Err(match options.threshold {
                Some(_) => PruneError::ThresholdTurned,
                None => PruneError::AlphaTurned,
            });
        }
        if options.threshold.is_some() && by != Order::Alpha {
            return Err(PruneError::ThresholdBy);
        }
        if gauge != PruneGauge::Svd && by == Order::SingularValue {
            return Err(PruneError::NotSingular);
        }
        let turned = gated && gauge != PruneGauge::None;
        if !turned && options.posterior.is_some() {
            return Err(match gated {
                true => PruneError::PosteriorInPlace,
                false => PruneError::PosteriorWithoutGates,
            });
        }
        if turned && weights && options.posterior != Some(Posterior::Mean) {
            return Err(PruneError::DrawsWeights { method: method() });
        }
        if options.posterior == Some(Posterior::Refit) && !config.method.learns_noise() {
            return Err(PruneError::RefitFixed { method: method() });
        }
        let way = Self {
            gauge,
            by,
            posterior: turned.then(|| options.posterior.unwrap_or(Posterior::Mixed)),
        };
        match options.evidence_images.is_some() && !way.needs_evidence() {
            true => Err(PruneError::NoEvidenceAsked {
                gauge: gauge.name(),
                by: by.title(),
            }),
            false => Ok(way),
        }
    }

    /// Whether training images have to be gone through.
    pub fn needs_evidence(self) -> bool {
        self.gauge == PruneGauge::Evidence
            || matches!(self.by, Order::Evidence | Order::EvidencePerScalar)
            || self.posterior == Some(Posterior::Refit)
    }
}
