//! Bytes of GPU memory, by what they are for.

use super::measure::Row;
use super::{BenchError, Step, Subject, Work};

/// Plans, weights, parameters and data separately; cached features per image, and where they are.
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
    let place = match subject.features()?.is_resident() {
        true => "GPU",
        false => "host",
    };
    let map = subject
        .network
        .resnet
        .cut_map(subject.cut, subject.settings.size);
    rows.push(Row::memory(
        format!("memory/cached features on the {place}, an image"),
        2 * map.floats() as u64,
    ));
    Ok(rows)
}
