//! Whether pruned ranks give their time back: training steps at rank 64, at rank 8, and at rank 64
//! pruned to 8, taking turns.

use super::measure::{Better, Effort, Row, median_of};
use super::{BenchError, Step, Subject};
use crate::metrics::Bootstrap;
use crate::train::{TrainableState, initial_state};

const MANY: usize = 64;
const FEW: usize = 8;

/// From cached features: the frozen prefix costs the same whatever the ranks, and would only add noise.
pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let source = subject.features()?;
    let fresh = |rank: usize| {
        let layout = subject.layout(rank);
        let values = initial_state(&layout, 1);
        TrainableState::new(layout, values)
    };
    let build = |state: &TrainableState| Step::train(subject, source.clone(), state);
    let many = build(&fresh(MANY))?;
    let few = build(&fresh(FEW))?;
    let mut state = fresh(MANY);
    let kept: Vec<usize> = (0..MANY).step_by(MANY / FEW).collect();
    let kept = vec![kept; state.layout.layers.len()];
    state.keep(&subject.backbone.resnet, &kept);
    let pruned = build(&state)?;

    let effort = Effort {
        least: 11,
        seconds: 8.0,
        ..Effort::default()
    };
    let [many, few, pruned] =
        effort.interleaved([&mut || many.run(), &mut || few.run(), &mut || pruned.run()])?;
    let given_back = Bootstrap::default().interval(many.len(), |drawn| {
        let [many, few, pruned] = [&many, &few, &pruned].map(|all| median_of(all, drawn));
        100.0 * (many - pruned) / (many - few)
    });
    let batch = subject.settings.batch;
    let images =
        |what: &str, seconds: &[f64]| Row::images(format!("pruned/{what}"), batch, seconds);
    Ok(vec![
        images("rank 64", &many),
        images("rank 8", &few),
        images("rank 64 pruned to 8", &pruned),
        Row::share(
            "pruned/given back",
            "%",
            Better::Higher,
            given_back,
            many.len(),
        ),
    ])
}
