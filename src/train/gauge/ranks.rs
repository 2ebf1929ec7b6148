//! The ranks of a finished adapter in the basis in which they are cut, and what a cut leaves of it.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::{Evidence, GateGradients, GaugeError, Turn};
use crate::formats::{Adapter, GateDistribution, LayerAdapter};
use crate::model::exchange;
use crate::model::{AdapterParams, Backbone, LayoutLayer};
use crate::predict::fitted;
use crate::train::{PruneGauge, TrainConfig, kept_without, magnitudes};

/// What ranks are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The noisiest gates go first.
    Alpha,
    /// The smallest |a_i| |b_i| go first.
    Magnitude,
    /// The smallest singular values of B A go first.
    SingularValue,
    /// The least evidence from training images go first: the curvature of the rank's gate.
    Evidence,
    /// The least evidence per parameter of the rank go first.
    EvidencePerScalar,
    /// Nothing, to compare the others with.
    #[serde(skip)]
    Random { seed: u64 },
}

/// What becomes of gates in a basis other than their own, where there is no longer one per rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Posterior {
    /// They act on the remaining ranks as before, which makes these dependent: exact.
    Mixed,
    /// One gate per rank again, with alpha (1 + alpha) = kappa / evidence.
    Refit,
    /// The gates are dropped: only the mean weights are kept.
    Mean,
}

impl Order {
    /// As the option takes it, and `random`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Magnitude => "magnitude",
            Self::SingularValue => "singular-value",
            Self::Evidence => "evidence",
            Self::EvidencePerScalar => "evidence-per-scalar",
            Self::Random { .. } => "random",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Alpha => "log alpha",
            Self::SingularValue => "singular value",
            Self::EvidencePerScalar => "evidence per scalar",
            Self::Magnitude | Self::Evidence | Self::Random { .. } => self.name(),
        }
    }
}

/// An adapter, turned so that ranks can be cut from it.
pub struct Ranks<'a> {
    backbone: &'a Backbone,
    from: &'a Adapter,
    posterior: Option<Posterior>,
    /// As the adapter has it, one gate per rank.
    pub before: AdapterParams,
    turns: Vec<Turn>,
    gradients: Option<Gradients>,
    /// In the singular directions alone.
    singular: Option<Vec<Vec<f64>>>,
    /// After the turn. Its log alpha means something in the basis of the training, and where it was set again.
    pub turned: AdapterParams,
}

/// What is left when some ranks are cut.
pub struct Cut {
    pub kept: Vec<Vec<usize>>,
    /// The mean weights, and gates where each rank has one of its own.
    pub params: AdapterParams,
    pub adapter: Adapter,
}

/// Of the gates, in the basis after the turn.
struct Gradients {
    /// Training images, labels of the model.
    fisher: GateGradients,
    /// Held-out images, labels of their own.
    held_out: GateGradients,
    /// Images of the training set.
    train_images: usize,
}

/// What a cut was foretold to do, cross terms included, in nats per image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    pub kl: f64,
    /// The slope of the held-out NLL and the KL.
    pub nll_change: f64,
}

impl<'a> Ranks<'a> {
    /// Turns the ranks of an adapter that `config` has trained. `posterior` is `None` where no gate is in another basis
    /// than its own.
    ///
    /// # Errors
    /// The adapter does not fit the backbone or holds values that are not finite; its noise is on weights, which does not
    /// turn with the ranks, and is to be kept; there is no evidence where the basis or the
    /// posterior needs it, or no kappa for a posterior set anew.
    pub fn new(
        backbone: &'a Backbone,
        from: &'a Adapter,
        config: &TrainConfig,
        (gauge, posterior): (PruneGauge, Option<Posterior>),
        evidence: Option<&Evidence>,
    ) -> Result<Self, GaugeError> {
        let keeps_noise = !matches!(posterior, None | Some(Posterior::Mean));
        if keeps_noise && from.gates == GateDistribution::Weights {
            return Err(GaugeError::DrawsWeights);
        }
        let before = fitted(backbone, from)?;
        let AdapterParams { layout, state, .. } = &before;
        let (turns, values) = turns(from, gauge, &before, evidence)?;
        let singular = (gauge == PruneGauge::Svd).then_some(values);
        let gradients = evidence.map(|found| Gradients {
            fisher: GateGradients::new(&found.fisher, &turns),
            held_out: GateGradients::new(&found.held_out, &turns),
            train_images: found.train_images,
        });
        let log_alpha: Vec<Vec<f32>> = match posterior {
            Some(Posterior::Refit) => {
                let gradients = gradients.as_ref().ok_or(GaugeError::NoEvidence)?;
                {
                    let multiplicity = config.kl_multiplicity.ok_or(GaugeError::NoKappa)?;
                    super::refitted(config.kl_scale, multiplicity, layout, &gradients.evidence())
                }
            }
            _ => turns.iter().map(|turn| vec![0.0; turn.rank()]).collect(),
        };
        let (layout, state) = match gauge {
            PruneGauge::None => (layout.clone(), state.clone()),
            _ => (
                super::turned_layout(layout, &backbone.resnet, &turns),
                super::turn(layout, state, &turns, &log_alpha),
            ),
        };
        let has_own = matches!(posterior, None | Some(Posterior::Refit));
        let turned = AdapterParams {
            layout,
            state,
            scale: before.scale,
            gates: before.gates.filter(|_| has_own),
        };
        Ok(Self {
            backbone,
            from,
            posterior,
            before,
            turns,
            gradients,
            singular,
            turned,
        })
    }

