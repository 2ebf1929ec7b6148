//! The test part of a folder that has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::listing::Listing;
use crate::data::DataError;
use crate::data::dataset::Split;
use crate::data::image::read;
use crate::data::source::Progress;
use crate::formats::Digest;

/// Of each class, in expectation.
const TEST_SHARE: f64 = 0.2;

impl Listing {
    /// Reads every file once, on all cores, for the digest of its bytes. One that cannot be read has none; opening
    /// it says why.
    pub fn identify(mut self, progress: Option<Progress>) -> Self {
        let (done, total) = (AtomicUsize::new(0), self.files.len());
        let contents = self.files.par_iter().map(|path| {
            let bytes = read(path).ok();
            if let Some(progress) = progress {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            bytes.map(|bytes| Digest::of(&bytes))
        });
        self.contents = contents.collect();
        self
    }

    /// `(train, test)` of files that have been [identified](Listing::identify).
    pub fn divide(&self) -> Result<(Listing, Listing), DataError> {
        let split = self.test_split();
        if split.aside.is_empty() {
            return Err(DataError::TooFewToSplit {
                images: self.files.len(),
                classes: self.classes.len(),
                fraction: TEST_SHARE,
            });
        }
        Ok((self.subset(&split.kept), self.subset(&split.aside)))
    }

    /// A file's side depends on its content alone, so copies never part and other files coming or going change
    /// nothing, but for two things that a class needs: where its contents would all fall on one side, the lowest is
    /// put to test, or the highest kept for training. Training comes first where classes share contents.
    pub fn test_split(&self) -> Split {
        let mut by_class: BTreeMap<u32, BTreeSet<Digest>> = BTreeMap::new();
        for (content, label) in self.contents.iter().zip(&self.labels) {
            by_class.entry(*label).or_default().extend(content);
        }
        let all = by_class.values().flatten().copied();
        let mut test: BTreeSet<Digest> = all.filter(|one| one.share() < TEST_SHARE).collect();
        for class in by_class.values().filter(|class| class.len() > 1) {
            if class.is_disjoint(&test) {
                test.extend(class.first());
            }
        }
        for class in by_class.values() {
            if class.is_subset(&test)
                && let Some(highest) = class.last()
            {
                test.remove(highest);
            }
        }
        let is_test = |i: &usize| self.contents[*i].is_some_and(|content| test.contains(&content));
        let (aside, kept) = (0..self.files.len()).partition(is_test);
        Split { kept, aside }
    }
}
