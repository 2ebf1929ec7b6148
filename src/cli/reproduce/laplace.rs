//! The answers of a Laplace posterior around a plain run.

use anyhow::Result;
use bayeslora::predict::laplace::{Laplace, LaplaceConfig, LaplaceStage};
use bayeslora::predict::{Predictor, Source};
use bayeslora::study::{Place, Stored};
use bayeslora::train::Trainer;

use crate::cli::context::Bar;

/// Fits to the run's training images, chooses on its validation images where a structure needs it, and
/// keeps the predictive on the test images. Returns what its files are called.
pub fn answer(
    trainer: &Trainer,
    predictor: &Predictor,
    config: LaplaceConfig,
    test: &Source,
    place: &Place,
) -> Result<String> {
    let stored = Stored::laplace(&config);
    let bar = Bar::default();
    let mut observe = |stage: LaplaceStage, done, total| {
        bar.show(&format!("{}: {stage:?}", stored.way), done, total);
    };
    let validation = trainer.validation_set();
    let laplace = Laplace::fit(
        predictor,
        trainer.training_set(),
        validation,
        config,
        &mut observe,
    )?;
    let found = laplace.predictive(test, &mut observe)?;
    let classes = predictor.layout().classes;
    // The answers come last: once they are there, nothing of this is done again.
    place.write_note(&stored, &laplace.fitted())?;
    place.write(&stored, &found.log_probs, 1, classes)?;
    Ok(stored.way)
}
