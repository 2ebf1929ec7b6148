//! A set whose images are chosen before they are decoded.

use std::sync::Arc;

use crate::data::folder::Listing;
use crate::data::{DataError, Dataset, Identity, OpenOptions};

/// Images in arrays, or files that have been identified but not decoded.
#[derive(Clone)]
pub enum Unopened {
    Arrays(Dataset),
    Files(Listing),
}

impl Unopened {
    pub fn labels(&self) -> &[u32] {
        match self {
            Self::Arrays(set) => &set.labels,
            Self::Files(listing) => &listing.labels,
        }
    }

    pub fn classes(&self) -> &[String] {
        match self {
            Self::Arrays(set) => &set.classes,
            Self::Files(listing) => &listing.classes,
        }
    }

    pub fn len(&self) -> usize {
        self.labels().len()
    }

    /// `None` for a file that cannot be read.
    pub fn identity(&self, i: usize) -> Option<Identity> {
        match self {
            Self::Arrays(set) => Some(set.identity(i)),
            Self::Files(listing) => listing.contents[i].map(Identity::Content),
        }
    }

    pub fn subset(&self, indices: &[usize]) -> Self {
        match self {
            Self::Arrays(set) => Self::Arrays(set.subset(indices)),
            Self::Files(listing) => Self::Files(listing.subset(indices)),
        }
    }

    /// Labels that count `classes`; `new` is by the old labels, and images whose class has none go.
    pub fn relabel(&self, new: &[Option<u32>], classes: Arc<[String]>) -> Self {
        let known: Vec<usize> = (0..self.len())
            .filter(|i| new[self.labels()[*i] as usize].is_some())
            .collect();
        let mut kept = self.subset(&known);
        let (labels, names) = match &mut kept {
            Self::Arrays(set) => (&mut set.labels, &mut set.classes),
            Self::Files(listing) => (&mut listing.labels, &mut listing.classes),
        };
        for label in labels {
            *label = new[*label as usize].expect("filtered");
        }
        *names = classes;
        kept
    }

    pub fn limit(self, n: Option<usize>) -> Result<Self, DataError> {
        Ok(match (self, n) {
            (Self::Arrays(set), Some(n)) => Self::Arrays(set.limit(n)?),
            (Self::Files(listing), n) => Self::Files(listing.limit(n)),
            (unlimited, None) => unlimited,
        })
    }

    pub fn open(self, options: &OpenOptions, memory: &mut u64) -> Result<Dataset, DataError> {
        match self {
            Self::Arrays(set) => Ok(set),
            Self::Files(listing) => listing.open(options, memory),
        }
    }
}