    /// A score for every rank `[ranks]` of each layer: the higher, the longer it stays.
    ///
    /// # Errors
    /// There is no evidence, or no singular value in this basis.
    pub fn scores(&self, order: Order) -> Result<Vec<Vec<f64>>, GaugeError> {
        let evidence = || {
            let gradients = self.gradients.as_ref().ok_or(GaugeError::NoEvidence)?;
            Ok::<_, GaugeError>(gradients.evidence())
        };
        Ok(match order {
            Order::Alpha => {
                let ranked = self.turned.state.with_log_alpha(self.from.gates);
                let layers = ranked.layers.iter();
                layers
                    .map(|layer| layer.log_alpha.iter().map(|t| -f64::from(*t)).collect())
                    .collect()
            }
            Order::Magnitude => magnitudes(&self.turned.layout, &self.turned.state),
            Order::SingularValue => self.singular.clone().ok_or(GaugeError::NotSingular)?,
            Order::Evidence => evidence()?,
            Order::EvidencePerScalar => {
                let layers = self.turned.layout.layers.iter().zip(evidence()?);
                let per = |(layer, worth): (&LayoutLayer, Vec<f64>)| {
                    let scalars = layer.params_per_rank() as f64;
                    worth.into_iter().map(|worth| worth / scalars).collect()
                };
                layers.map(per).collect()
            }
            Order::Random { seed } => {
                let mut places: Vec<usize> = (0..self.turned.layout.total_rank()).collect();
                places.shuffle(&mut Pcg64::seed_from_u64(seed));
                let mut places = places.into_iter().map(|place| place as f64);
                let layers = self.turned.layout.layers.iter();
                layers
                    .map(|layer| places.by_ref().take(layer.rank()).collect())
                    .collect()
            }
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

    /// The adapter without some (layer, place).
    pub fn without(&self, gone: &[(usize, usize)]) -> Cut {
        let kept = kept_without(&self.turned.state, gone);
        let mut params = self.turned.clone();
        params.keep(&self.backbone.resnet, &kept);
        let from = self.from;
        let (mut layers, head) = exchange::to_file(&params);
        if self.posterior == Some(Posterior::Mixed) {
            for (number, layer) in layers.iter_mut().enumerate() {
                self.mix(layer, number, &kept[number]);
            }
        }
        let adapter = Adapter {
            layers,
            head,
            method: match self.posterior {
                Some(Posterior::Mean) => format!("{}, mean weights", from.method),
                _ => from.method.clone(),
            },
            ..from.clone()
        };
        Cut {
            kept,
            params,
            adapter,
        }
    }

    /// The gates from before, as they act on the ranks that are left.
    fn mix(&self, layer: &mut LayerAdapter, number: usize, kept: &[usize]) {
        let AdapterParams { layout, state, .. } = &self.before;
        layer.log_alpha = Some(Vec::new());
        if !kept.is_empty() {
            let turn = self.turns[number].keep(kept);
            layer.log_alpha = Some(state.layers[number].log_alpha.clone());
            layer.mixing = Some(turn.mixing(&layout.layers[number].rank_ids));
        }
    }
}

impl Gradients {
    fn evidence(&self) -> Vec<Vec<f64>> {
        self.fisher.evidence(self.train_images)
    }
}

/// The turn of every layer, with what it says of each rank. Of latent ranks as many are left as the adapter has ranks.
fn turns(
    adapter: &Adapter,
    gauge: PruneGauge,
    AdapterParams { layout, state, .. }: &AdapterParams,
    evidence: Option<&Evidence>,
) -> Result<(Vec<Turn>, Vec<Vec<f64>>), GaugeError> {
    let found = super::turns_into(gauge, layout, state, evidence.map(|found| &found.fisher))?;
    if gauge == PruneGauge::None {
        return Ok(found.into_iter().unzip());
    }
    let stored = |name: &str| {
        let layer = adapter.layers.iter().find(|layer| layer.name == name);
        layer.map_or(0, LayerAdapter::rank)
    };
    let layers = layout.layers.iter();
    let all = layers.zip(found).map(|(layer, (turn, mut values))| {
        let kept: Vec<usize> = (0..stored(&layer.name)).collect();
        values.truncate(kept.len());
        (turn.keep(&kept), values)
    });
    Ok(all.unzip())
}
