//! Bytes of GPU memory, by what they are for.

use super::measure::Row;
use super::{BenchError, Step, Subject, Work};
use crate::model::BatchInput;
use crate::predict::FeatureCache;

/// Plans, weights, parameters and data apart; the host's cached features an image.
pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for work in Work::ALL {
        let step = Step::new(subject, work)?;
        let name = |part: &str| format!("memory/{}, {part}", work.name());
        rows.push(Row::memory(name("plan"), step.plan().transient_bytes()));
        rows.push(Row::memory(name("data"), step.data_bytes()));
    }
    let floats = subject.layout(subject.settings.rank).len as u64;
    rows.push(Row::memory("memory/weights", subject.network.bytes()));
    // Values, gradients, two moments.
    rows.push(Row::memory("memory/parameters", 4 * 4 * floats));
    if let BatchInput::Features { map } = subject.features()?.input() {
        let bytes = FeatureCache::bytes(map, 1, 1);
        rows.push(Row::memory(
            "memory/cached features on the host, an image",
            bytes,
        ));
    }
    Ok(rows)
}
