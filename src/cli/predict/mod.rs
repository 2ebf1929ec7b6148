//! `predict`: what a run says of image files, and how sure it is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Temperature, printable};
use bayeslora::low_level::predict::{Calibration, Ensemble, Prediction, Predictor, Samples, ties};
use clap::Args;
use serde::Serialize;

use super::context::{self, Context};
use super::location::Location;
use super::pictures::Pictures;
use super::promised::{self, Promised};
use super::run::{Run, RunArgs};
use super::{output, probs_out, tables};

#[derive(Args)]
pub struct PredictArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Image files (PNG, JPEG, WebP, BMP, TIFF, GIF) of up to 120 million pixels and 256 MiB, or directories
    /// of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Monte Carlo samples of the gates, the same for every image; 0 uses the mean weights
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Divide the logits by the temperature that `eval --temperature` has fitted for this number of samples
    #[arg(long)]
    temperature: bool,
    /// Show the K most probable classes [default: 3; with --json, all]
    #[arg(long, value_name = "K")]
    top: Option<u32>,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave out images that cannot be decoded instead of stopping; the first are named on standard error, all in --json
    #[arg(long)]
    skip_bad_images: bool,
    /// Also write the class probabilities as a NumPy array [images, classes] of f32: a row for each image in the order
    /// of the output, a column for each class in the order of the run's classes
    #[arg(long, value_name = "P.npy")]
    probs_out: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    /// 0 where nothing is drawn.
    samples: usize,
    /// What they are samples of.
    #[serde(skip)]
    drawn: &'static str,
    seed: u64,
    /// Applied to the predictive and its entropy; standard deviations and mutual information are
    /// those of the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    /// What `calibrate` has kept for these samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    images: Vec<Answer>,
    /// Files that do not decode, where they are to be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Skipped {
    image: Location,
    reason: String,
}

impl From<(PathBuf, String)> for Skipped {
    fn from((file, reason): (PathBuf, String)) -> Self {
        Self {
            image: file.into_os_string().into(),
            reason,
        }
    }
}

#[derive(Serialize)]
struct Answer {
    image: Location,
    /// The most probable first.
    classes: Vec<ClassAnswer>,
    /// Of the predictive, in nats.
    entropy: f32,
    /// Its part that comes from the samples' disagreement, in nats.
    mutual_information: f32,
    /// Equation (16), summed over adapters and positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    covariance_trace: Option<f32>,
    #[serde(flatten)]
    promised: Promised,
}

#[derive(Serialize)]
struct ClassAnswer {
    class: String,
    probability: f32,
    /// Over the samples.
    std: f32,
}

pub fn run(context: &Context, args: &PredictArgs) -> Result<()> {
    let probs_out = args.probs_out.as_deref();
    probs_out::check(probs_out)?;
    let run = args.run.open()?;
    // Shared gates: what is said of an image does not depend on the images beside it.
    let samples = run.samples(Samples {
        shared: true,
        ..Samples::new(args.samples, args.seed)
    });
    let draws = samples.count.max(run.members.len());
    let temperature = match args.temperature {
        true => Some(fitted_temperature(&run, samples.count)?),
        false => None,
    };
    let calibration = promised::kept(&run, (samples.count, args.seed))?;
    let side = run.adapter.resolution;
    let classes = &run.adapter.classes;
    let mut pictures = Pictures::open(&args.images, side, args.skip_bad_images)?;
    let skipped = std::mem::take(&mut pictures.skipped);
    context::tell_skipped(skipped.len(), skipped.iter().map(|(_, reason)| reason));
    let gpu = context.gpu()?;
    let predict: Box<dyn Fn(Dataset) -> _> = match run.members.is_empty() {
        true => {
            let predictor = Predictor::new(&gpu, &run.backbone, &run.adapter)?;
            Box::new(move |images| predictor.predict(images, samples, args.json))
        }
        false => {
            let ensemble = Ensemble::new(&gpu, &run.backbone, &run.members)?;
            Box::new(move |images| ensemble.predict(images, samples, args.json))
        }
    };
    let default = if args.json { classes.len() } else { 3 };
    let top = args.top.map_or(default, |top| top as usize);
    let (mut answers, mut probabilities) = (Vec::new(), Vec::new());
    for chunk in pictures.chunks() {
        let (files, pixels) = chunk?;
        let images = Dataset::new(
            side,
            pixels,
            vec![0; files.len()],
            classes.as_slice().into(),
        );
        let ties = match calibration {
            Some(_) => ties(&images)?,
            None => Vec::new(),
        };
        let mut prediction = predict(images)?;
        let promised: Vec<Promised> = match &calibration {
            None => files.iter().map(|_| Promised::default()).collect(),
            Some(calibration) => {
                let rows = prediction.mean.chunks_exact(classes.len()).zip(ties);
                rows.map(|(row, tie)| Promised::new(calibration, row, tie, classes))
                    .collect()
            }
        };
        if let Some(temperature) = temperature {
            prediction = prediction.at_temperature(temperature);
        }
        if probs_out.is_some() {
            probabilities.extend_from_slice(&prediction.mean);
        }
        let numbered = files.iter().zip(promised).enumerate();
        answers.extend(numbered.map(|(i, (file, promised))| Answer {
            promised,
            ..answer(i, file, &prediction, classes, top)
        }));
    }
    let report = Report {
        samples: draws,
        drawn: if run.members.is_empty() {
            "samples"
        } else {
            "members"
        },
        seed: args.seed,
        temperature,
        calibration,
        skipped: skipped.into_iter().map(Skipped::from).collect(),
        images: answers,
    };
    match args.json {
        true => output::json(&report)?,
        false => output::text(&describe(&report, classes.len()))?,
    }
    probs_out::write(probs_out, classes.len(), &probabilities)
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
    }
}

