//! Fitting a posterior, choosing its prior, predicting.

use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use super::points::{self, Point};
use super::spectrum::{PRECISION_RANGE, Projection, Spectrum};
use super::{
    Basis, Dims, LaplaceConfig, LaplaceError, LaplaceObserver, LaplaceStage, LaplaceStructure,
    PriorPrecision, Wanted, curvature,
};
use crate::metrics::{self, Predictions, SampledProbabilities, log_mean_exp};
use crate::predict::source::spread;
use crate::predict::{Evaluated, Predictive as _, Predictor, Samples, Source};

/// A Laplace approximation around a predictor's mean weights.
pub struct Laplace<'a> {
    pub(super) predictor: &'a Predictor,
    pub(super) config: LaplaceConfig,
    pub(super) spectrum: Spectrum,
    pub(super) basis: Box<dyn Basis>,
    squared_norm: f64,
    log_likelihood: f64,
    images: usize,
    train_images: usize,
    pub(super) delta: f64,
}

/// What was fitted.
#[derive(Clone, Debug, Serialize)]
pub struct Fitted {
    pub structure: LaplaceStructure,
    /// How delta was chosen.
    pub prior_precision: PriorPrecision,
    pub delta: f64,
    /// Whether the search stopped at an end of [`PRECISION_RANGE`].
    pub at_end_of_range: bool,
    /// Log marginal likelihood at that delta, nats.
    pub log_evidence: f64,
    /// ln p(D | theta*), nats, estimated on `images` for the whole training set.
    pub log_likelihood: f64,
    pub parameters: usize,
    /// Of these, how many the data determine: sum of lambda / (lambda + delta).
    pub effective_parameters: f64,
    /// Training images that H was estimated on.
    pub images: usize,
    pub train_images: usize,
}

/// The predictive for a set of images.
#[derive(Clone, Debug)]
pub struct LaplacePrediction {
    /// `[n, classes]`
    pub log_probs: Vec<f32>,
    /// `[samples, n, classes]`: the softmax of each draw of the logits; one set for probit.
    pub sampled: Vec<f32>,
}

impl<'a> Laplace<'a> {
    /// Sums H over `train` (without augmentation) and chooses delta, for which `validation` is only
    /// needed where the configuration says so.
    ///
    /// # Errors
    /// The configuration asks for what is not there; the GPU fails; an image cannot be read.
    pub fn fit(
        predictor: &'a Predictor,
        train: &Source,
        validation: Option<&Source>,
        config: LaplaceConfig,
        observe: LaplaceObserver,
    ) -> Result<Self, LaplaceError> {
        check(&config)?;
        let wanted = config.structure.wanted();
        let layout = predictor.layout();
        if wanted != Wanted::Features && layout.total_rank() == 0 {
            return Err(LaplaceError::NothingAdapted(config.structure.name()));
        }
        let train_images = train.dataset.len();
        let indices = spread(train_images, config.images);
        let scale = train_images as f64 / indices.len() as f64;
        let dims = Dims {
            classes: layout.classes,
            features: layout.features + 1,
            ranks: layout.total_rank(),
            blocks: points::blocks(layout),
        };
        let mut sum = curvature(config.structure, dims);
        let mut log_likelihood = 0.0;
        let (labels, total) = (&train.dataset.labels, indices.len());
        points::for_each(predictor, train, &indices, wanted, &mut |first, points| {
            for (point, index) in points.iter().zip(&indices[first..]) {
                log_likelihood += scale * point.log_probs[labels[*index] as usize];
            }
            sum.add(&points);
            observe(LaplaceStage::Fitting, first + points.len(), total);
            Ok(())
        })?;
        observe(LaplaceStage::Decomposing, 0, 1);
        let (spectrum, basis) = sum.finish(scale)?;
        observe(LaplaceStage::Decomposing, 1, 1);
        let mut laplace = Self {
            squared_norm: squared_norm(predictor, wanted)?,
            predictor,
            config,
            spectrum,
            basis,
            log_likelihood,
            images: indices.len(),
            train_images,
            delta: f64::INFINITY,
        };
        laplace.delta = match config.precision {
            PriorPrecision::Fixed(delta) => delta,
            PriorPrecision::MarginalLikelihood => {
                laplace.spectrum.best_precision(laplace.squared_norm)
            }
            PriorPrecision::Validation => {
                let validation = validation.ok_or(LaplaceError::NoValidation)?;
                laplace.best_on(validation, observe)?
            }
        };
        Ok(laplace)
    }

