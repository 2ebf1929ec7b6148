//! What a session says of a picture.

use std::sync::Arc;

use crate::predict::ood::Familiarity;

/// What a [`Session`](super::Session) says of a picture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Every class, the most probable first.
    pub classes: Vec<ClassAnswer>,
    /// Of the predictive, in nats.
    pub entropy: f32,
    /// Its part that comes from the draws' disagreement, in nats.
    pub mutual_information: f32,
    /// Whether the most probable class is less so than the threshold asks, or than `calibrate` has found that it must be for
    /// the risk that it promises of the run's answers.
    pub abstains: bool,
    /// Numbers of the classes among which the right one is as often as `calibrate` has promised of the run, the most probable
    /// first; `None` where it has promised nothing.
    pub prediction_set: Option<Vec<usize>>,
    /// Whether it looks like something that the run was trained on; `None` where `calibrate` has not fitted a detector to it.
    pub familiarity: Option<Familiarity>,
}

/// A class as an [`Answer`] has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassAnswer {
    /// Its name.
    pub class: Arc<str>,
    /// Its number in the adapter.
    pub label: usize,
    /// Of the predictive, under the class prior or at the temperature.
    pub probability: f32,
    /// Over the draws, under the class prior but before any temperature.
    pub std: f32,
}