fn describe(report: &Report, classes: usize) -> String {
    let images = report.images.iter();
    let names = images.clone().flat_map(|answer| &answer.classes);
    let width = names
        .map(|answer| printable(&answer.class).chars().count())
        .max()
        .unwrap_or(0);
    let blocks: Vec<_> = images
        .map(|answer| block(answer, width, classes, (report.samples, report.drawn)))
        .collect();
    let temperature = report.temperature;
    let temperature = temperature.map_or(String::new(), |t| format!("\n\ntemperature {t:.3}"));
    let promises = report
        .calibration
        .as_ref()
        .map_or(String::new(), promised::in_words);
    blocks.join("\n\n") + &temperature + &promises
}

fn block(answer: &Answer, width: usize, classes: usize, (samples, drawn): (usize, &str)) -> String {
    const BAR: usize = 30;
    let mut text = printable(&answer.image);
    for ClassAnswer {
        class,
        probability,
        std,
    } in &answer.classes
    {
        let bar = tables::bar(f64::from(*probability), BAR);
        let spread = match samples {
            0 | 1 => String::new(),
            _ => format!(" ± {:4.1}", 100.0 * std),
        };
        let percent = 100.0 * probability;
        let class = printable(class);
        text += &format!("\n  {class:width$}  {percent:5.1} %{spread}  {bar}");
    }
    text += &format!("\n  {}", in_words(answer, classes, (samples, drawn)));
    text += &answer.promised.set_line();
    text += &format!(
        "\n  entropy {:.3} of {:.3} nats, mutual information {:.4}",
        answer.entropy,
        (classes as f64).ln(),
        answer.mutual_information,
    );
    text
}

/// How sure the answer is, and, where anything is drawn, whether the samples agree on that.
fn in_words(answer: &Answer, classes: usize, (samples, drawn): (usize, &str)) -> String {
    let best = &answer.classes[0];
    let class = printable(&best.class);
    if let Some(refusal) = answer.promised.refusal(&class) {
        return refusal;
    }
    let sure = match best.probability {
        p if p >= 0.95 => format!("almost certainly {class}"),
        p if p >= 0.8 => format!("probably {class}"),
        p if p >= 0.5 => format!("more likely {class} than not"),
        p if f64::from(p) >= 2.0 / classes as f64 => format!("unsure, {class} at best"),
        _ => "no idea".into(),
    };
    // The share of the doubt that comes from the gates.
    let share = answer.mutual_information / answer.entropy.max(f32::MIN_POSITIVE);
    match (samples, best.probability) {
        (0 | 1, _) => sure,
        (_, p) if p >= 0.95 => sure,
        _ if share >= 0.25 => format!("{sure}; the {drawn} disagree"),
        _ => format!("{sure}; the {drawn} agree on that"),
    }
}
