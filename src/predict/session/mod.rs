//! A predictor that stays warm from one call to the next.

mod answer;
mod options;

pub use answer::{Answer, ClassAnswer};
pub use options::SessionOptions;

use std::collections::HashMap;
use std::sync::Arc;

use super::calibration::{Calibration, Promise, tie};
use super::ood::{Familiarity, OodDetector};
use super::predictor::Draws;
use super::run::fitted_to;
use super::{ForwardPlan, ForwardSpec, PredictError, Prediction, Predictor, PriorShift, Run};
use crate::data::Picture;
use crate::formats::{Adapter, ClassBalance, Temperature};
use crate::gpu::Gpu;
use crate::model::{Backbone, BatchInput, GateMode, PLAIN_VIEW, StepValues};

/// Answers about pictures, with plans that are built once for each size of a batch: the second call of a size compiles and
/// allocates nothing on the device but the copy that brings the answer back.
///
/// Sizes are powers of two up to [`SessionOptions::batch`], so there are few of them. Calls take turns; use a session for each thread,
/// over clones of one [`Gpu`], to have several on their way.
pub struct Session {
    predictor: Predictor,
    names: Vec<Arc<str>>,
    /// Whether the adapter has anything to draw.
    draws: bool,
    /// How frequent the classes were in training.
    balance: Option<ClassBalance>,
    /// That were fitted to the run.
    temperatures: Vec<Temperature>,
    /// What was promised of the run's answers.
    calibrations: Vec<Calibration>,
    /// What tells the unfamiliar, with plans of its own: it looks at the mean weights.
    ood: Option<OodDetector>,
    options: SessionOptions,
    /// To the class prior of the options, where that changes anything.
    shift: Option<PriorShift>,
    plans: HashMap<usize, ForwardPlan>,
    mean_plans: HashMap<usize, ForwardPlan>,
}

impl Session {
    /// Takes a run from its directory.
    ///
    /// # Errors
    /// The directory holds no adapter, or something that does not fit together; an option is out of range; the GPU fails.
    pub fn open(
        gpu: &Gpu,
        run: impl AsRef<std::path::Path>,
        options: SessionOptions,
    ) -> Result<Self, PredictError> {
        Self::of(gpu, &Run::open(run)?, options)
    }

