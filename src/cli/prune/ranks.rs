//! The ranks of a run's adapter in the basis in which they are cut.

use anyhow::{Context as _, Result};
use bayeslora::formats::{Adapter, LayerAdapter};
use bayeslora::model::{AdapterLayout, AdapterState, LayoutLayer, exchange};
use bayeslora::predict::fitted;
use bayeslora::train::gauge::{self, GateGradients, Turn, best_log_alpha};
use bayeslora::train::{kept_without, magnitudes, weakest};

use super::bench::Evidence;
use super::choices::{By, Choices, Gauge, Posterior};
use crate::cli::run::Run;

/// An adapter with a score for every rank of it.
pub struct Ranks<'a> {
    run: &'a Run,
    choices: Choices,
    /// As the run has it, one gate per rank.
    pub before: (AdapterLayout, AdapterState),
    turns: Vec<Turn>,
    gradients: Option<Gradients>,
    /// After the turn. Its log alpha means something in the basis of the training, and where it was set again.
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

/// Of the gates, in the basis after the turn.
struct Gradients {
    /// Training images, labels of the model.
    fisher: GateGradients,
    /// Held-out images, labels of their own.
    held_out: GateGradients,
}

/// What a cut was foretold to do, cross terms included, in nats per image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    pub kl: f64,
    /// The slope of the held-out NLL and the KL.
    pub nll_change: f64,
}

impl<'a> Ranks<'a> {
    pub fn new(run: &'a Run, choices: Choices, evidence: Option<&Evidence>) -> Result<Self> {
        let before = fitted(&run.backbone, &run.adapter)?;
        let (layout, state) = &before;
        let (turns, singular) = turns(run, choices.gauge, &before, evidence)?;
        let gradients = evidence.map(|found| Gradients {
            fisher: GateGradients::new(&found.fisher, &turns),
            held_out: GateGradients::new(&found.held_out, &turns),
        });
        let images = evidence.map_or(0, |found| found.train_images);
        let worth = gradients
            .as_ref()
            .map(|gradients| gradients.fisher.evidence(images));
        let log_alpha: Vec<Vec<f32>> = match (choices.posterior, &worth) {
            (Some(Posterior::Refit), Some(worth)) => refitted(run, layout, worth)?,
            _ => turns.iter().map(|turn| vec![0.0; turn.rank()]).collect(),
        };
        let (layout, state) = match choices.gauge {
            Gauge::None => before.clone(),
            _ => (
                gauge::turned_layout(layout, &run.backbone.resnet, &turns),
                gauge::turn(layout, state, &turns, &log_alpha),
            ),
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
            By::Evidence => worth.context("no evidence")?,
            By::EvidencePerScalar => {
                let layers = layout.layers.iter().zip(worth.context("no evidence")?);
                let per = |(layer, worth): (&LayoutLayer, Vec<f64>)| {
                    let scalars = layer.params_per_rank() as f64;
                    worth.into_iter().map(|worth| worth / scalars).collect()
                };
                layers.map(per).collect()
            }
        };
        Ok(Self {
            run,
            choices,
            before,
            turns,
            gradients,
            layout,
            state,
            scores,
        })
    }

    /// What the gates' gradients foretell that a cut of some ranks does.
    pub fn predicted(&self, gone: &[(usize, usize)]) -> Option<Predicted> {
        let gradients = self.gradients.as_ref()?;
        let kl = gradients.fisher.predicted_kl(gone);
        Some(Predicted {
            kl,
            nll_change: gradients.held_out.slope(gone) + kl,
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
        let (mut layers, head) = exchange::to_file(
            &layout,
            &state,
            gated && matches!(self.choices.posterior, None | Some(Posterior::Refit)),
        );
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
    (layout, state): &(AdapterLayout, AdapterState),
    evidence: Option<&Evidence>,
) -> Result<(Vec<Turn>, Vec<Vec<f64>>)> {
    let layers = layout.layers.iter();
    let found = match gauge {
        Gauge::None => {
            return Ok(layers
                .map(|layer| (Turn::identity(layer.rank()), Vec::new()))
                .unzip());
        }
        Gauge::Svd => gauge::turns(layout, state, |_, a, b| gauge::svd(a, b))?,
        Gauge::Evidence => {
            let evidence = evidence.context("no evidence")?;
            gauge::evidence_turns(layout, state, &evidence.fisher)?
        }
    };
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

/// log alpha of every rank by the run's own kappa.
fn refitted(run: &Run, layout: &AdapterLayout, worth: &[Vec<f64>]) -> Result<Vec<Vec<f32>>> {
    let config = &run.config;
    let multiplicity = config.kl_multiplicity.with_context(|| {
        let config = run.dir.path().join("config.toml");
        format!(
            "{}: kl-multiplicity is missing, which --posterior refit needs",
            config.display()
        )
    })?;
    let layers = layout.layers.iter().zip(worth);
    let layer = |(layer, worth): (&LayoutLayer, &Vec<f64>)| {
        let kappa = config.kl_scale * multiplicity.kappa(layer.params_per_rank());
        let ranks = worth.iter();
        ranks
            .map(|worth| best_log_alpha(kappa, *worth) as f32)
            .collect()
    };
    Ok(layers.map(layer).collect())
}
