//! What becomes of images that nearly repeat each other.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use bayeslora::low_level::data::reuse::Before;
use bayeslora::low_level::data::{DataError, Dataset, Identity, Looks};
use bayeslora::low_level::formats::{Digest, printable};

use super::output;

/// A split that keeps images together which nearly repeat each other: on these a model is not asked but reminded.
pub fn together(
    train: &Dataset,
    looks: &Looks,
    share: f64,
    seed: u64,
) -> Result<(Dataset, Dataset), DataError> {
    let groups = looks.groups();
    let mut sizes = BTreeMap::new();
    groups
        .iter()
        .for_each(|group| *sizes.entry(group).or_insert(0usize) += 1);
    let many = sizes.values().filter(|size| **size > 1);
    let (alike, images) = (many.clone().count(), many.sum::<usize>());
    let found = train.split_validation_by(share, seed, &groups);
    if images == 0 {
        return found;
    }
    if found.is_err() {
        output::note(&format!(
            "warning: {images} of {} training images nearly repeat others, too many to keep them on one side of the validation \
             split: scores on it are too good",
            train.len()
        ));
        return train.split_validation(share, seed);
    }
    output::note(&format!(
        "note: {images} of {} training images nearly repeat others; each of the {alike} groups stays on one side of the \
         validation split",
        train.len()
    ));
    found
}

/// Takes new images that nearly repeat those of an earlier run to the side where these are.
pub fn follow(all: &Dataset, found: &mut Before) -> Result<(), DataError> {
    let Some(looks) = Looks::of(all)? else {
        return Ok(());
    };
    let groups = looks.groups();
    let of = |places: &[usize]| -> HashSet<usize> { places.iter().map(|i| groups[*i]).collect() };
    let (trained, aside) = (of(&found.trained), of(&found.aside));
    for place in std::mem::take(&mut found.new) {
        let group = &groups[place];
        let side = match (trained.contains(group), aside.contains(group)) {
            (true, _) => &mut found.trained,
            (false, true) => &mut found.aside,
            (false, false) => &mut found.new,
        };
        side.push(place);
    }
    Ok(())
}

/// A test set, without images that nearly repeat training images if these are to be left out and others are there, with a
/// word about it; and the contents of all such images.
pub fn unlike(test: Dataset, train: &Dataset, leave_out: bool) -> Result<(Dataset, Vec<Digest>)> {
    let (Some(looks), Some(trained)) = (Looks::of(&test)?, Looks::of(train)?) else {
        if test.has_files() {
            output::note(
                "note: the images are too many to be compared for near duplicates; some may be in training and test set both",
            );
        }
        return Ok((test, Vec::new()));
    };
    let repeats = looks.repeat(&trained);
    let (near, left): (Vec<usize>, Vec<usize>) = (0..test.len()).partition(|i| repeats[*i]);
    if near.is_empty() {
        return Ok((test, Vec::new()));
    }
    let contents = near.iter().filter_map(|i| match test.identity(*i) {
        Identity::Content(content) => Some(content),
        Identity::Indexed { .. } => None,
    });
    let contents = contents.collect();
    let (rest, what) = match leave_out {
        true if left.is_empty() => (
            test.clone(),
            "there is nothing else to test on, and scores are too good",
        ),
        true => (test.subset(&left), "they are left out"),
        false => (test.clone(), "scores are too good by that"),
    };
    let untested = rest.class_counts().into_iter().zip(test.class_counts());
    let untested = untested.zip(&*test.classes);
    let untested: Vec<String> = untested
        .filter(|((left, before), _)| *left == 0 && *before > 0)
        .map(|(_, class)| printable(class))
        .collect();
    let classes = match untested.is_empty() {
        true => String::new(),
        false => format!(", and none is left of {}", untested.join(", ")),
    };
    output::note(&format!(
        "warning: {} of {} test images nearly repeat training images: {what}{classes}",
        near.len(),
        test.len()
    ));
    Ok((rest, contents))
}
