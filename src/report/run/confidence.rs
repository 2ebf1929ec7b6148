//! Whether confidence comes true, and what leaving the unsure answers out gains.

use super::material::Material;
use crate::metrics::{
    DEFAULT_BINS, Predictions, PredictionsError, RiskControl, RiskCoverage, reliability_bins,
    risk_coverage, signed_gap, tempered_log_probs,
};
use crate::predict::Held;
use crate::report::block::{Block, Section};
use crate::report::chart::{Axis, Plot, Size};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{count, counted, decimal};
use crate::report::theme::Styles;
use crate::report::{Row, figures};

/// Points of a curve, about.
const POINTS: usize = 200;

pub fn reliability(material: &Material) -> Result<Section, PredictionsError> {
    let results = material.results;
    let row = |title: String, predictions: &Predictions| {
        let (confidence, correct) = (predictions.confidence(), predictions.correct());
        Row {
            name: title.to_lowercase(),
            title,
            family: results.family.clone(),
            reliability: reliability_bins(&confidence, &correct, DEFAULT_BINS),
            ..Row::default()
        }
    };
    let mut rows = vec![row("As it is".into(), &material.predictions)];
    if let Some(fitted) = &results.temperature {
        let classes = material.names.len();
        let tempered = tempered_log_probs(&results.log_probs, classes, fitted.temperature);
        let predictions = Predictions::from_log_probs(&tempered, &results.labels, classes)?;
        let title = format!("Temperature {}", decimal(fitted.temperature, 3));
        rows.push(row(title, &predictions));
    }
    let gap = signed_gap(&material.confidence, &material.correct);
    let which = if gap > 0.0 { "above" } else { "below" };
    let text = format!(
        "On average the confidence, which is the probability of the answer, is {} {which} the accuracy.",
        decimal(gap.abs(), 3)
    );
    let rows: Vec<&Row> = rows.iter().collect();
    let on = counted(material.predictions.len(), "image");
    let figure = figures::reliability("", &rows, &on).map(Block::Figure);
    Ok(Section {
        id: "reliability",
        title: "Reliability",
        blocks: std::iter::once(Block::Text(text)).chain(figure).collect(),
    })
}

pub fn selective(material: &Material) -> Section {
    let calibration = material.results.calibration.as_ref();
    let control = calibration.and_then(|(calibration, _)| calibration.risk_control);
    let mut blocks = Vec::new();
    match (control, calibration) {
        (Some(control), Some((_, held))) => blocks.push(Block::Text(promise(&control, held))),
        _ => blocks.push(Block::missing(
            "No threshold has been chosen for these samples: bayeslora calibrate --max-risk does that.",
        )),
    }
    if let Some((calibration, held)) = calibration
        && let (Some(sets), Some(covered), Some(size)) = (
            &calibration.prediction_sets,
            held.covered,
            held.mean_set_size,
        )
    {
        blocks.push(Block::Text(format!(
            "Sets of {} classes on average hold the right one of {} of {}; at least {}\u{a0}% were promised.",
            decimal(size, 2),
            count(covered),
            counted(held.images, "image"),
            percent(sets.coverage)
        )));
    }
    blocks.push(Block::Figure(curve(material, control)));
    Section {
        id: "selective",
        title: "Risk and coverage",
        blocks,
    }
}

fn promise(control: &RiskControl, held: &Held) -> String {
    let (answered, wrong) = (held.answered.unwrap_or(0), held.wrong.unwrap_or(0));
    format!(
        "It was chosen (calibrate) to answer from a confidence of {} on, so that at most {}\u{a0}% of the answers are wrong \
         ({}\u{a0}% sure, by {}). Here that answers {} of {}, {} of them wrong ({}\u{a0}%).",
        decimal(control.threshold, 3),
        percent(control.max_risk),
        percent(control.confidence),
        counted(control.images, "validation image"),
        count(answered),
        counted(held.images, "image"),
        count(wrong),
        decimal(100.0 * wrong as f64 / answered.max(1) as f64, 1),
    )
}

fn percent(share: f64) -> String {
    let text = format!("{:.3}", 100.0 * share);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn curve(material: &Material, control: Option<RiskControl>) -> Figure {
    let curve = risk_coverage(&material.confidence, &material.correct);
    let every = curve.len().div_ceil(POINTS).max(1);
    // From the end: all images answered is what the accuracy says.
    let mut points: Vec<&RiskCoverage> = curve.iter().rev().step_by(every).collect();
    points.reverse();
    let style = Styles::default().next(&material.results.family);
    let highest = control.map(|control| control.max_risk);
    let risks = points.iter().map(|point| point.risk);
    let y = Axis::around("risk", risks.chain([0.0]).chain(highest), 5);
    let title = format!("Risk, {}", counted(curve.len(), "image"));
    let mut plot = Plot::new(&title, Size::USUAL, Axis::share("coverage"), y);
    let line: Vec<_> = points
        .iter()
        .map(|point| (point.coverage, point.risk))
        .collect();
    plot.marked_line(&line, &style);
    let mut marks = String::new();
    if let Some(control) = control {
        plot.rule(&[(0.0, control.max_risk), (1.0, control.max_risk)]);
        let answered = material.confidence.iter();
        let answered = answered.filter(|confidence| control.answers(**confidence));
        // At the threshold ties are answered together, and so stand at the end of theirs.
        if let Some(point) = answered.count().checked_sub(1).map(|last| curve[last]) {
            plot.ring((point.coverage, point.risk));
        }
        marks = format!(
            " Dashed: the {}\u{a0}% promised; ring: the threshold that was chosen.",
            percent(control.max_risk)
        );
    }
    let mut numbers = Numbers::new(&["coverage", "risk"]);
    numbers.rows = line
        .iter()
        .map(|(coverage, risk)| vec![coverage.to_string(), risk.to_string()])
        .collect();
    Figure {
        name: "risk-coverage".into(),
        title: "Errors among the answers given".into(),
        caption: format!(
            "If the model answers only the share of images that it is surest of (coverage), how many of those answers are \
             wrong (risk; lower is better).{marks}"
        ),
        panels: vec![plot.finish()],
        columns: 2,
        legend: Vec::new(),
        numbers,
    }
}
