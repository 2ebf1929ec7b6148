//! Hashes that tell contents apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The first 128 bits of a SHA-256, 32 hex digits in writing: enough to tell contents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 16]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts([bytes])
    }

    /// Of the parts one after the other.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let hash = parts
            .into_iter()
            .fold(Sha256::new(), |hash, part| hash.chain_update(part))
            .finalize();
        Self(std::array::from_fn(|i| hash[i]))
    }

    /// The first 64 bits as a share of 1: uniform in 0 to 1 over contents.
    pub fn share(self) -> f64 {
        let first = u64::from_be_bytes(std::array::from_fn(|i| self.0[i]));
        first as f64 / 2f64.powi(64)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not 32 hex digits");
        // A sign is not a digit, though `from_str_radix` takes one.
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| refused())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_first_64_bits() {
        let of = |text: &str| text.parse::<Digest>().unwrap().share();
        assert_eq!(of("80000000000000000000000000000000"), 0.5);
        assert_eq!(of("333333333333333300000000000000ff"), 0.2);
        assert_eq!(of("00000000000000000fffffffffffffff"), 0.0);
    }

    #[test]
    fn a_digest_reads_what_it_writes() {
        // The first half of the SHA-256 of "abc" in FIPS 180-2.
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::of_parts([&b"a"[..], b"bc"]), digest);
        for bad in ["", "ba78", "+a7816bf8f01cfea414140de5dae2223"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
