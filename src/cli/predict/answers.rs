//! What a run says of images.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Digest, Temperature};
use bayeslora::low_level::gpu::{Gpu, Precision};
use bayeslora::low_level::predict::ood::{Familiarity, OodDetector, OodScore};
use bayeslora::low_level::predict::{
    Adjusted, Calibration, Ensemble, Prediction, Predictive, Predictor, PriorShift, Samples,
    Source, ties,
};
use serde::Serialize;

use crate::cli::class_prior::ClassPrior;
use crate::cli::location::Location;
use crate::cli::ood;
use crate::cli::promised::{self, Promised};
use crate::cli::run::Run;

/// What is said of one image.
#[derive(Serialize)]
pub struct Answer {
    pub image: Location,
    /// The most probable first.
    pub classes: Vec<ClassAnswer>,
    /// Of the predictive, in nats.
    pub entropy: f32,
    /// Its part that comes from the samples' disagreement, in nats.
    pub mutual_information: f32,
    /// Equation (16), summed over adapters and positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariance_trace: Option<f32>,
    #[serde(flatten)]
    pub promised: Promised,
    /// Whether it looks like something that the run was trained on.
    #[serde(flatten)]
    pub familiarity: Option<Familiarity>,
}

#[derive(Serialize)]
pub struct ClassAnswer {
    pub class: String,
    pub probability: f32,
    /// Over the samples.
    pub std: f32,
}

/// How answers are made, which tells those of one command from those of another.
#[derive(Serialize)]
pub struct Way {
    /// Of the adapter.
    pub adapter_sha256: String,
    pub samples: usize,
    pub seed: u64,
    /// Applied to the predictive and its entropy; standard deviations and mutual information are those of the samples.
    pub temperature: Option<f64>,
    /// Another balance of the classes than that of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_prior: Option<ClassPrior>,
    /// What `calibrate` has kept for these samples.
    pub calibration: Option<Calibration>,
    /// What tells unfamiliar images.
    pub ood: Option<Ood>,
}

#[derive(Serialize)]
pub struct Ood {
    score: OodScore,
    /// Of familiar images, the share that is called unfamiliar, at most.
    false_alarms: f64,
    digest: Digest,
}

/// A run on a device.
pub struct Answering<'a> {
    pub way: Way,
    pub precision: Precision,
    run: &'a Run,
    predict: Box<dyn Fn(Dataset) -> Result<Prediction> + 'a>,
    ood: Option<(OodDetector, Rc<Predictor>)>,
}

impl<'a> Answering<'a> {
    /// `wants_trace`: whether answers have a covariance trace.
    pub fn new(
        gpu: &Gpu,
        run: &'a Run,
        asked: Samples,
        (is_tempered, class_prior): (bool, Option<ClassPrior>),
        wants_trace: bool,
    ) -> Result<Self> {
        let samples = run.samples(asked);
        let temperature = match is_tempered {
            true => Some(fitted_temperature(run, samples.count)?),
            false => None,
        };
        // A prior that changes nothing leaves every bit and every promise as it is.
        let shift = class_prior.as_ref().map(|prior| prior.shift.clone());
        let shift = shift.filter(|shift| !shift.is_none());
        let mut detector = None;
        let side = run.adapter.resolution;
        let predict: Box<dyn Fn(Dataset) -> _> = match run.members.is_empty() {
            true => {
                let predictor = Rc::new(Predictor::new(gpu, &run.backbone, &run.adapter)?);
                detector = ood::kept(run)?.map(|detector| (detector, predictor.clone()));
                match shift.clone() {
                    Some(shift) => under(shift, predictor, side, samples, wants_trace),
                    None => Box::new(move |images| {
                        Ok(predictor.predict(images, samples, wants_trace)?)
                    }),
                }
            }
            false => {
                let ensemble = Ensemble::new(gpu, &run.backbone, &run.members)?;
                match shift.clone() {
                    Some(shift) => under(shift, Box::new(ensemble), side, samples, wants_trace),
                    None => Box::new(move |images| {
                        Ok(ensemble.predict(images, samples, wants_trace)?)
                    }),
                }
            }
        };
        let mut calibration = promised::kept(run, (samples.count, asked.seed))?;
        if shift.is_some() {
            promised::doubt_under_prior(calibration.take().is_some(), detector.is_some());
        }
        Ok(Self {
            way: Way {
                adapter_sha256: run.sha256()?,
                samples: samples.count,
                seed: asked.seed,
                temperature,
                class_prior,
                calibration,
                ood: detector.as_ref().map(|(detector, _)| Ood {
                    score: detector.score(),
                    false_alarms: detector.false_alarms(),
                    digest: detector.digest(),
                }),
            },
            ood: detector,
            precision: gpu.options().precision,
            run,
            predict,
        })
    }