    /// The same posterior with another prior precision.
    ///
    /// # Errors
    /// It is not above 0 and finite.
    pub fn set_precision(&mut self, delta: f64) -> Result<(), LaplaceError> {
        self.config.precision = PriorPrecision::Fixed(delta);
        check(&self.config)?;
        self.delta = delta;
        Ok(())
    }

    /// ln p(D | theta*) - delta/2 |theta* - mean|^2 + D/2 ln delta - 1/2 ln det P, in nats.
    pub fn log_marginal_likelihood(&self, delta: f64) -> f64 {
        self.log_likelihood + self.spectrum.log_occam(delta, self.squared_norm)
    }

    pub fn fitted(&self) -> Fitted {
        let (low, high) = PRECISION_RANGE;
        let searched = !matches!(self.config.precision, PriorPrecision::Fixed(_));
        let near = |end: f64| (self.delta / end).ln().abs() < 1e-6;
        Fitted {
            structure: self.config.structure,
            prior_precision: self.config.precision,
            delta: self.delta,
            at_end_of_range: searched && (near(low) || near(high)),
            log_evidence: self.log_marginal_likelihood(self.delta),
            log_likelihood: self.log_likelihood,
            parameters: self.spectrum.dims(),
            effective_parameters: self.spectrum.effective_dims(self.delta),
            images: self.images,
            train_images: self.train_images,
        }
    }

    /// The eigenvalues of H.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// The predictive for every image of a set.
    ///
    /// # Errors
    /// The GPU fails, or an image cannot be read.
    pub fn predictive(
        &self,
        source: &Source,
        observe: LaplaceObserver,
    ) -> Result<LaplacePrediction, LaplaceError> {
        let n = source.dataset.len();
        let (classes, link) = (self.predictor.layout().classes, self.config.link);
        let samples = link.samples();
        let mut sampled = vec![0.0; samples * n * classes];
        let indices: Vec<usize> = (0..n).collect();
        self.project(source, &indices, &mut |first, points, projections| {
            let each = points.par_iter().zip(projections).enumerate();
            let found = each.map(|(i, (point, projection))| {
                let covariance = projection.covariance(&self.spectrum, self.delta, classes);
                link.log_probs(&point.log_probs, &covariance, first + i)
            });
            let found: Vec<Vec<f32>> = found.collect::<Result<_, _>>()?;
            for (i, values) in found.iter().enumerate() {
                for (sample, values) in values.chunks_exact(classes).enumerate() {
                    let place = (sample * n + first + i) * classes;
                    sampled[place..place + classes].copy_from_slice(values);
                }
            }
            observe(LaplaceStage::Predicting, first + points.len(), n);
            Ok(())
        })?;
        Ok(LaplacePrediction {
            log_probs: log_mean_exp(&sampled, samples),
            sampled,
        })
    }

    /// Scores the predictive on a set with labels; the fields on ranks are the adapter's.
    ///
    /// # Errors
    /// The GPU fails, an image cannot be read, or there are no finite probabilities.
    pub fn evaluate(
        &self,
        source: &Source,
        observe: LaplaceObserver,
    ) -> Result<Evaluated, LaplaceError> {
        self.score(source, |laplace| laplace.predictive(source, observe))
    }

    /// The same [with drawn gates](Self::predictive_over_gates).
    ///
    /// # Errors
    /// As there, or there are no finite probabilities.
    pub fn evaluate_over_gates(
        &self,
        source: &Source,
        draws: Samples,
        observe: LaplaceObserver,
    ) -> Result<Evaluated, LaplaceError> {
        self.score(source, |laplace| {
            laplace.predictive_over_gates(source, draws, observe)
        })
    }

