//! The answers of a Laplace posterior around a plain run.

use anyhow::Result;
use bayeslora::predict::laplace::{Laplace, LaplaceConfig, LaplaceStage, LaplaceStructure};
use bayeslora::predict::{Predictor, Source};
use bayeslora::study::{Place, Stored};
use bayeslora::train::Trainer;

use crate::cli::context::Bar;

/// Fits to the run's training images, chooses on its validation images where a structure needs it, and
/// keeps the probit predictive on the test images.
pub fn answer(
    trainer: &Trainer,
    predictor: &Predictor,
    structure: LaplaceStructure,
    test: &Source,
    place: &Place,
) -> Result<()> {
    let bar = Bar::default();
    let mut observe = |stage: LaplaceStage, done, total| {
        bar.show(
            &format!("Laplace {}: {stage:?}", structure.name()),
            done,
            total,
        );
    };
    let validation = trainer.validation_set();
    let laplace = Laplace::fit(
        predictor,
        trainer.training_set(),
        validation,
        LaplaceConfig::new(structure),
        &mut observe,
    )?;
    let found = laplace.predictive(test, &mut observe)?;
    let classes = predictor.layout().classes;
    let stored = Stored::laplace(structure);
    place.write(&stored, &found.log_probs, 1, classes)?;
    Ok(place.write_note(&stored, &laplace.fitted())?)
}