    /// Answers with the `top` most probable classes about files with pixels `[n, side, side, 3]`, and the probabilities
    /// `[n, classes]`.
    pub fn answer(
        &self,
        files: &[PathBuf],
        pixels: Vec<u8>,
        top: usize,
    ) -> Result<(Vec<Answer>, Vec<f32>)> {
        let (side, names) = (self.run.adapter.resolution, &self.run.adapter.classes);
        let images = Dataset::new(side, pixels, vec![0; files.len()], names.as_slice().into());
        let ties = match self.way.calibration {
            Some(_) => ties(&images)?,
            None => Vec::new(),
        };
        let familiarities = match &self.ood {
            None => Vec::new(),
            Some((detector, predictor)) => {
                let source = Source::images(images.clone(), side);
                detector.familiarities(&predictor.features(&source, &mut |_| ())?)
            }
        };
        let mut prediction = (self.predict)(images)?;
        let promised: Vec<Promised> = match &self.way.calibration {
            None => files.iter().map(|_| Promised::default()).collect(),
            Some(calibration) => {
                let rows = prediction.mean.chunks_exact(names.len()).zip(ties);
                rows.map(|(row, tie)| Promised::new(calibration, row, tie, names))
                    .collect()
            }
        };
        if let Some(temperature) = self.way.temperature {
            prediction = prediction.at_temperature(temperature);
        }
        let numbered = files.iter().zip(promised).enumerate();
        let answers = numbered.map(|(i, (file, promised))| Answer {
            promised,
            familiarity: familiarities.get(i).copied(),
            ..answer(i, file, &prediction, names, top)
        });
        Ok((answers.collect(), prediction.mean))
    }
}

/// Answers under another prior.
fn under<'a, P: Predictive>(
    shift: PriorShift,
    predictive: impl Deref<Target = P> + 'a,
    side: usize,
    samples: Samples,
    trace: bool,
) -> Box<dyn Fn(Dataset) -> Result<Prediction> + 'a> {
    Box::new(move |images| {
        let adjusted = Adjusted {
            predictive: &*predictive,
            shift: &shift,
        };
        let source = Source::images(images, side);
        Ok(adjusted.predict(&source, samples, trace)?)
    })
}

/// The temperature of the predictive with this number of samples.
fn fitted_temperature(run: &Run, samples: usize) -> Result<f64> {
    let all = Temperature::load_all(run.fitted_dir(), &run.sha256()?);
    let all = all.context("--temperature")?;
    if let Some(fitted) = all.iter().find(|fitted| fitted.samples == samples) {
        return Ok(fitted.temperature);
    }
    let fit = format!(
        "`bayeslora eval --run {} --data D --samples {samples} --temperature` fits one",
        run.dir.path().display()
    );
    let known: Vec<_> = all
        .iter()
        .map(|fitted| fitted.samples.to_string())
        .collect();
    match known.is_empty() {
        true => bail!("--temperature: none was fitted to this adapter yet; {fit}"),
        false => bail!(
            "--temperature: there is one for --samples {}, not for {samples}; {fit}",
            known.join(", ")
        ),
    }
}

fn answer(
    index: usize,
    file: &Path,
    prediction: &Prediction,
    names: &[String],
    top: usize,
) -> Answer {
    let row = |values: &[f32]| values[index * names.len()..][..names.len()].to_vec();
    let (mean, std) = (row(&prediction.mean), row(&prediction.std));
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|a, b| mean[*b].total_cmp(&mean[*a]));
    order.truncate(top);
    let classes = order.into_iter().map(|class| ClassAnswer {
        class: names[class].clone(),
        probability: mean[class],
        std: std[class],
    });
    Answer {
        image: file.as_os_str().into(),
        classes: classes.collect(),
        entropy: prediction.entropy[index],
        mutual_information: prediction.mutual_information[index],
        covariance_trace: prediction.covariance_trace.as_ref().map(|all| all[index]),
        promised: Promised::default(),
        familiarity: None,
    }
}
