//! A prune in a basis other than the one that training left the ranks in.

use super::gauge::{self, GateGradients, Turn};
use super::{ResolvedConfig, TrainError, TrainableState};
use crate::model::ResNet;
use crate::predict::{GateFactors, Labels, Predictor, Source};

/// Training images, at most, that say what ranks are worth. Fewer than in `prune`: a run asks at every prune, and can learn again
/// what was cut by mistake.
const IMAGES: usize = 500;

/// A run's parameters after a turn of every layer.
pub(super) struct Turned {
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
        config: &ResolvedConfig,
        train: &Source,
        mut state: TrainableState,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        let layout = predictor.layout();
        let labels = Labels::Drawn { seed: config.seed };
        let images = IMAGES.min(GateFactors::most_images(layout, labels));
        let total = images.min(train.dataset.len());
        let factors = GateFactors::gather(predictor, train, images, labels, &mut |done| {
            progress(done, total);
        })?;
        let found = gauge::turns_into(config.prune_gauge(), layout, &state.values, Some(&factors))?;
        let turns: Vec<Turn> = found.into_iter().map(|(turn, _)| turn).collect();
        let evidence = GateGradients::new(&factors, &turns).evidence(train.dataset.len());
        let log_alpha = match config.method.learns_noise() {
            true => gauge::refitted(config.kl_scale, config.kl_multiplicity, layout, &evidence),
            false => evidence.iter().map(|of| vec![0.0; of.len()]).collect(),
        };
        state.turn(resnet, &turns, &log_alpha);
        Ok(Self { state, evidence })
    }
}
