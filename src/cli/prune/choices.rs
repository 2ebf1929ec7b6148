//! Which basis, which order, which gates: what was asked for, and the defaults.

use anyhow::{Result, bail, ensure};
use bayeslora::formats::GateDistribution;
use clap::ValueEnum;
use serde::Serialize;

use super::PruneArgs;
use crate::cli::run::Run;

/// The basis in which ranks are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gauge {
    /// The basis they were trained in
    None,
    /// The singular directions of B A
    Svd,
    /// The basis in which the second moments on both sides, from a pass over training images, are diagonal
    Evidence,
}

/// What ranks are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The noisiest gates go first
    Alpha,
    /// The smallest |a_i| |b_i| go first
    Magnitude,
    /// The smallest singular values of B A go first
    SingularValue,
    /// The least evidence from training images go first: the curvature of the rank's gate
    Evidence,
    /// The least evidence per parameter of the rank go first
    EvidencePerScalar,
}

/// What becomes of gates in a basis other than their own, where there is no longer one per rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Posterior {
    /// They act on the remaining ranks as before, which makes these dependent: exact
    Mixed,
    /// One gate per rank again, with alpha (1 + alpha) = kappa / evidence
    Refit,
    /// The gates are dropped: only the mean weights are kept
    Mean,
}

/// What a prune does.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    pub gauge: Gauge,
    pub by: By,
    /// `None` where no gate is in another basis than its own.
    pub posterior: Option<Posterior>,
}

impl Gauge {
    /// As the option takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Svd => "svd",
            Self::Evidence => "evidence",
        }
    }
}

impl By {
    /// As tables call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Alpha => "log alpha",
            Self::Magnitude => "magnitude",
            Self::SingularValue => "singular value",
            Self::Evidence => "evidence",
            Self::EvidencePerScalar => "evidence per scalar",
        }
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
        if args.threshold.is_some() || args.by == Some(By::Alpha) {
            require_alpha(args, run, gated)?;
        }
        let mixed = run.adapter.is_mixed();
        let by_alpha = args.threshold.is_some() || args.by == Some(By::Alpha);
        ensure!(
            !(mixed && args.gauge == Some(Gauge::None)),
            "--gauge none: the gates of {} are mixed already, so its ranks have none of their own to be cut with; take \
             --gauge svd",
            run.dir.path().display()
        );
        let weights = run.adapter.gates == GateDistribution::Weights;
        let gauge = args.gauge.unwrap_or(match gated {
            _ if by_alpha => Gauge::None,
            true if weights && args.posterior.is_none() => Gauge::None,
            true => Gauge::Evidence,
            false => Gauge::Svd,
        });
        let by = args.by.unwrap_or(match (gauge, gated) {
            (Gauge::Evidence, _) => By::Evidence,
            (Gauge::Svd, _) => By::SingularValue,
            (Gauge::None, true) if run.adapter.gates != GateDistribution::Bernoulli => By::Alpha,
            (Gauge::None, _) => By::Magnitude,
        });
        ensure!(
            gauge == Gauge::None || !by_alpha,
            "{} goes by log alpha, which gates have only in the basis that they were trained in; take --gauge none, \
             or --keep with --by singular-value",
            if args.threshold.is_some() {
                "--threshold"
            } else {
                "--by alpha"
            },
        );
        ensure!(
            args.threshold.is_none() || by == By::Alpha,
            "--threshold goes by log alpha, not by what --by says; leave out --by, or take --keep in place of \
             --threshold"
        );
        ensure!(
            gauge == Gauge::Svd || by != By::SingularValue,
            "--by singular-value: ranks are singular directions in one basis alone; take --gauge svd, or --by \
             magnitude"
        );
        let turned = gated && gauge != Gauge::None;
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
            "--evidence-images: no training image is asked for a cut in --gauge {} by {}; leave it out, or take --by \
             evidence",
            gauge.name(),
            by.title()
        );
        Ok(choices)
    }

    /// Whether training images have to be gone through.
    pub fn need_evidence(self) -> bool {
        self.gauge == Gauge::Evidence
            || matches!(self.by, By::Evidence | By::EvidencePerScalar)
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
    let instead = "take --keep, --keep-ranks, --max-nll-increase or --max-accuracy-drop, with --by singular-value";
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
