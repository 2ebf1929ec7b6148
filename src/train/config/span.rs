//! Lengths of training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ranges::LONGEST_SPAN;

/// A length of training: epochs (`3`, `2.5`) or a fraction of the run (`0.1`, `1.0`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TextOrNumber", into = "String")]
pub enum Span {
    /// A number of epochs.
    Epochs(f64),
    /// A share of the run, 0 to 1.
    Fraction(f64),
}

impl Span {
    /// In epochs of a run of `epochs`.
    pub fn epochs(self, epochs: usize) -> f64 {
        match self {
            Self::Epochs(count) => count,
            Self::Fraction(share) => share * epochs as f64,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is neither a number of epochs (3) nor a fraction of the run (0.1)")
        };
        let value: f64 = text.parse().map_err(|_| wrong())?;
        match value {
            value if !(0.0..=LONGEST_SPAN).contains(&value) => Err(wrong()),
            value if text.contains('.') && value <= 1.0 => Ok(Self::Fraction(value)),
            value => Ok(Self::Epochs(value)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Epochs(count) => write!(f, "{count}"),
            Self::Fraction(share) => write!(f, "{share:?}"),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Whole(u64),
    Number(f64),
}

impl TryFrom<TextOrNumber> for Span {
    type Error = String;

    fn try_from(value: TextOrNumber) -> Result<Self, String> {
        match value {
            TextOrNumber::Text(text) => text.parse(),
            TextOrNumber::Whole(count) => Ok(Self::Epochs(count as f64)),
            TextOrNumber::Number(number) => format!("{number:?}").parse(),
        }
    }
}
