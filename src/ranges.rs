//! The numbers that options accept: one table for the library's checks, for the command line and for
//! its help.

use std::fmt;
use std::str::FromStr;

use crate::formats::MAX_RANK;

/// What one option may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// A whole number, both ends included.
    Whole { low: u64, high: u64 },
    /// A finite number, both ends included.
    Closed { low: f64, high: f64 },
    /// A finite number above the first end, at most the second.
    Above { low: f64, high: f64 },
    /// A finite number from the first end on, below the second.
    Below { low: f64, high: f64 },
}

use Range::{Above, Below, Closed, Whole};

/// Options by name; one that a command takes differently stands under `COMMAND OPTION` first.
const RANGES: &[(&str, Range)] = &[
    (
        "bench fail-below",
        Above {
            low: 0.0,
            high: 1e3,
        },
    ),
    ("rounds", Whole { low: 1, high: 1000 }),
    (
        "calibrate samples",
        Whole {
            low: 0,
            high: 10_000,
        },
    ),
    (
        "confidence",
        Closed {
            low: 0.5,
            high: 0.9999,
        },
    ),
    (
        "coverage",
        Closed {
            low: 0.5,
            high: 0.9999,
        },
    ),
    (
        "eval samples",
        Whole {
            low: 0,
            high: 10_000,
        },
    ),
    (
        "predict samples",
        Whole {
            low: 0,
            high: 10_000,
        },
    ),
    (
        "report samples",
        Whole {
            low: 0,
            high: 10_000,
        },
    ),
    (
        "batch",
        Whole {
            low: 1,
            high: 65_536,
        },
    ),
    (
        "batch-size",
        Whole {
            low: 1,
            high: 65_536,
        },
    ),
    // Within the range that log alpha is projected to.
    (
        "dropout",
        Closed {
            low: 0.001,
            high: 0.99,
        },
    ),
    (
        "epochs",
        Whole {
            low: 1,
            high: 1_000_000,
        },
    ),
    (
        "gate-samples",
        Whole {
            low: 1,
            high: 10_000,
        },
    ),
    (
        "images",
        Whole {
            low: 1,
            high: COUNT,
        },
    ),
    (
        "keep",
        Closed {
            low: 0.0,
            high: 1.0,
        },
    ),
    (
        "keep-ranks",
        Whole {
            low: 0,
            high: COUNT,
        },
    ),
    (
        "evidence-images",
        Whole {
            low: 1,
            high: COUNT,
        },
    ),
    (
        "kl-multiplicity",
        Closed {
            low: 0.0,
            high: 1e6,
        },
    ),
    (
        "kl-scale",
        Closed {
            low: 0.0,
            high: 1e6,
        },
    ),
    (
        "limit-test",
        Whole {
            low: 1,
            high: COUNT,
        },
    ),
    (
        "limit-train",
        Whole {
            low: 1,
            high: COUNT,
        },
    ),
    (
        "lora-alpha",
        Above {
            low: 0.0,
            high: 1e6,
        },
    ),
    (
        "lr",
        Above {
            low: 0.0,
            high: 1e3,
        },
    ),
    (
        "lr-log-alpha",
        Above {
            low: 0.0,
            high: 1e3,
        },
    ),
    (
        "explain samples",
        Whole {
            low: 0,
            high: 10_000,
        },
    ),
    (
        "false-alarms",
        Closed {
            low: 0.001,
            high: 0.5,
        },
    ),
    (
        "max-accuracy-drop",
        Closed {
            low: 0.0,
            high: 1.0,
        },
    ),
    (
        "max-risk",
        Closed {
            low: 0.0001,
            high: 0.9,
        },
    ),
    (
        "max-nll-increase",
        Closed {
            low: 0.0,
            high: 1e3,
        },
    ),
    ("members", Whole { low: 1, high: 100 }),
    ("min-rank", Whole { low: 0, high: RANK }),
    (
        "patience",
        Whole {
            low: 1,
            high: 1_000_000,
        },
    ),
    ("rank", Whole { low: 0, high: RANK }),
    // The last stage still has one position for every 32 pixels.
    (
        "resolution",
        Whole {
            low: 32,
            high: LARGEST_RESOLUTION,
        },
    ),
    (
        "samples",
        Whole {
            low: 1,
            high: 10_000,
        },
    ),
    // What TOML holds.
    (
        "seed",
        Whole {
            low: 0,
            high: i64::MAX as u64,
        },
    ),
    (
        "size",
        Whole {
            low: 32,
            high: 4_096,
        },
    ),
    (
        "split-seed",
        Whole {
            low: 0,
            high: i64::MAX as u64,
        },
    ),
    // log alpha
    (
        "threshold",
        Closed {
            low: -100.0,
            high: 100.0,
        },
    ),
    (
        "top",
        Whole {
            low: 1,
            high: COUNT,
        },
    ),
    (
        "validation",
        Below {
            low: 0.0,
            high: 0.9,
        },
    ),
    (
        "weight-decay",
        Closed {
            low: 0.0,
            high: 1e3,
        },
    ),
];

/// What the files of adapters may have too.
const RANK: u64 = MAX_RANK as u64;

/// Images and classes are counted in 32 bits on the GPU.
const COUNT: u64 = u32::MAX as u64;

/// The widest input of a network, in pixels.
pub const LARGEST_RESOLUTION: u64 = 4_096;

/// The longest span of training, in epochs.
pub const LONGEST_SPAN: f64 = 1e6;

/// What an option may be; `None` for one that is not a number or has a check of its own.
pub fn of(option: &str) -> Option<Range> {
    let found = RANGES.iter().find(|(name, _)| *name == option);
    found.map(|(_, range)| *range)
}

/// The same for an option of one command.
pub fn of_command(command: &str, option: &str) -> Option<Range> {
    of(&format!("{command} {option}")).or_else(|| of(option))
}

impl Range {
    /// Whether it has a whole number.
    pub fn has_whole(self, value: u64) -> bool {
        match self {
            Whole { low, high } => (low..=high).contains(&value),
            _ => self.has(value as f64),
        }
    }

    /// Whether it has a number; never NaN.
    pub fn has(self, value: f64) -> bool {
        match self {
            Whole { low, high } => {
                value.fract() == 0.0 && (low as f64..=high as f64).contains(&value)
            }
            Closed { low, high } => (low..=high).contains(&value),
            Above { low, high } => low < value && value <= high,
            Below { low, high } => (low..high).contains(&value),
        }
    }

    /// Reads a whole number that it has.
    ///
    /// # Errors
    /// What was expected.
    pub fn whole<T: TryFrom<u64>>(self, text: &str) -> Result<T, String> {
        let value = u64::from_str(text)
            .ok()
            .filter(|value| self.has_whole(*value));
        let value = value.and_then(|value| T::try_from(value).ok());
        value.ok_or_else(|| format!("expected {self}"))
    }

    /// Reads a number that it has.
    ///
    /// # Errors
    /// What was expected.
    pub fn real(self, text: &str) -> Result<f64, String> {
        let value = f64::from_str(text).ok().filter(|value| self.has(*value));
        value.ok_or_else(|| format!("expected {self}"))
    }
}

/// As in "1 to 512" or "above 0, at most 1000".
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Whole { low, high: COUNT } => write!(f, "at least {low}"),
            Whole { low, high } => write!(f, "{low} to {high}"),
            Closed { low, high } => write!(f, "{low} to {high}"),
            Above { low, high } => write!(f, "above {low}, at most {high}"),
            Below { low, high } => write!(f, "{low} to below {high}"),
        }
    }
}
