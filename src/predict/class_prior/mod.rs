//! Answers for another balance of the classes than that of training.

mod shift;

use std::str::FromStr;

pub use shift::{Adjusted, PriorShift};

use crate::data::nearest;
use crate::formats::{ClassBalance, printable};

/// Weights of classes, in any unit. Wider apart they would be a mistake, and logits overflow.
const WEIGHTS: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// How frequent the classes are where the answers are given, if not as in training. Answers are then adjusted by
/// [`PriorShift`].
#[derive(Clone, Debug, PartialEq)]
pub enum ClassPrior {
    /// All alike.
    Uniform,
    /// As among the training images, however their loss was weighted.
    Train,
    /// By name: a weight from 1e-9 to 1e9 for each of the adapter's classes, in any unit and any order.
    Weights(Vec<(String, f64)>),
}

/// Why there are no answers for a [`ClassPrior`].
#[derive(Debug, thiserror::Error, PartialEq)]
#[expect(missing_docs, reason = "the message says what it and its fields are")]
#[non_exhaustive]
pub enum ClassPriorError {
    #[error("{} is neither `uniform` nor `train`, nor a weight for each class", printable(.0))]
    Word(String),
    #[error("the run does not know the class {}; the nearest is {}", printable(.class), printable(.nearest))]
    Unknown { class: String, nearest: String },
    #[error(
        "the weight of {} is {weight}, expected a number from {:e} to {:e} (a class that hardly ever occurs gets a small one)",
        printable(.class), WEIGHTS.start(), WEIGHTS.end()
    )]
    Weight { class: String, weight: f64 },
    #[error("the class {} has two weights", printable(.0))]
    Twice(String),
    #[error("there is no weight for the class {}, and every class of the run needs one", printable(.0))]
    Missing(String),
    #[error(
        "the adapter does not say how many training images each class had (an earlier version or another program made it), and \
         so for which balance it was trained; one that is trained from it knows"
    )]
    NoBalance,
    #[error("the adapter's balance of the classes contradicts itself: {0}")]
    Balance(String),
    #[error(
        "the run has no training images of the class {}, so its answers say nothing of it under any prior",
        printable(.0)
    )]
    NoImages(String),
}

impl FromStr for ClassPrior {
    type Err = ClassPriorError;

    /// `uniform` or `train`.
    fn from_str(word: &str) -> Result<Self, ClassPriorError> {
        match word {
            "uniform" => Ok(Self::Uniform),
            "train" => Ok(Self::Train),
            _ => Err(ClassPriorError::Word(word.to_owned())),
        }
    }
}

impl ClassPrior {
    /// Checks what can be said without knowing the balance of training.
    ///
    /// # Errors
    /// The weights are not those of the classes, or one is out of range.
    pub fn check(&self, classes: &[impl AsRef<str>]) -> Result<(), ClassPriorError> {
        self.weights(classes).map(drop)
    }

    /// The probability of each class, `[classes]`, for an adapter of that balance.
    ///
    /// # Errors
    /// As [`check`](Self::check); the balance is of other classes, or one of them had no images.
    pub fn target(
        &self,
        classes: &[impl AsRef<str>],
        balance: &ClassBalance,
    ) -> Result<Vec<f64>, ClassPriorError> {
        let given = self.weights(classes)?;
        if let Some(fault) = balance.fault(classes.len()) {
            return Err(ClassPriorError::Balance(fault));
        }
        if let Some(without) = balance.images.iter().position(|n| *n == 0) {
            return Err(ClassPriorError::NoImages(
                classes[without].as_ref().to_owned(),
            ));
        }
        let counts = || balance.images.iter().map(|n| *n as f64).collect();
        let weights: Vec<f64> = given.unwrap_or_else(counts);
        let sum: f64 = weights.iter().sum();
        Ok(weights.into_iter().map(|weight| weight / sum).collect())
    }

    /// From the prior that the adapter was trained for to this one.
    ///
    /// # Errors
    /// As [`target`](Self::target), or nothing is known of the balance.
    pub fn shift(
        &self,
        classes: &[impl AsRef<str>],
        balance: Option<&ClassBalance>,
    ) -> Result<PriorShift, ClassPriorError> {
        // What is wrong with the weights is said first: that can be put right here.
        self.check(classes)?;
        let balance = balance.ok_or(ClassPriorError::NoBalance)?;
        Ok(PriorShift::new(
            &balance.prior,
            &self.target(classes, balance)?,
        ))
    }

