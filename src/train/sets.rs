//! What is asked of image sets before they are used.

use crate::data::Dataset;

/// Why images cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum SetError {
    #[error("the {set} set has no images")]
    Empty { set: &'static str },
    #[error("image {image} of the {set} set has label {label}, and there are {classes} classes")]
    Label {
        set: &'static str,
        image: usize,
        label: u32,
        classes: usize,
    },
}

/// Refuses labels that have no output: shaders would read past the end with them.
pub(super) fn check_set(
    set: &'static str,
    images: &Dataset,
    classes: usize,
) -> Result<(), SetError> {
    if images.is_empty() {
        return Err(SetError::Empty { set });
    }
    let wrong = |(_, label): &(usize, &u32)| **label as usize >= classes;
    match images.labels.iter().enumerate().find(wrong) {
        None => Ok(()),
        Some((image, label)) => Err(SetError::Label {
            set,
            image,
            label: *label,
            classes,
        }),
    }
}
