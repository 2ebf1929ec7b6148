//! `--shard`: a part of work that other processes share.

use std::path::Path;
use std::str::FromStr;

use bayeslora::low_level::formats::Digest;
use serde::Serialize;

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// From 0.
    index: usize,
    count: usize,
}

impl Shard {
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Whether a job is in this part, by its number.
    pub fn has(self, job: usize) -> bool {
        job % self.count == self.index
    }

    /// Whether a file is in this part, by its name as it was given.
    pub fn has_file(self, file: &Path) -> bool {
        let share = Digest::of(file.as_os_str().as_encoded_bytes()).share();
        ((share * self.count as f64) as usize).min(self.count - 1) == self.index
    }

    /// Whether it is the first part.
    pub fn is_first(self) -> bool {
        self.index == 0
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self {
                index: index - 1,
                count,
            }),
            _ => Err("expected i/n with i from 1 to n, as in 2/4".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Shard;

    #[test]
    fn a_file_is_in_one_part_and_parts_are_alike_in_size() {
        let files = (0..3000).map(|number| PathBuf::from(format!("photos/{number}.jpg")));
        let mut sizes = [0; 3];
        for file in files {
            let parts = ["1/3", "2/3", "3/3"].map(|text| text.parse::<Shard>().unwrap());
            let of: Vec<usize> = (0..3).filter(|part| parts[*part].has_file(&file)).collect();
            assert_eq!(of.len(), 1);
            sizes[of[0]] += 1;
            assert!(Shard::ALL.has_file(&file));
        }
        // Three standard deviations of a fair draw, which is 26.
        assert!(
            sizes.iter().all(|size| (920..1080).contains(size)),
            "{sizes:?}"
        );
    }
}
