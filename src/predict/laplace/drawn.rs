//! A Laplace posterior of the head under drawn gates.

use rayon::prelude::*;

use super::points::Point;
use super::{Laplace, LaplaceError, LaplaceObserver, LaplacePrediction, LaplaceStage, Wanted};
use crate::metrics::log_mean_exp;
use crate::model::{GateMode, StepValues};
use crate::predict::{ForwardSpec, PredictError, Samples, Source};

/// Images of a batch.
const ROWS: usize = 64;

impl Laplace<'_> {
    /// The predictive with both kinds of uncertainty, that of the gates z and that of the head:
    ///
    /// p(y|x) = 1/S sum_s softmax(kappa(v_s) f_s)_y,  f_s = W phi_s(x),  v_s,c = phi_s' Sigma_c phi_s
    ///
    /// phi_s(x) are the head's inputs (a 1 appended) under the s-th draw of the gates, W is the head at the MAP, and Sigma its
    /// posterior, fitted once at z = 1; kappa(v) = 1/sqrt(1 + pi v / 8), or draws of the logits, as the configuration says.
    /// Draws are those of [`Predictor::log_probs`](crate::predict::Predictor::log_probs).
    ///
    /// # Errors
    /// The posterior is not one of the head, there is nothing to draw, the GPU fails, or an image cannot be read.
    pub fn predictive_over_gates(
        &self,
        source: &Source,
        draws: Samples,
        observe: LaplaceObserver,
    ) -> Result<LaplacePrediction, LaplaceError> {
        let structure = self.config.structure;
        if structure.wanted() != Wanted::Features {
            return Err(LaplaceError::GatesOfHead(structure.name()));
        }
        if draws.count == 0 {
            return Err(LaplaceError::Nothing("draws of the gates"));
        }
        let (n, link) = (source.dataset.len(), self.config.link);
        let layout = self.predictor.layout();
        let (classes, features) = (layout.classes, layout.features);
        let each = link.samples();
        let samples = draws.count * each;
        let mut sampled = vec![0.0; samples * n * classes];
        let mode = match draws.shared {
            true => GateMode::Shared,
            false => GateMode::PerExample,
        };
        if n == 0 {
            return Err(PredictError::Empty.into());
        }
        let examples = ROWS.min(n);
        let spec = ForwardSpec {
            features: true,
            ..self.predictor.spec(source, examples, 1)
        };
        let plan = self.predictor.plan(spec)?;
        let indices: Vec<usize> = (0..n).collect();
        for batch in indices.chunks(examples) {
            source.fetch(batch, None)?.write(&plan.batch);
            let ids: Vec<u32> = batch.iter().map(|index| *index as u32).collect();
            for draw in 0..draws.count {
                let values = StepValues::prediction(draws.seed, draw as u32, mode);
                let log_probs = plan.run(&ids, &values)?;
                let points = points(&log_probs, &plan.pooled(batch.len())?, classes, features);
                let projections = self.basis.project(&points);
                let found = points.par_iter().zip(&projections).zip(batch);
                let found = found.map(|((point, projection), image)| {
                    let covariance = projection.covariance(&self.spectrum, self.delta, classes);
                    link.log_probs(&point.log_probs, &covariance, draw * n + image)
                });
                let found: Vec<Vec<f32>> = found.collect::<Result<_, LaplaceError>>()?;
                for (values, image) in found.iter().zip(batch) {
                    for (sample, values) in values.chunks_exact(classes).enumerate() {
                        let place = ((draw * each + sample) * n + image) * classes;
                        sampled[place..place + classes].copy_from_slice(values);
                    }
                }
            }
            observe(LaplaceStage::Predicting, batch[batch.len() - 1] + 1, n);
        }
        Ok(LaplacePrediction {
            log_probs: log_mean_exp(&sampled, samples),
            sampled,
        })
    }
}

/// Of `log_probs` `[rows, classes]` and as many rows of `pooled`.
fn points(log_probs: &[f32], pooled: &[f32], classes: usize, features: usize) -> Vec<Point> {
    let rows = log_probs.chunks_exact(classes);
    let inputs = pooled.chunks_exact(features);
    rows.zip(inputs)
        .map(|(logs, input)| {
            let mut jacobian = input.to_vec();
            jacobian.push(1.0);
            Point {
                log_probs: logs.iter().copied().map(f64::from).collect(),
                jacobian,
            }
        })
        .collect()
}
