//! Which class is taken for which.

use std::collections::BTreeMap;

use super::proportion::{Proportion, mean_proportion};
use super::{Interval, Predictions};

/// How often each class was answered to images of each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// By (label, answer); what never happened is not there.
    counts: BTreeMap<(usize, usize), usize>,
    /// `[classes]`
    images: Vec<usize>,
    /// `[classes]`
    answers: Vec<usize>,
}

/// Two classes, and how often each was taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfusedPair {
    /// The one more often taken for the other first.
    pub classes: [usize; 2],
    /// Images of the first that were answered with the second, and the other way round.
    pub counts: [usize; 2],
}

impl ConfusedPair {
    /// Mistakes of both kinds.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl Confusion {
    /// Counts (label, answer) pairs.
    ///
    /// # Panics
    /// If a class is not below `classes`.
    pub fn new(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self {
            counts: BTreeMap::new(),
            images: vec![0; classes],
            answers: vec![0; classes],
        };
        for (label, answer) in pairs {
            confusion.images[label] += 1;
            confusion.answers[answer] += 1;
            *confusion.counts.entry((label, answer)).or_default() += 1;
        }
        confusion
    }

    /// Counts the most probable class of each example.
    pub fn of(predictions: &Predictions) -> Self {
        let labels = predictions.labels().iter().map(|label| *label as usize);
        Self::new(predictions.classes(), labels.zip(predictions.answers()))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.images.len()
    }

    /// Images of class `label` that were answered with class `answer`.
    pub fn count(&self, label: usize, answer: usize) -> usize {
        self.counts.get(&(label, answer)).copied().unwrap_or(0)
    }

    /// The same for all that happened, as ((label, answer), count) in the order of the classes.
    pub fn counts(&self) -> impl Iterator<Item = ((usize, usize), usize)> {
        self.counts.iter().map(|(pair, count)| (*pair, *count))
    }

    /// Images of a class.
    pub fn images(&self, label: usize) -> usize {
        self.images[label]
    }

    /// The share of a class's images that was answered with class `answer`, 0 to 1; 0 where it has no images.
    pub fn rate(&self, label: usize, answer: usize) -> f64 {
        self.count(label, answer) as f64 / self.images[label].max(1) as f64
    }

    /// Of the images of a class, those that were answered with it.
    pub fn recall(&self, class: usize) -> Proportion {
        Proportion {
            count: self.count(class, class),
            of: self.images[class],
        }
    }

    /// Of the answers with a class, those that were right.
    pub fn precision(&self, class: usize) -> Proportion {
        Proportion {
            count: self.count(class, class),
            of: self.answers[class],
        }
    }

    /// Of all images, those that were answered right: the accuracy, which is also the micro average of recall and of
    /// precision.
    pub fn accuracy(&self) -> Proportion {
        Proportion {
            count: (0..self.classes())
                .map(|class| self.count(class, class))
                .sum(),
            of: self.images.iter().sum(),
        }
    }

    /// The mean recall of the classes that have images, each weighing the same, whatever their number of images: the
    /// macro average, or balanced accuracy. `None` without images.
    pub fn macro_recall(&self, level: f64) -> Option<Interval> {
        mean_proportion((0..self.classes()).map(|class| self.recall(class)), level)
    }

    /// Pairs of classes with mistakes between them, most mistakes first, those of as many in the order of the classes.
    pub fn pairs(&self) -> Vec<ConfusedPair> {
        let wrong = self.counts.keys().filter(|(label, answer)| label != answer);
        let mut pairs: Vec<(usize, usize)> = wrong
            .map(|&(label, answer)| (label.min(answer), label.max(answer)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let pair = |(a, b): (usize, usize)| {
            let (there, back) = (self.count(a, b), self.count(b, a));
            let (classes, counts) = match there >= back {
                true => ([a, b], [there, back]),
                false => ([b, a], [back, there]),
            };
            ConfusedPair { classes, counts }
        };
        let mut pairs: Vec<ConfusedPair> = pairs.into_iter().map(pair).collect();
        // Stable.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.total()));
        pairs
    }

    /// What a class is most often taken for, and how often; the first of several. `None` where it never was.
    pub fn most_mistaken_for(&self, class: usize) -> Option<(usize, usize)> {
        let of_class = self.counts.range((class, 0)..=(class, usize::MAX));
        let wrong = of_class.filter(|((_, answer), _)| *answer != class);
        let most = wrong.max_by_key(|((_, answer), count)| (**count, std::cmp::Reverse(*answer)));
        most.map(|((_, answer), count)| (*answer, *count))
    }
}
