//! What `calibrate` has kept for a run's answers, as `predict` and `eval` use it.

use anyhow::Result;
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::predict::{Calibration, Held};
use serde::Serialize;

use super::output;
use super::run::Run;

/// What was promised of the predictive of so many samples of a seed; nothing, with a warning, where that cannot be read or
/// was of another adapter.
pub fn kept(run: &Run, predictive: (usize, u64)) -> Result<Option<Calibration>> {
    Ok(load(run, predictive)?.unwrap_or_else(|doubt| {
        output::note(&format!("warning: {doubt}"));
        None
    }))
}

/// The same, or why nothing can be promised.
pub fn load(run: &Run, predictive: (usize, u64)) -> Result<Result<Option<Calibration>, String>> {
    let classes = run.adapter.classes.len();
    let found = Calibration::load(run.fitted_dir(), &run.sha256()?, predictive, classes);
    Ok(found.map_err(|error| {
        format!("{error} (`bayeslora calibrate`); nothing is promised of these answers")
    }))
}

/// Says what does not hold of answers under another prior than that of the validation images: sets and thresholds, and how often
/// familiar images are called unfamiliar.
pub fn doubt_under_prior(has_promises: bool, has_detector: bool) {
    if has_promises {
        output::note(
            "warning: what `calibrate` has promised holds of answers for the balance of classes that the run was trained for; \
             under --class-prior nothing is promised, and no answer is held back",
        );
    }
    if has_detector {
        output::note(
            "warning: the false alarms of `calibrate` were counted where classes are as frequent as in training; where they are not \
             (--class-prior), there may be more or fewer",
        );
    }
}

/// What is said of one answer, whatever the temperature.
#[derive(Default, Serialize)]
pub struct Promised {
    /// Whether the confidence is high enough for the promised risk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// The classes of its prediction set, the most probable first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction_set: Option<Vec<String>>,
}

impl Promised {
    pub fn new(
        calibration: &Calibration,
        probabilities: &[f32],
        tie: f64,
        names: &[String],
    ) -> Self {
        let promise = calibration.promise(probabilities, tie);
        let named = |labels: Vec<usize>| labels.into_iter().map(|label| names[label].clone());
        Self {
            answered: promise.answered,
            prediction_set: promise.prediction_set.map(|labels| named(labels).collect()),
        }
    }

    /// That no answer is given, where that is so; `best` is the most probable class.
    pub fn refusal(&self, best: &str) -> Option<String> {
        (self.answered == Some(false)).then(|| match &self.prediction_set {
            Some(set) => format!("unsure: {}", named(set, " or ")),
            None => format!("unsure, {best} at best"),
        })
    }

    /// The line with the prediction set, where there are such.
    pub fn set_line(&self) -> String {
        let set = self.prediction_set.as_ref();
        set.map_or(String::new(), |set| {
            format!("\n  set: {}", named(set, ", "))
        })
    }
}

fn named(classes: &[String], between: &str) -> String {
    let names = classes.iter().map(printable);
    names.collect::<Vec<_>>().join(between)
}

/// What the answers are promised, in words.
pub fn in_words(calibration: &Calibration) -> String {
    let mut text = String::new();
    if let Some(control) = &calibration.risk_control {
        text += &format!(
            "\n\nanswered where the confidence is {:.3} or more: at most {} of such answers are wrong, {} sure (calibrate)",
            control.threshold,
            percent(control.max_risk),
            percent(control.confidence)
        );
    }
    if let Some(sets) = &calibration.prediction_sets {
        let coverage = percent(sets.coverage);
        text +=
            &format!("\n\nsets hold the right class of {coverage} of images or more (calibrate)");
    }
    text
}

/// A calibration, and whether it holds on a test set.
#[derive(Serialize)]
pub struct Tested {
    pub calibration: Calibration,
    pub held: Held,
}

impl Tested {
    pub fn in_words(&self) -> String {
        let Self { calibration, held } = self;
        let mut text = String::new();
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        if let (Some(control), Some(answered), Some(wrong)) =
            (&calibration.risk_control, held.answered, held.wrong)
        {
            text += &format!(
                "\nanswers {answered} of {} images ({:.1} %), {wrong} of them wrong ({:.1} %; at most {} promised)",
                held.images,
                share(answered, held.images),
                share(wrong, answered),
                percent(control.max_risk)
            );
        }
        if let (Some(sets), Some(covered), Some(size)) = (
            &calibration.prediction_sets,
            held.covered,
            held.mean_set_size,
        ) {
            text += &format!(
                "\nsets of {size:.2} classes on average hold the right one of {:.1} % of images (at least {} promised)",
                share(covered, held.images),
                percent(sets.coverage)
            );
        }
        text
    }
}

/// A share as it was given, in percent.
pub fn percent(share: f64) -> String {
    let text = format!("{:.3}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
