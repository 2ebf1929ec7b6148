//! Stored predictions as the measures take them.

use crate::formats::npy::Probabilities;
use crate::metrics::{
    Predictions, PredictionsError, SampledProbabilities, fit_temperature, log_mean_exp,
    tempered_log_probs,
};

/// One model's answers on labelled images.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The predictive, `[n, classes]`.
    pub log_probs: Vec<f32>,
    /// In nats, `[n]`.
    pub mutual_information: Vec<f32>,
    /// `[n]`
    pub labels: Vec<u32>,
    pub classes: usize,
}

impl Answers {
    /// Averages samples of log probabilities; the first labels are those of the images.
    ///
    /// # Errors
    /// They are not distributions.
    pub fn new(found: &Probabilities, labels: &[u32]) -> Result<Self, PredictionsError> {
        let Probabilities {
            values,
            samples,
            examples,
            classes,
        } = found;
        let probs: Vec<f32> = values.iter().map(|value| value.exp()).collect();
        let sampled = SampledProbabilities::new(&probs, *samples, *examples, *classes)?;
        Ok(Self {
            log_probs: log_mean_exp(values, *samples),
            mutual_information: sampled.mutual_information(),
            labels: labels[..*examples].to_vec(),
            classes: *classes,
        })
    }

    pub fn images(&self) -> usize {
        self.labels.len()
    }

    /// The first `n` images alone.
    pub fn first(&self, n: usize) -> Self {
        Self {
            log_probs: self.log_probs[..n * self.classes].to_vec(),
            mutual_information: self.mutual_information[..n].to_vec(),
            labels: self.labels[..n].to_vec(),
            classes: self.classes,
        }
    }

    /// # Errors
    /// They are not distributions.
    pub fn predictions(&self) -> Result<Predictions<'_>, PredictionsError> {
        Predictions::from_log_probs(&self.log_probs, &self.labels, self.classes)
    }

    /// The temperature that suits these images best.
    ///
    /// # Errors
    /// They are not distributions.
    pub fn temperature(&self) -> Result<f64, PredictionsError> {
        fit_temperature(&self.log_probs, &self.labels, self.classes)
    }

    pub fn tempered(&self, temperature: f64) -> Self {
        Self {
            log_probs: tempered_log_probs(&self.log_probs, self.classes, temperature),
            ..self.clone()
        }
    }
}

/// Of several models at once, as if they were samples of one. The first images that all have.
///
/// # Panics
/// If there is no model.
pub fn ensemble(members: &[Answers]) -> Probabilities {
    let examples = members.iter().map(Answers::images).min().expect("a member");
    let classes = members[0].classes;
    let values = members
        .iter()
        .flat_map(|member| &member.log_probs[..examples * classes]);
    Probabilities {
        values: values.copied().collect(),
        samples: members.len(),
        examples,
        classes,
    }
}
