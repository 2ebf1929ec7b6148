//! What cutting a finished adapter further costs, by criterion, without training.

use std::path::Path;

use anyhow::{Context as _, Result};
use bayeslora::formats::write_atomic;
use bayeslora::model::exchange;
use bayeslora::predict::{Predictor, Samples, evaluate};
use bayeslora::report::{CriterionPoint, Score};
use bayeslora::study::Criterion;
use bayeslora::train::{Trainer, kept_without};

use crate::cli::context::Bar;

/// Shares of the ranks that stay.
const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];

/// Cuts by each criterion, scores the mean weights on the validation images, writes the points.
pub fn try_cuts(trainer: &Trainer, seed: u64, path: &Path) -> Result<()> {
    let validation = trainer.validation_set().context("no validation images")?;
    let (network, adapter) = (trainer.network(), trainer.adapter()?);
    let (layout, state) = exchange::from_file(&network.resnet, &adapter)?;
    let criteria = [
        Criterion::LogAlpha,
        Criterion::Magnitude,
        Criterion::Random { seed },
    ];
    let (bar, total) = (Bar::default(), criteria.len() * SHARES.len());
    let mut points = Vec::new();
    for criterion in criteria {
        let order = criterion.order(&layout, &state);
        for share in SHARES {
            let left = (share * order.len() as f64).round() as usize;
            let kept = kept_without(&state, &order[..order.len() - left]);
            let mut state = state.clone();
            state.keep(&layout, &kept);
            let predictor = Predictor::with_state(
                network.clone(),
                layout.keep(&network.resnet, &kept),
                &state,
                adapter.scale(),
                adapter.gates,
                adapter.resolution,
            );
            let scores = evaluate(&predictor, validation, Samples::MEAN, 0.0, &mut |_| ())?.scores;
            let score = |mean| Score {
                mean,
                ..Score::default()
            };
            points.push(CriterionPoint {
                criterion: criterion.name().into(),
                ranks: left as f64,
                accuracy: score(scores.accuracy),
                nll: score(scores.nll),
            });
            bar.show("cutting ranks", points.len(), total);
        }
    }
    let text = serde_json::to_string_pretty(&points)? + "\n";
    Ok(write_atomic(path, text.as_bytes())?)
}
