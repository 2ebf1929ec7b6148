//! Whether an adapter merged into the weights costs anything: forward passes of the plain and of the
//! merged backbone, taking turns.

use super::measure::{Better, Effort, Row, median_of};
use super::subject::SCALE;
use super::{BenchError, Step, Subject};
use crate::metrics::Bootstrap;
use crate::train::{initial_state, upload};

pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let layout = subject.layout(subject.settings.rank);
    let mut state = initial_state(&layout, 1);
    for layer in &mut state.layers {
        layer.lora_b.fill(1e-3);
    }
    let merged = subject.backbone.merged(&layout, &state, SCALE);
    let merged = upload(&subject.gpu, &merged);
    let plain = Step::forward(subject, &subject.network, 0, 1)?;
    let merged = Step::forward(subject, &merged, 0, 1)?;
    let effort = Effort {
        least: 11,
        seconds: 5.0,
        ..Effort::default()
    };
    let [plain, merged] = effort.interleaved([&mut || plain.run(), &mut || merged.run()])?;
    let cost = Bootstrap::default().interval(plain.len(), |drawn| {
        100.0 * (median_of(&merged, drawn) / median_of(&plain, drawn) - 1.0)
    });
    let batch = subject.settings.batch;
    Ok(vec![
        Row::images("merged/plain backbone", batch, &plain),
        Row::images("merged/merged adapter", batch, &merged),
        Row::share("merged/cost", "%", Better::Lower, cost, plain.len()),
    ])
}