    /// A weight for each class, in their order; `None` where the training images say them.
    fn weights(&self, classes: &[impl AsRef<str>]) -> Result<Option<Vec<f64>>, ClassPriorError> {
        let listed = match self {
            Self::Uniform => return Ok(Some(vec![1.0; classes.len()])),
            Self::Train => return Ok(None),
            Self::Weights(listed) => listed,
        };
        let mut found = vec![None; classes.len()];
        for (class, weight) in listed {
            let (class, weight) = (class.clone(), *weight);
            let Some(label) = classes.iter().position(|known| known.as_ref() == class) else {
                let nearest = nearest(&class, classes).unwrap_or_default().to_owned();
                return Err(ClassPriorError::Unknown { class, nearest });
            };
            if !WEIGHTS.contains(&weight) {
                return Err(ClassPriorError::Weight { class, weight });
            }
            if found[label].replace(weight).is_some() {
                return Err(ClassPriorError::Twice(class));
            }
        }
        let each = classes.iter().zip(found);
        let weights = each.map(|(class, weight)| {
            weight.ok_or_else(|| ClassPriorError::Missing(class.as_ref().to_owned()))
        });
        weights.collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassPrior, ClassPriorError};
    use crate::formats::ClassBalance;

    const CLASSES: [&str; 2] = ["cat", "big dog"];

    /// Three cats to a dog, and a loss that has seen them alike.
    fn balanced() -> ClassBalance {
        ClassBalance {
            images: vec![6, 2],
            prior: vec![0.5, 0.5],
        }
    }

    fn weights(listed: &[(&str, f64)]) -> ClassPrior {
        let listed = listed.iter();
        ClassPrior::Weights(listed.map(|(class, w)| ((*class).to_owned(), *w)).collect())
    }

    #[test]
    fn targets_by_hand() {
        let target = |prior: ClassPrior| prior.target(&CLASSES, &balanced()).unwrap();
        assert_eq!(target("uniform".parse().unwrap()), [0.5, 0.5]);
        assert_eq!(target("train".parse().unwrap()), [0.75, 0.25]);
        // By name, in any order and unit.
        assert_eq!(
            target(weights(&[("big dog", 12.0), ("cat", 4.0)])),
            [0.25, 0.75]
        );
        let shift = |prior: ClassPrior| prior.shift(&CLASSES, Some(&balanced())).unwrap();
        assert!(shift(ClassPrior::Uniform).is_none());
        // Trained for even classes: .9 to .1 become .9 x .75 to .1 x .25.
        let mut row = [0.9f32.ln(), 0.1f32.ln()];
        shift(ClassPrior::Train).adjust(&mut row);
        assert!((row[0].exp() - 0.675 / 0.7).abs() < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |prior: &ClassPrior, balance: Option<&ClassBalance>, part: &str| {
            let error = prior.shift(&CLASSES, balance).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let known = balanced();
        for (listed, part) in [
            (&[("cat", 1.0)][..], "no weight for the class big dog"),
            (
                &[("cat", 1.0), ("big dog", -0.2)],
                "the weight of big dog is -0.2",
            ),
            (&[("cat", f64::NAN), ("big dog", 1.0)], "cat is NaN"),
            (&[("cat", 1.0), ("big dog", 0.0)], "1e-9 to 1e9"),
            (
                &[("cat", 1.0), ("cat", 2.0), ("big dog", 1.0)],
                "cat has two weights",
            ),
            (&[("big cat", 1.0)], "does not know the class big cat"),
            (&[("big cat", 1.0)], "the nearest is"),
            (&[], "no weight for the class cat"),
        ] {
            says(&weights(listed), Some(&known), part);
            says(&weights(listed), None, part);
        }
        says(&ClassPrior::Uniform, None, "one that is trained from it");
        let mut other = known.clone();
        other.prior.push(0.0);
        says(&ClassPrior::Uniform, Some(&other), "3 probabilities");
        let without = ClassBalance {
            images: vec![6, 0],
            prior: vec![1.0, 0.0],
        };
        says(
            &ClassPrior::Train,
            Some(&without),
            "no training images of the class big dog",
        );
        assert_eq!(
            "even".parse::<ClassPrior>(),
            Err(ClassPriorError::Word("even".into()))
        );
    }
}
