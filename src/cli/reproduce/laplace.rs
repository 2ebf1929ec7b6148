//! The answers of a Laplace posterior around a run.

use anyhow::{Context as _, Result};
use bayeslora::low_level::predict::laplace::{Laplace, LaplaceStage};
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::low_level::study::{Fit, Place, Stored};
use bayeslora::low_level::train::Trainer;

use crate::cli::context::Bar;

/// Fits to the run's training images, chooses on its validation images where a structure needs it, and
/// keeps the predictive on the sets that the fit answers.
pub fn answer(
    trainer: &Trainer,
    predictor: &Predictor,
    fit: Fit,
    test: &Source,
    place: &Place,
) -> Result<()> {
    let (bar, way) = (Bar::default(), fit.way());
    let mut observe = |stage: LaplaceStage, done, total| {
        bar.show(&format!("{way}: {stage:?}"), done, total);
    };
    let validation = trainer.validation_set();
    let laplace = Laplace::fit(
        predictor,
        trainer.training_set(),
        validation,
        fit.config,
        &mut observe,
    )?;
    let classes = predictor.layout().classes;
    for set in fit.sets() {
        let source = match *set {
            "validation" => validation.context("no validation images")?,
            _ => test,
        };
        let found = match fit.samples {
            0 => laplace.predictive(source, &mut observe)?,
            count => {
                let draws = Samples::new(count, trainer.config().seed);
                laplace.predictive_over_gates(source, draws, &mut observe)?
            }
        };
        // The answers come last: once they are there, nothing of this is done again.
        let stored = Stored::laplace(set, fit);
        place.write_note(&stored, &laplace.fitted())?;
        place.write(&stored, &found.log_probs, 1, classes)?;
    }
    Ok(())
}
