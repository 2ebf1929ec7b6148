//! How many bits a frozen weight has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What stands before the hash of a backbone's tensors where its weights have 8 bits.
const INT8: &str = "int8:";

/// Bits of each weight of the frozen convolutions in GPU memory. BatchNorm, adapters and the head are always f32, and so is
/// every sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub enum BackboneBits {
    /// 32: as in the file.
    #[default]
    F32,
    /// 8: integers times a scale for each output channel.
    Int8,
}

impl BackboneBits {
    /// As the hash of a backbone says ([`Backbone::sha256`](super::Backbone::sha256)).
    pub fn of_hash(sha256: &str) -> Self {
        match sha256.starts_with(INT8) {
            true => Self::Int8,
            false => Self::F32,
        }
    }

    /// The hash of a backbone in so many bits, made of that in any.
    pub fn hash_of(self, sha256: &str) -> String {
        let plain = sha256.strip_prefix(INT8).unwrap_or(sha256);
        match self {
            Self::F32 => plain.to_owned(),
            Self::Int8 => format!("{INT8}{plain}"),
        }
    }

    /// Whether nothing is rounded.
    pub fn is_full(&self) -> bool {
        *self == Self::F32
    }
}

impl fmt::Display for BackboneBits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", u64::from(*self))
    }
}

impl From<BackboneBits> for u64 {
    fn from(bits: BackboneBits) -> Self {
        match bits {
            BackboneBits::F32 => 32,
            BackboneBits::Int8 => 8,
        }
    }
}

impl TryFrom<u64> for BackboneBits {
    type Error = String;

    fn try_from(bits: u64) -> Result<Self, String> {
        match bits {
            32 => Ok(Self::F32),
            8 => Ok(Self::Int8),
            _ => Err(format!("{bits} bits a weight: expected 8 or 32")),
        }
    }
}

impl FromStr for BackboneBits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = text.parse::<u64>();
        bits.map_err(|_| "expected 8 or 32".to_owned())?.try_into()
    }
}
