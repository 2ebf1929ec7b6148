//! What `train` says of classes of uneven size.

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::train::{ClassWeights, Sampler, TrainConfig, effective_images};

/// Training images that a class needs for its answers to be worth much.
const FEW: usize = 10;

/// Names classes with few training images.
pub fn few_note(train: &Dataset, config: &TrainConfig) -> Option<String> {
    const SHOWN: usize = 5;
    let counts = train.class_counts();
    let few = counts
        .iter()
        .zip(&*train.classes)
        .filter(|(n, _)| **n < FEW);
    let few: Vec<String> = few
        .map(|(n, class)| format!("{} {n}", printable(class)))
        .collect();
    let more = match few.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more classes"),
    };
    let shown = few[..few.len().min(SHOWN)].join(", ");
    (!few.is_empty()).then(|| {
        let hint = match (config.class_weights, config.sampler) {
            (ClassWeights::None, Sampler::Shuffled) => {
                " (--class-weights balanced lets classes count alike)"
            }
            _ => "",
        };
        format!(
            "warning: fewer than {FEW} training images: {shown}{more}; more of them help most{hint}"
        )
    })
}

/// What an epoch of the balanced sampler has.
pub fn sampler_line(train: &Dataset) -> String {
    let counts = train.class_counts();
    let with_images = || {
        let pairs = counts.iter().zip(&*train.classes);
        pairs.filter(|(n, _)| **n > 0)
    };
    let (images, classes) = (train.len(), with_images().count().max(1));
    let each = images as f64 / classes as f64;
    let of = |found: Option<(&usize, &String)>| match found {
        None => String::new(),
        Some((n, class)) => {
            let times = each / *n as f64;
            format!(", the {n} of {} {times:.1} times each", printable(class))
        }
    };
    let rarest = of(with_images().min_by_key(|(n, _)| **n));
    let commonest = of(with_images().max_by_key(|(n, _)| **n));
    format!(
        "sampler   balanced: an epoch draws {images} images, {each:.1} of each of {classes} classes{rarest}{commonest}; for a loss in \
         which classes count alike they are worth {:.0} images of even classes",
        effective_images(&counts)
    )
}
