//! What all sections of a run's page are made of, computed once.

use crate::formats::printable;
use crate::metrics::{Confusion, Predictions, PredictionsError};
use crate::report::RunResults;

/// Of all intervals.
pub const LEVEL: f64 = 0.95;

pub struct Material<'a> {
    pub results: &'a RunResults,
    /// By label, as a page may show them.
    pub names: Vec<String>,
    /// `[n]`, as a page may show them.
    pub places: Vec<String>,
    pub predictions: Predictions<'a>,
    /// `[n]`
    pub confidence: Vec<f32>,
    /// `[n]`
    pub answers: Vec<usize>,
    /// `[n]`
    pub correct: Vec<bool>,
    pub confusion: Confusion,
}

impl<'a> Material<'a> {
    /// # Errors
    /// The answers are no probabilities of the classes, or there are none.
    ///
    /// # Panics
    /// If images have no place or no mutual information.
    pub fn new(results: &'a RunResults) -> Result<Self, PredictionsError> {
        let classes = &results.about.classes;
        let predictions =
            Predictions::from_log_probs(&results.log_probs, &results.labels, classes.len())?;
        let each = [results.places.len(), results.mutual_information.len()];
        assert_eq!(each, [predictions.len(); 2], "one an image");
        Ok(Self {
            results,
            names: classes.iter().map(printable).collect(),
            places: results.places.iter().map(printable).collect(),
            confidence: predictions.confidence(),
            answers: predictions.answers(),
            correct: predictions.correct(),
            confusion: Confusion::of(&predictions),
            predictions,
        })
    }

    pub fn label(&self, image: usize) -> usize {
        self.predictions.labels()[image] as usize
    }

    /// The wrong answers, the surest first, those that are as sure in the order of the images.
    pub fn mistakes(&self) -> Vec<usize> {
        let mut order = self.surest_first();
        order.retain(|image| !self.correct[*image]);
        order
    }

    pub fn surest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.predictions.len()).collect();
        // Stable.
        order.sort_by(|a, b| self.confidence[*b].total_cmp(&self.confidence[*a]));
        order
    }
}
