//! Why ranks could not be cut. Options are in backticks, by their names with hyphens.

use crate::errors::ErrorKind;
use crate::predict::PredictError;
use crate::train::gauge::GaugeError;
use crate::train::{ConfigError, SetError};

/// What to go by instead of log alpha.
const INSTEAD: &str =
    "take `keep`, `keep-ranks`, `max-nll-increase` or `max-accuracy-drop`, with `gauge svd`";

/// Why ranks could not be cut.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum PruneError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "`{option}`: the gates are mixed, so ranks have no log alpha of their own to prune by; {INSTEAD}"
    )]
    MixedAlpha { option: &'static str },
    #[error(
        "`{option}`: the adapter was trained without gates (method {method}), so there is no log alpha to prune by; \
         {INSTEAD}"
    )]
    NoAlpha {
        option: &'static str,
        method: String,
    },
    #[error(
        "`{option}`: ranks are dropped with a fixed probability (method {method}), so no log alpha was learnt to prune \
         by; {INSTEAD}"
    )]
    FixedAlpha {
        option: &'static str,
        method: String,
    },
    #[error(
        "`gauge none`: the gates are mixed already, so ranks have no gates of their own to go by; take `gauge svd`"
    )]
    MixedInPlace,
    #[error(
        "`threshold` goes by log alpha, which gates have only in the basis that they were trained in; take `gauge none`, \
         or leave the order to the basis, with `keep`"
    )]
    ThresholdTurned,
    #[error(
        "`by alpha` goes by log alpha, which gates have only in the basis that they were trained in; take `gauge none`, \
         or leave the order to the basis"
    )]
    AlphaTurned,
    #[error(
        "`threshold` goes by log alpha, not by what `by` says; leave out `by`, or take `keep` in place of `threshold`"
    )]
    ThresholdBy,
    #[error(
        "`by singular-value`: ranks have singular values only in `gauge svd`; take `gauge svd`, or `by magnitude`"
    )]
    NotSingular,
    #[error(
        "`posterior` says what becomes of gates in another basis than their own, and `gauge none` leaves them in it; \
         leave it out"
    )]
    PosteriorInPlace,
    #[error(
        "`posterior` says what becomes of gates in another basis than their own, and this adapter has none; leave it out"
    )]
    PosteriorWithoutGates,
    #[error(
        "`gauge`: the adapter draws its weights, not gates (method {method}), and noise on weights does not turn with \
         the ranks; take `posterior mean` to give it up, or `gauge none`"
    )]
    DrawsWeights { method: String },
    #[error(
        "`posterior refit`: alpha was not learnt (method {method}), so there is no kappa to set it by; take \
         `posterior mixed` or `posterior mean`"
    )]
    RefitFixed { method: String },
    #[error(
        "`evidence-images`: a cut in `gauge {gauge}` by {by} uses no training images; leave it out, or take \
         `by evidence`"
    )]
    NoEvidenceAsked {
        gauge: &'static str,
        by: &'static str,
    },
    #[error(
        "`evidence-images`: there is too little memory for the gradients of so many images and {ranks} ranks; take at \
         most {most}"
    )]
    Memory { ranks: usize, most: usize },
    #[error("`keep-ranks {left}`: the adapter has {total} ranks; take at most as many")]
    TooMany { left: usize, total: usize },
    #[error(
        "{left} ranks are fewer than the {least} that `min-rank {min_rank}` keeps; take a smaller one, or more ranks"
    )]
    TooFew {
        left: usize,
        least: usize,
        min_rank: usize,
    },
    #[error(transparent)]
    Gauge(#[from] GaugeError),
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl PruneError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Predict(error) => error.kind(),
            Self::Gauge(error) => error.kind(),
            _ => ErrorKind::Input,
        }
    }
}
