//! Class probabilities with the labels they are scored against, checked once.

use std::borrow::Cow;

use thiserror::Error;

/// How far a row of probabilities may sum from one: f16 rounds each entry by up to 2^-11.
const SUM_TOLERANCE: f64 = 1e-3;

/// What is wrong with an array of predictions; rows count from zero.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PredictionsError {
    /// There is nothing to score.
    #[error("found no examples, expected at least one")]
    Empty,
    /// No classes, or no samples.
    #[error("found zero {axis}, expected at least one")]
    EmptyAxis {
        /// `classes` or `samples`.
        axis: &'static str,
    },
    /// Slice and shape disagree.
    #[error("found {found} values, expected {expected} ({shape})")]
    Length {
        /// Length of the slice.
        found: usize,
        /// Length that the shape asks for.
        expected: usize,
        /// The shape in words.
        shape: String,
    },
    /// An entry that is not a probability.
    #[error("row {row}, class {class}: found probability {found}, expected a number of at least 0")]
    Probability {
        /// Row of the entry.
        row: usize,
        /// Class of the entry.
        class: usize,
        /// The entry.
        found: f32,
    },
    /// A log-probability or a logit that nothing can be computed from.
    #[error("row {row}, class {class}: found {found}, expected {expected}")]
    Log {
        /// Row of the entry.
        row: usize,
        /// Class of the entry.
        class: usize,
        /// The entry.
        found: f32,
        /// What would be valid there.
        expected: &'static str,
    },
    /// A row that is not a distribution.
    #[error(
        "row {row}: found probabilities that sum to {found}, expected 1 within {SUM_TOLERANCE}"
    )]
    Sum {
        /// The row.
        row: usize,
        /// Its sum.
        found: f64,
    },
    /// A label that names no class.
    #[error("row {row}: found label {found}, expected less than {classes}, the number of classes")]
    Label {
        /// Row of the label.
        row: usize,
        /// The label.
        found: u32,
        /// Number of classes.
        classes: usize,
    },
}

/// `[n, classes]` class probabilities, row-major, with one label per row.
///
/// The fields are private because every score relies on what the constructors check.
#[derive(Debug, Clone)]
pub struct Predictions<'a> {
    probs: Cow<'a, [f32]>,
    log_probs: Option<&'a [f32]>,
    labels: &'a [u32],
    classes: usize,
}

impl<'a> Predictions<'a> {
    /// Takes probabilities, `[n, classes]`.
    ///
    /// # Errors
    /// Names the first row with a NaN, a negative entry, a sum further than 1e-3 from one or a label
    /// outside `0..classes`; also lengths that do not fit each other, and no rows at all.
    pub fn new(
        probs: &'a [f32],
        labels: &'a [u32],
        classes: usize,
    ) -> Result<Self, PredictionsError> {
        check_labels(probs.len(), labels, classes)?;
        check_rows(probs, classes)?;
        Ok(Self {
            probs: Cow::Borrowed(probs),
            log_probs: None,
            labels,
            classes,
        })
    }

    /// Takes natural logarithms of probabilities, `[n, classes]`, as log-space averaging gives them.
    ///
    /// The negative log-likelihood is then read off directly: a label at -200 costs 200 nats, where its
    /// f32 probability would have underflowed to zero.
    ///
    /// # Errors
    /// As [`Predictions::new`], after exponentiation. An entry may be minus infinity, unless it is the
    /// label's: no finite likelihood remains then.
    pub fn from_log_probs(
        log_probs: &'a [f32],
        labels: &'a [u32],
        classes: usize,
    ) -> Result<Self, PredictionsError> {
        check_labels(log_probs.len(), labels, classes)?;
        for (row, (values, &label)) in log_probs.chunks_exact(classes).zip(labels).enumerate() {
            let wrong = |class: usize, expected| PredictionsError::Log {
                row,
                class,
                found: values[class],
                expected,
            };
            if let Some(class) = values.iter().position(|value| value.is_nan()) {
                return Err(wrong(class, "a log-probability"));
            }
            if values[label as usize] == f32::NEG_INFINITY {
                return Err(wrong(
                    label as usize,
                    "a finite log-probability for the label",
                ));
            }
        }
        let probs: Vec<f32> = log_probs
            .iter()
            .map(|&value| f64::from(value).exp() as f32)
            .collect();
        check_rows(&probs, classes)?;
        Ok(Self {
            probs: Cow::Owned(probs),
            log_probs: Some(log_probs),
            labels,
            classes,
        })
    }

    /// Probabilities, `[n, classes]`.
    pub fn probs(&self) -> &[f32] {
        &self.probs
    }

    /// Log-probabilities, `[n, classes]`, where the predictions were made from them.
    pub fn log_probs(&self) -> Option<&[f32]> {
        self.log_probs
    }

    /// Labels, `[n]`.
    pub fn labels(&self) -> &[u32] {
        self.labels
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of examples; never zero.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the constructors refuse an empty set"
    )]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Rows of probabilities.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.probs.chunks_exact(self.classes)
    }

    /// Largest probability of each row, `[n]`.
    pub fn confidence(&self) -> Vec<f32> {
        self.rows().map(|row| row[argmax(row)]).collect()
    }

    /// The most probable class of each row, `[n]`; the lowest index wins a tie, as in NumPy.
    pub fn answers(&self) -> Vec<usize> {
        self.rows().map(argmax).collect()
    }

    /// Whether the most probable class is the label, `[n]`.
    pub fn correct(&self) -> Vec<bool> {
        let pairs = self.answers().into_iter().zip(self.labels);
        pairs
            .map(|(answer, &label)| answer == label as usize)
            .collect()
    }
}

/// Index of the first maximum.
pub(super) fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Checks that `values` holds a row a label and that every label names a class.
pub(super) fn check_labels(
    values: usize,
    labels: &[u32],
    classes: usize,
) -> Result<(), PredictionsError> {
    if classes == 0 {
        return Err(PredictionsError::EmptyAxis { axis: "classes" });
    }
    check_length(values, labels.len(), classes, || {
        format!("{} labels x {classes} classes", labels.len())
    })?;
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(row) => Err(PredictionsError::Label {
            row,
            found: labels[row],
            classes,
        }),
        None if labels.is_empty() => Err(PredictionsError::Empty),
        None => Ok(()),
    }
}

/// Checks `found == rows * columns` without overflow.
pub(super) fn check_length(
    found: usize,
    rows: usize,
    columns: usize,
    shape: impl Fn() -> String,
) -> Result<(), PredictionsError> {
    let expected = rows.saturating_mul(columns);
    if found == expected {
        Ok(())
    } else {
        Err(PredictionsError::Length {
            found,
            expected,
            shape: shape(),
        })
    }
}

/// Checks that every row of `classes` entries is a distribution.
pub(super) fn check_rows(probs: &[f32], classes: usize) -> Result<(), PredictionsError> {
    for (row, values) in probs.chunks_exact(classes).enumerate() {
        if let Some(class) = values
            .iter()
            .position(|&value| value.is_nan() || value < 0.0)
        {
            return Err(PredictionsError::Probability {
                row,
                class,
                found: values[class],
            });
        }
        let found: f64 = values.iter().map(|&value| f64::from(value)).sum();
        if (found - 1.0).abs() > SUM_TOLERANCE {
            return Err(PredictionsError::Sum { row, found });
        }
    }
    Ok(())
}
