//! The ranks of a run's adapter in the basis in which they are cut.

use anyhow::Result;
use bayeslora::formats::{Adapter, LayerAdapter};
use bayeslora::model::{AdapterLayout, AdapterState, exchange};
use bayeslora::predict::fitted;
use bayeslora::train::gauge::{self, Turn};
use bayeslora::train::{kept_without, magnitudes, weakest};

use super::choices::{By, Choices, Gauge, Posterior};
use crate::cli::run::Run;

/// An adapter with a score for every rank of it.
pub struct Ranks<'a> {
    run: &'a Run,
    choices: Choices,
    /// As the run has it, one gate a rank.
    pub before: (AdapterLayout, AdapterState),
    turns: Vec<Turn>,
    /// After the turn. Its log alpha means something in the basis of the training alone.
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
        let (turns, singular) = turns(run, choices.gauge, &layout, &state)?;
        let (layout, state) = match choices.gauge {
            Gauge::None => (layout, state),
            Gauge::Svd => {
                let none: Vec<_> = turns.iter().map(|turn| vec![0.0; turn.rank()]).collect();
                let turned = gauge::turn(&layout, &state, &turns, &none);
                let layout = gauge::turned_layout(&layout, &run.backbone.resnet, &turns);
                (layout, turned)
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
            turns,
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
        let (mut layers, head) =
            exchange::to_file(&layout, &state, gated && self.choices.posterior.is_none());
        if self.choices.posterior == Some(Posterior::Mixed) {
            for (number, layer) in layers.iter_mut().enumerate() {
                self.mix(layer, number, &kept[number]);
            }
        }
        let adapter = Adapter {
            layers,
            head,
            method: match self.choices.posterior {
                Some(Posterior::Mean) => format!("{}, mean weights", from.method),
                _ => from.method.clone(),
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

    /// The gates from before, as they act on the ranks that are left.
    fn mix(&self, layer: &mut LayerAdapter, number: usize, kept: &[usize]) {
        let (layout, state) = &self.before;
        layer.log_alpha = Some(Vec::new());
        if !kept.is_empty() {
            let turn = self.turns[number].keep(kept);
            layer.log_alpha = Some(state.layers[number].log_alpha.clone());
            layer.mixing = Some(turn.mixing(&layout.layers[number].rank_ids));
        }
    }
}

/// The turn of every layer, with the singular values where it is into the singular directions. Of latent ranks as many
/// are left as the adapter has ranks.
fn turns(
    run: &Run,
    gauge: Gauge,
    layout: &AdapterLayout,
    state: &AdapterState,
) -> Result<(Vec<Turn>, Vec<Vec<f64>>)> {
    let layers = layout.layers.iter();
    if gauge == Gauge::None {
        return Ok(layers
            .map(|layer| (Turn::identity(layer.rank()), Vec::new()))
            .unzip());
    }
    let found = gauge::turns(layout, state, |_, a, b| gauge::svd(a, b))?;
    let stored = |name: &str| {
        let layer = run.adapter.layers.iter().find(|layer| layer.name == name);
        layer.map_or(0, LayerAdapter::rank)
    };
    let all = layers.zip(found).map(|(layer, (turn, mut values))| {
        let kept: Vec<usize> = (0..stored(&layer.name)).collect();
        values.truncate(kept.len());
        (turn.keep(&kept), values)
    });
    Ok(all.unzip())
}
