//! The ranks of a run's adapter in the basis in which they are cut.

use anyhow::Result;
use bayeslora::formats::Adapter;
use bayeslora::model::{AdapterLayout, AdapterState, exchange};
use bayeslora::predict::fitted;
use bayeslora::train::gauge::{self, Turn};
use bayeslora::train::{kept_without, magnitudes, weakest};

use super::choices::{By, Choices, Gauge};
use crate::cli::run::Run;

/// An adapter with a score for every rank of it.
pub struct Ranks<'a> {
    run: &'a Run,
    choices: Choices,
    /// As the run has it.
    pub before: (AdapterLayout, AdapterState),
    /// After the turn; of the gates this holds nothing where they are not one a rank any more.
    pub layout: AdapterLayout,
    pub state: AdapterState,
    /// `[ranks]` of each layer: the higher, the longer it stays.
    pub scores: Vec<Vec<f64>>,
}

/// What is left when some ranks are cut.
pub struct Cut {
    pub kept: Vec<Vec<usize>>,
    pub layout: AdapterLayout,
    pub state: AdapterState,
    pub adapter: Adapter,
}

impl<'a> Ranks<'a> {
    pub fn new(run: &'a Run, choices: Choices) -> Result<Self> {
        let (layout, state) = fitted(&run.backbone, &run.adapter)?;
        let before = (layout.clone(), state.clone());
        let (layout, state, singular) = match choices.gauge {
            Gauge::None => (layout, state, Vec::new()),
            Gauge::Svd => {
                let found = gauge::turns(&layout, &state, |_, a, b| gauge::svd(a, b))?;
                let (turns, values): (Vec<Turn>, Vec<Vec<f64>>) = found.into_iter().unzip();
                let none: Vec<_> = turns.iter().map(|turn| vec![0.0; turn.rank()]).collect();
                let turned = gauge::turn(&layout, &state, &turns, &none);
                let layout = gauge::turned_layout(&layout, &run.backbone.resnet, &turns);
                (layout, turned, values)
            }
        };
        let scores = match choices.by {
            By::Alpha => {
                let ranked = state.with_log_alpha(run.adapter.gates);
                let layers = ranked.layers.iter();
                layers
                    .map(|layer| layer.log_alpha.iter().map(|t| -f64::from(*t)).collect())
                    .collect()
            }
            By::Magnitude => magnitudes(&layout, &state),
            By::SingularValue => singular,
        };
        Ok(Self {
            run,
            choices,
            before,
            layout,
            state,
            scores,
        })
    }

    /// The (layer, place) of every rank that may go, in the order in which they do.
    pub fn order(&self, min_rank: usize) -> Vec<(usize, usize)> {
        weakest(&self.scores, min_rank)
    }

    /// Some of them gone.
    pub fn without(&self, gone: &[(usize, usize)]) -> Cut {
        let kept = kept_without(&self.state, gone);
        let mut state = self.state.clone();
        state.keep(&self.layout, &kept);
        let layout = self.layout.keep(&self.run.backbone.resnet, &kept);
        let from = &self.run.adapter;
        let gated = from.layers.iter().all(|layer| layer.log_alpha.is_some());
        let (layers, head) =
            exchange::to_file(&layout, &state, gated && self.choices.posterior.is_none());
        let adapter = Adapter {
            layers,
            head,
            method: match self.choices.posterior {
                Some(_) => format!("{}, mean weights", from.method),
                None => from.method.clone(),
            },
            ..from.clone()
        };
        Cut {
            kept,
            layout,
            state,
            adapter,
        }
    }
}
