//! Which basis, which order, which gates: what was asked for, and the defaults.

use anyhow::{Result, bail, ensure};
use bayeslora::low_level::formats::GateDistribution;
use bayeslora::low_level::train::PruneGauge;
use bayeslora::low_level::train::gauge::{Order, Posterior};

use super::PruneArgs;
use crate::cli::run::Run;

/// What a prune does.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    pub gauge: PruneGauge,
    pub by: Order,
    /// `None` where no gate is in another basis than its own.
    pub posterior: Option<Posterior>,
}

/// As tables call it.
pub fn title(order: Order) -> &'static str {
    match order {
        Order::Alpha => "log alpha",
        Order::SingularValue => "singular value",
        Order::EvidencePerScalar => "evidence per scalar",
        Order::Magnitude | Order::Evidence | Order::Random { .. } => order.name(),
    }
}

impl Choices {
    /// Without gates the singular directions serve, which need no images; with gates a turn costs them their independence,
    /// and what it is done for should be worth it: training images are asked.
    pub fn new(args: &PruneArgs, run: &Run) -> Result<Self> {
        let gated = run
            .adapter
            .layers
            .iter()
            .all(|layer| layer.log_alpha.is_some());
        if args.threshold.is_some() || args.by == Some(Order::Alpha) {
            require_alpha(args, run, gated)?;
        }
        let mixed = run.adapter.is_mixed();
        let by_alpha = args.threshold.is_some() || args.by == Some(Order::Alpha);
        ensure!(
            !(mixed && args.gauge == Some(PruneGauge::None)),
            "--gauge none: the gates of {} are mixed already, so its ranks have no gates of their own to go by; take \
             --gauge svd",
            run.dir.path().display()
        );
        let weights = run.adapter.gates == GateDistribution::Weights;
        let gauge = args.gauge.unwrap_or(match gated {
            _ if by_alpha => PruneGauge::None,
            true if weights && args.posterior.is_none() => PruneGauge::None,
            true => PruneGauge::Evidence,
            false => PruneGauge::Svd,
        });
        let by = args.by.unwrap_or(match (gauge, gated) {
            (PruneGauge::Evidence, _) => Order::Evidence,
            (PruneGauge::Svd, _) => Order::SingularValue,
            (PruneGauge::None, true) if run.adapter.gates != GateDistribution::Bernoulli => {
                Order::Alpha
            }
            (PruneGauge::None, _) => Order::Magnitude,
        });
        ensure!(
            gauge == PruneGauge::None || !by_alpha,
            "{} goes by log alpha, which gates have only in the basis that they were trained in; take --gauge none, \
             or leave the order to the basis{}",
            if args.threshold.is_some() {
                "--threshold"
            } else {
                "--by alpha"
            },
            if args.threshold.is_some() {
                ", with --keep"
            } else {
                ""
            },
        );
        ensure!(
            args.threshold.is_none() || by == Order::Alpha,
            "--threshold goes by log alpha, not by what --by says; leave out --by, or take --keep in place of \
             --threshold"
        );
        ensure!(
            gauge == PruneGauge::Svd || by != Order::SingularValue,
            "--by singular-value: ranks have singular values only in --gauge svd; take --gauge svd, or --by \
             magnitude"
        );
        let turned = gated && gauge != PruneGauge::None;
        ensure!(
            turned || args.posterior.is_none(),
            "--posterior says what becomes of gates in another basis than their own, and {}; leave it out",
            match gated {
                true => "--gauge none leaves them in it",
                false => "this adapter has none",
            }
        );
        ensure!(
            !(turned && weights) || args.posterior == Some(Posterior::Mean),
            "--gauge: {} draws its weights, not gates (method {}), and noise on weights does not turn with the \
             ranks; take --posterior mean to give it up, or --gauge none",
            run.dir.path().display(),
            run.adapter.method
        );
        ensure!(
            args.posterior != Some(Posterior::Refit) || run.config.method.learns_noise(),
            "--posterior refit: alpha was not learnt in {} (method {}), so there is no kappa to set it by; take \
             --posterior mixed or mean",
            run.dir.path().display(),
            run.adapter.method
        );
        let posterior = turned.then(|| args.posterior.unwrap_or(Posterior::Mixed));
        let choices = Self {
            gauge,
            by,
            posterior,
        };
        ensure!(
            args.evidence_images.is_none() || choices.need_evidence(),
            "--evidence-images: a cut in --gauge {} by {} uses no training images; leave it out, or take --by \
             evidence",
            gauge.name(),
            title(by)
        );
        Ok(choices)
    }

    /// Whether training images have to be gone through.
    pub fn need_evidence(self) -> bool {
        self.gauge == PruneGauge::Evidence
            || matches!(self.by, Order::Evidence | Order::EvidencePerScalar)
            || self.posterior == Some(Posterior::Refit)
    }
}

/// Checks that log alpha was learnt.
fn require_alpha(args: &PruneArgs, run: &Run, gated: bool) -> Result<()> {
    let option = match args.threshold {
        Some(_) => "--threshold",
        None => "--by alpha",
    };
    let (path, method) = (run.dir.path().display(), &run.adapter.method);
    let instead =
        "take --keep, --keep-ranks, --max-nll-increase or --max-accuracy-drop, with --gauge svd";
    if run.adapter.is_mixed() {
        bail!(
            "{option}: the gates of {path} are mixed, so its ranks have no log alpha of their own to prune by; {instead}"
        );
    }
    if !gated {
        bail!(
            "{option}: the adapter of {path} was trained without gates (method {method}), so there is no log alpha to \
             prune by; {instead}"
        );
    }
    if run.adapter.gates == GateDistribution::Bernoulli {
        bail!(
            "{option}: the ranks of {path} are dropped with a fixed probability (method {method}), so no log alpha \
             was learnt to prune by; {instead}"
        );
    }
    Ok(())
}
