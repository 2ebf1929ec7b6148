//! `--probs-out`: the probabilities as an array, for programs that go on from there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{npy, write_atomic};

use super::output::{self, Unkept};

/// Before any work: what cannot be written, or should not be.
pub fn check(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let shown = path.display();
    ensure!(
        path.extension().is_some_and(|extension| extension == "npy"),
        "--probs-out {shown}: it will be a NumPy array, so let its name end in .npy"
    );
    output::check_place("--probs-out", path)
}

/// `[images, classes]`, row-major.
pub fn write(path: Option<&Path>, classes: usize, probabilities: &[f32]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let shape = [probabilities.len() / classes, classes];
    write_atomic(path, &npy::npy_bytes(&shape, probabilities))
        .with_context(|| Unkept("the probabilities could not be written (--probs-out)".into()))
}