    /// Uploads a run that is open.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of(gpu: &Gpu, run: &Run, options: SessionOptions) -> Result<Self, PredictError> {
        let mut session = Self::new(gpu, &run.backbone, &run.adapter, options.clone())?;
        session.temperatures.clone_from(&run.temperatures);
        session.calibrations.clone_from(&run.calibrations);
        session.ood.clone_from(&run.ood);
        session.set_options(options)?;
        Ok(session)
    }

    /// Uploads a backbone and an adapter that was trained on it.
    ///
    /// # Errors
    /// An option is out of range; the adapter belongs to another backbone, does not fit this one, has a head that was never
    /// trained, or does not say its resolution; the GPU fails.
    pub fn new(
        gpu: &Gpu,
        backbone: &Backbone,
        adapter: &Adapter,
        options: SessionOptions,
    ) -> Result<Self, PredictError> {
        options.check()?;
        if adapter.resolution == 0 {
            return Err(PredictError::NoResolution);
        }
        let names = adapter.classes.iter().map(|name| name.as_str().into());
        let mut session = Self {
            names: names.collect(),
            predictor: Predictor::new(gpu, backbone, adapter)?,
            draws: adapter.draws(),
            balance: adapter.class_balance.clone(),
            temperatures: Vec::new(),
            calibrations: Vec::new(),
            ood: None,
            options: options.clone(),
            shift: None,
            plans: HashMap::new(),
            mean_plans: HashMap::new(),
        };
        session.set_options(options)?;
        Ok(session)
    }

    /// Class names, by label.
    pub fn classes(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Those in force: a fitted temperature is filled in, and there are no samples where nothing is drawn.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Answers otherwise from now on. Another number of samples takes other plans, which are built anew.
    ///
    /// # Errors
    /// An option is out of range or contradicts another, or the class prior is not one for the adapter; those before stay in
    /// force.
    pub fn set_options(&mut self, options: SessionOptions) -> Result<(), PredictError> {
        options.check()?;
        let prior = options.class_prior.as_ref();
        let shift = prior.map(|prior| prior.shift(&self.names, self.balance.as_ref()));
        // A prior that changes nothing leaves every bit and every promise as it is.
        let shift = shift.transpose()?.filter(|shift| !shift.is_none());
        // Nothing drawn, every sample is the mean.
        let samples = if self.draws { options.samples } else { 0 };
        let fitted = fitted_to(samples, &self.temperatures).filter(|_| shift.is_none());
        let at_once = |samples| self.predictor.draws_at_once(samples);
        if at_once(samples) != at_once(self.options.samples) {
            self.plans.clear();
        }
        self.shift = shift;
        self.options = SessionOptions {
            samples,
            temperature: options.temperature.or(fitted),
            ..options
        };
        Ok(())
    }

    /// Builds the plan for this many pictures now, so that the first call is as fast as the others.
    ///
    /// # Errors
    /// It does not fit the device.
    pub fn warm(&mut self, pictures: usize) -> Result<(), PredictError> {
        let size = self.size(pictures.max(1));
        self.plan(size)?;
        match self.ood.is_some() {
            true => self.mean_plan(size).map(drop),
            false => Ok(()),
        }
    }

    /// An answer for each picture, in their order.
    ///
    /// # Errors
    /// There is no picture, one cannot be used, or the GPU fails.
    pub fn predict(&mut self, pictures: &[Picture]) -> Result<Vec<Answer>, PredictError> {
        if pictures.is_empty() {
            return Err(PredictError::Empty);
        }
        let side = self.predictor.size();
        let mut answers = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(self.options.batch) {
            let mut pixels = Vec::with_capacity(batch.len() * side * side * 3);
            for picture in batch {
                pixels.extend(picture.square(side)?);
            }
            let mut prediction = self.answer(batch.len(), &pixels)?;
            let promises = self.promises(&prediction, &pixels);
            if let Some(temperature) = self.options.temperature {
                prediction = prediction.at_temperature(temperature);
            }
            let familiarities = self.familiarities(batch.len(), &pixels)?;
            let promises = promises.into_iter().enumerate();
            answers.extend(promises.map(|(row, promise)| Answer {
                familiarity: familiarities.get(row).copied(),
                ..self.in_order(&prediction, row, promise)
            }));
        }
        Ok(answers)
    }

    /// The predictive for a batch of pixels `[n, side, side, 3]`, under the class prior and before any temperature.
    fn answer(&mut self, n: usize, pixels: &[u8]) -> Result<Prediction, PredictError> {
        let (samples, seed, classes) = (self.options.samples, self.options.seed, self.names.len());
        let (draws, mode) = match samples {
            0 => (1, GateMode::Mean),
            count => (count, GateMode::Shared),
        };
        let size = self.size(n);
        let plan = self.plan(size)?;
        plan.batch.write_images(pixels, &vec![PLAIN_VIEW; n]);
        // Shared draws are keyed by none.
        let (examples, images) = (vec![0; n], (0..n).collect::<Vec<_>>());
        let at_once = plan.spec().samples;
        let mut found = Draws::new(draws, n, classes, at_once)?;
        for first in (0..draws).step_by(at_once) {
            let values = StepValues::prediction(seed, first as u32, mode);
            found.take(&plan.run(&examples, &values)?, &images, first);
        }
        if let Some(shift) = &self.shift {
            shift.adjust(&mut found.log_probs);
        }
        Prediction::new(&found.log_probs, draws, classes)
    }

    /// What was promised of each picture of a batch.
    fn promises(&self, prediction: &Prediction, pixels: &[u8]) -> Vec<Promise> {
        let rows = prediction.mean.chunks_exact(self.names.len());
        let side = self.predictor.size();
        let pictures = pixels.chunks_exact(side * side * 3);
        let (samples, seed) = (self.options.samples, self.options.seed);
        let mut calibrations = self.calibrations.iter();
        let calibration = calibrations.find(|one| self.shift.is_none() && one.is_of(samples, seed));
        let promise = |(row, picture): (&[f32], &[u8])| match calibration {
            None => Promise::default(),
            Some(calibration) => calibration.promise(row, tie(picture)),
        };
        rows.zip(pictures).map(promise).collect()
    }

    /// Of a batch of pixels `[n, side, side, 3]`; none without a detector.
    fn familiarities(&mut self, n: usize, pixels: &[u8]) -> Result<Vec<Familiarity>, PredictError> {
        if self.ood.is_none() {
            return Ok(Vec::new());
        }
        let plan = self.mean_plan(self.size(n))?;
        plan.batch.write_images(pixels, &vec![PLAIN_VIEW; n]);
        plan.run(&vec![0; n], &StepValues::prediction(0, 0, GateMode::Mean))?;
        let features = plan.pooled(n)?;
        let detector = self.ood.as_ref();
        Ok(detector.map_or(Vec::new(), |detector| detector.familiarities(&features)))
    }

    /// The size of the plan that computes `n` pictures.
    fn size(&self, n: usize) -> usize {
        n.next_power_of_two().min(self.options.batch)
    }

    pub(crate) fn plan(&mut self, size: usize) -> Result<&ForwardPlan, PredictError> {
        if !self.plans.contains_key(&size) {
            let side = self.predictor.size();
            let input = BatchInput::Images { side, size: side };
            let draws = self.predictor.draws_at_once(self.options.samples);
            let spec = self.predictor.spec_of(input, size, draws);
            self.plans.insert(size, self.predictor.plan(spec)?);
        }
        Ok(&self.plans[&size])
    }

    /// The plan of the head's inputs under the mean weights.
    fn mean_plan(&mut self, size: usize) -> Result<&ForwardPlan, PredictError> {
        if !self.mean_plans.contains_key(&size) {
            let side = self.predictor.size();
            let input = BatchInput::Images { side, size: side };
            let spec = ForwardSpec {
                features: true,
                ..self.predictor.spec_of(input, size, 1)
            };
            self.mean_plans.insert(size, self.predictor.plan(spec)?);
        }
        Ok(&self.mean_plans[&size])
    }

    fn in_order(&self, prediction: &Prediction, row: usize, promise: Promise) -> Answer {
        let classes = self.names.len();
        let of = |values: &[f32], label: usize| values[row * classes + label];
        let mut labels: Vec<usize> = (0..classes).collect();
        labels.sort_by(|a, b| of(&prediction.mean, *b).total_cmp(&of(&prediction.mean, *a)));
        let classes: Vec<ClassAnswer> = labels
            .into_iter()
            .map(|label| ClassAnswer {
                class: self.names[label].clone(),
                label,
                probability: of(&prediction.mean, label),
                std: of(&prediction.std, label),
            })
            .collect();
        Answer {
            abstains: classes[0].probability < self.options.threshold
                || promise.answered == Some(false),
            prediction_set: promise.prediction_set,
            entropy: prediction.entropy[row],
            mutual_information: prediction.mutual_information[row],
            familiarity: None,
            classes,
        }
    }
}
