//! A prune in a basis other than the one that training left the ranks in.

use super::gauge::{self, EVIDENCE_IMAGES, GateGradients, GaugeError, Turn, best_log_alpha};
use super::{PruneGauge, TrainConfig, TrainError, TrainableState};
use crate::model::{AdapterLayout, ResNet};
use crate::predict::{GateFactors, Labels, Predictor, Source};

/// Nats that one prune of `--rank auto` may raise the held-out NLL by: about what half of the ranks cost in the basis of
/// the evidence (`docs/ranks.md`). Training goes on after it.
pub(super) const AUTO_NLL_INCREASE: f64 = 2e-3;

/// A run's parameters after a turn of every layer.
pub(super) struct Turned {
    pub layout: AdapterLayout,
    /// With alpha (1 + alpha) = kappa / e where alpha is learnt.
    pub state: TrainableState,
    /// e of every rank, `[ranks]` of each layer.
    pub evidence: Vec<Vec<f64>>,
}

impl Turned {
    /// Goes through training images with the parameters of the predictor, which are those of `state`. `progress` is
    /// called with the number of images done and that of all.
    ///
    /// # Errors
    /// The GPU fails, an image cannot be read, or a layer holds values that are not finite.
    pub fn new(
        predictor: &Predictor,
        resnet: &ResNet,
        config: &TrainConfig,
        train: &Source,
        mut state: TrainableState,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        let layout = predictor.layout();
        let labels = Labels::Drawn { seed: config.seed };
        let images = EVIDENCE_IMAGES.min(GateFactors::most_images(layout, labels));
        let total = images.min(train.dataset.len());
        let factors = GateFactors::gather(predictor, train, images, labels, &mut |done| {
            progress(done, total);
        })?;
        let turns = turns(config.prune_gauge(), layout, &state, &factors)?;
        let evidence = GateGradients::new(&factors, &turns).evidence(train.dataset.len());
        let multiplicity = config.kl_multiplicity.expect("resolved");
        let layers = layout.layers.iter().zip(&evidence);
        let log_alpha = layers.map(|(layer, evidence)| -> Vec<f32> {
            let kappa = config.kl_scale * multiplicity.kappa(layer.params_per_rank());
            let ranks = evidence.iter();
            match config.method.learns_noise() {
                true => ranks.map(|e| best_log_alpha(kappa, *e) as f32).collect(),
                false => vec![0.0; evidence.len()],
            }
        });
        let log_alpha: Vec<_> = log_alpha.collect();
        state.turn(layout, &turns, &log_alpha);
        Ok(Self {
            layout: gauge::turned_layout(layout, resnet, &turns),
            state,
            evidence,
        })
    }
}

fn turns(
    gauge: PruneGauge,
    layout: &AdapterLayout,
    state: &TrainableState,
    factors: &GateFactors,
) -> Result<Vec<Turn>, GaugeError> {
    let found = match gauge {
        PruneGauge::None => {
            let layers = layout.layers.iter();
            return Ok(layers.map(|layer| Turn::identity(layer.rank())).collect());
        }
        PruneGauge::Svd => gauge::turns(layout, &state.values, |_, a, b| gauge::svd(a, b))?,
        PruneGauge::Evidence => gauge::evidence_turns(layout, &state.values, factors)?,
    };
    Ok(found.into_iter().map(|(turn, _)| turn).collect())
}
