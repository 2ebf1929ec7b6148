//! The pass over images that says what ranks are worth.

use crate::predict::{GateFactors, Labels, PredictError, Predictor, Source};

/// What images say of the ranks, as a run has them.
pub struct Evidence {
    /// Of training images, with labels drawn from the model.
    pub fisher: GateFactors,
    /// Of held-out images, with their own.
    pub held_out: GateFactors,
    /// Images of the training set.
    pub train_images: usize,
}

impl Evidence {
    /// Asks `images` training images with labels drawn from the model, and as many held-out images with their own.
    /// `progress` is called with the number of images done and that of all, for each set anew.
    ///
    /// # Errors
    /// A set is empty, the GPU fails, or an image file has changed.
    pub fn gather(
        predictor: &Predictor,
        train: &Source,
        held_out: &Source,
        images: usize,
        drawn: Labels,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, PredictError> {
        let mut of = |source: &Source, labels: Labels| {
            let total = images.min(source.dataset.len());
            let mut progress = |done| progress(done, total);
            GateFactors::gather(predictor, source, images, labels, &mut progress)
        };
        Ok(Self {
            fisher: of(train, drawn)?,
            held_out: of(held_out, Labels::Given)?,
            train_images: train.dataset.len(),
        })
    }
}
