//! `--probs-out`: the probabilities as an array, for programs that go on from there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{npy, write_atomic};

use super::output::Unkept;

/// Before any work: what cannot be written, or should not be.
pub fn check(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let shown = path.display();
    ensure!(
        path.extension().is_some_and(|extension| extension == "npy"),
        "--probs-out {shown}: it will be a NumPy array, so let its name end in .npy"
    );
    ensure!(
        !path.is_dir(),
        "--probs-out {shown}: a directory; name a file in it"
    );
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    ensure!(
        parent.is_none_or(Path::is_dir),
        "--probs-out {shown}: there is no such directory to put it in; make it first"
    );
    Ok(())
}

/// `[images, classes]`, row-major.
pub fn write(path: Option<&Path>, classes: usize, probabilities: &[f32]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let shape = [probabilities.len() / classes, classes];
    write_atomic(path, &npy::npy_bytes(&shape, probabilities))
        .with_context(|| Unkept("the probabilities could not be written (--probs-out)".into()))
}
