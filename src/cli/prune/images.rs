//! The images of a prune, as the run has recorded them.

use anyhow::Result;
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::train::PruneImages;
use serde::Serialize;

use crate::cli::context::Bar;
use crate::cli::location::Location;
use crate::cli::output;
use crate::cli::run::Run;
use crate::cli::run_images::{Changed, RunImages};
use crate::cli::train_options::Inputs;

/// What the cost is measured on.
#[derive(Serialize)]
pub struct HeldOutSet {
    pub data: Location,
    /// `validation` or `test`.
    pub split: &'static str,
    pub images: usize,
}

/// The validation split of the run, or the test set where it had none, and its training images where they are needed.
pub fn open(
    run: &Run,
    data: Option<&Location>,
    train: bool,
    bar: &Bar,
) -> Result<(PruneImages, HeldOutSet)> {
    if run.inputs.data.is_empty() && run.data.is_none() && data.is_some() {
        return drawn(run, run.inputs_at(data)?, train, bar);
    }
    let data = data.unwrap_or(&run.inputs.data);
    let own = run.own(data, Changed::Say)?;
    let (part, split) = match own.recorded.validation.is_empty() {
        false => (Part::Validation, "validation"),
        true => (Part::Test, "test"),
    };
    let (train, held_out) = match train {
        true => {
            let [train, held_out] = own.open([Part::Train, part], bar)?;
            (Some(run.align(train)?), held_out)
        }
        false => {
            let [held_out] = own.open([part], bar)?;
            (None, held_out)
        }
    };
    let held_out = run.align(held_out)?;
    let set = HeldOutSet {
        data: data.clone(),
        split,
        images: held_out.len(),
    };
    Ok((PruneImages { train, held_out }, set))
}

/// Of a set that nothing is known of, for a run that has no record of its own, as an imported one.
fn drawn(run: &Run, inputs: Inputs, train: bool, bar: &Bar) -> Result<(PruneImages, HeldOutSet)> {
    output::note(&format!(
        "warning: --run {}: nothing says which images it was trained on; if any are among those held out of {}, the cost looks \
         lower than it is",
        run.dir.path().display(),
        inputs.data
    ));
    let images = RunImages::draw(&inputs, &run.config, None, bar)?;
    let (held_out, split) = match images.validation {
        Some(validation) => (validation, "validation"),
        None => (images.test, "test"),
    };
    let held_out = run.align(held_out)?;
    let set = HeldOutSet {
        data: inputs.data,
        split,
        images: held_out.len(),
    };
    let train = train.then(|| run.align(images.train)).transpose()?;
    Ok((PruneImages { train, held_out }, set))
}