    fn score(
        &self,
        source: &Source,
        predict: impl FnOnce(&Self) -> Result<LaplacePrediction, LaplaceError>,
    ) -> Result<Evaluated, LaplaceError> {
        let start = Instant::now();
        let layout = self.predictor.layout();
        let (n, classes) = (source.dataset.len(), layout.classes);
        let LaplacePrediction { log_probs, sampled } = predict(self)?;
        let probs: Vec<f32> = sampled.iter().map(|value| value.exp()).collect();
        let samples = SampledProbabilities::new(&probs, sampled.len() / (n * classes), n, classes)?;
        let mutual_information = samples.mutual_information();
        let predictions = Predictions::from_log_probs(&log_probs, &source.dataset.labels, classes)?;
        Ok(Evaluated {
            scores: metrics::evaluate(&predictions, Some(&mutual_information)),
            effective_rank: layout.total_rank() as f64,
            rank_count: layout.total_rank(),
            adapter_parameters: self.predictor.adapter_parameters(),
            seconds: start.elapsed().as_secs_f64(),
            log_probs,
            mutual_information,
        })
    }

    /// Linearises some images of a set, in the eigenvectors of H.
    fn project(
        &self,
        source: &Source,
        indices: &[usize],
        each: EachProjected,
    ) -> Result<(), LaplaceError> {
        let wanted = self.config.structure.wanted();
        points::for_each(
            self.predictor,
            source,
            indices,
            wanted,
            &mut |first, points| {
                let projections = self.basis.project(&points);
                each(first, &points, &projections)
            },
        )
    }

    /// The delta with the lowest NLL on some images, of two a decade.
    fn best_on(&self, source: &Source, observe: LaplaceObserver) -> Result<f64, LaplaceError> {
        let (low, high) = PRECISION_RANGE;
        let steps = (2.0 * (high / low).log10()).round() as i32;
        let grid: Vec<f64> = (0..=steps)
            .map(|step| low * 10f64.powf(0.5 * f64::from(step)))
            .collect();
        let (classes, link) = (self.predictor.layout().classes, self.config.link);
        let indices = spread(source.dataset.len(), self.config.images);
        let labels = &source.dataset.labels;
        let mut nll = vec![0.0; grid.len()];
        self.project(source, &indices, &mut |first, points, projections| {
            let pairs: Vec<(usize, f64)> = (0..points.len())
                .flat_map(|i| grid.iter().map(move |delta| (i, *delta)))
                .collect();
            let scores = pairs.par_iter().map(|(i, delta)| {
                let covariance = projections[*i].covariance(&self.spectrum, *delta, classes);
                let all = link.log_probs(&points[*i].log_probs, &covariance, first + i)?;
                let log_probs = log_mean_exp(&all, link.samples());
                Ok(-f64::from(log_probs[labels[indices[first + i]] as usize]))
            });
            let scores: Vec<f64> = scores.collect::<Result<_, LaplaceError>>()?;
            for scores in scores.chunks_exact(grid.len()) {
                let sums = nll.iter_mut().zip(scores);
                sums.for_each(|(sum, score)| *sum += score);
            }
            observe(LaplaceStage::Choosing, first + points.len(), indices.len());
            Ok(())
        })?;
        let best = (0..grid.len()).min_by(|a, b| nll[*a].total_cmp(&nll[*b]));
        Ok(grid[best.expect("the grid is not empty")])
    }
}

/// Gets the place of the first of some images, them, and their Jacobians in the eigenvectors of H.
type EachProjected<'a> =
    &'a mut dyn FnMut(usize, &[Point], &[Projection]) -> Result<(), LaplaceError>;

fn check(config: &LaplaceConfig) -> Result<(), LaplaceError> {
    if config.images == 0 {
        return Err(LaplaceError::Nothing("training images"));
    }
    if config.link.samples() == 0 {
        return Err(LaplaceError::Nothing("samples of the logits"));
    }
    match config.precision {
        PriorPrecision::Fixed(delta) if !(delta > 0.0 && delta.is_finite()) => {
            Err(LaplaceError::Precision(delta))
        }
        _ => Ok(()),
    }
}

/// |theta* - prior mean|^2.
fn squared_norm(predictor: &Predictor, wanted: Wanted) -> Result<f64, LaplaceError> {
    let layout = predictor.layout();
    let square = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let packed = predictor.parameters()?;
    Ok(match wanted {
        Wanted::Gates => 0.0,
        Wanted::Adapters => square(&points::gather(&points::blocks(layout), &packed)),
        Wanted::Features => {
            let state = layout.unpack(&packed);
            square(&state.head_weight) + square(&state.head_bias)
        }
    })
}
