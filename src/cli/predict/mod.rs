//! `predict`: what a run says of image files, and how sure it is.

mod answers;
mod stream;
mod words;

use std::path::PathBuf;

use anyhow::Result;
use bayeslora::low_level::predict::{Calibration, Samples};
use clap::Args;
use serde::Serialize;

use self::answers::{Answer, Answering, Way};
use self::stream::Streaming;
use super::class_prior::{ClassPrior, PriorArgs};
use super::context::{self, Bar, Context};
use super::location::Location;
use super::pictures::Pictures;
use super::run::RunArgs;
use super::shard::Shard;
use super::{output, probs_out};

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
    #[command(flatten)]
    prior: PriorArgs,
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
    /// Write the answers to FILE instead, one line per image, as they are made; the same command resumes after a stop. CSV has
    /// the most probable class, JSON lines what --json prints of an image, without the covariance trace
    #[arg(long, value_name = "FILE.csv|FILE.jsonl", conflicts_with = "probs_out")]
    out: Option<PathBuf>,
    /// Answer only part I of N, for several processes with an --out each; an image's path decides its part
    #[arg(long, value_name = "I/N", requires = "out")]
    shard: Option<Shard>,
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
    /// Another balance of the classes than that of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_prior: Option<ClassPrior>,
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

pub fn run(context: &Context, args: &PredictArgs) -> Result<()> {
    args.prior.refuse_temperature(args.temperature)?;
    let probs_out = args.probs_out.as_deref();
    probs_out::check(probs_out)?;
    if let Some(out) = &args.out {
        stream::check(out, args.top)?;
    }
    let run = args.run.open()?;
    let side = run.adapter.resolution;
    let prior = args.prior.of(&run, &Bar::default())?;
    let answering = |wants_trace| {
        // Shared gates: what is said of an image does not depend on the images beside it.
        let samples = Samples {
            shared: true,
            ..Samples::new(args.samples, args.seed)
        };
        Answering::new(
            &context.gpu()?,
            &run,
            samples,
            (args.temperature, prior),
            wants_trace,
        )
    };
    if let Some(out) = &args.out {
        let how = Streaming {
            out,
            shard: args.shard.unwrap_or(Shard::ALL),
            top: args.top,
            skip_bad_images: args.skip_bad_images,
            json: args.json,
        };
        return stream::run(&answering(false)?, &args.images, side, how);
    }
    let mut pictures = Pictures::open(&args.images, side, args.skip_bad_images)?;
    let skipped = std::mem::take(&mut pictures.skipped);
    context::tell_skipped(skipped.len(), skipped.iter().map(|(_, reason)| reason));
    let answering = answering(args.json)?;
    let classes = run.adapter.classes.len();
    let default = if args.json { classes } else { 3 };
    let top = args.top.map_or(default, |top| top as usize);
    let (mut answers, mut probabilities) = (Vec::new(), Vec::new());
    for chunk in pictures.chunks() {
        let (files, pixels) = chunk?;
        let (rows, found) = answering.answer(files, pixels, top)?;
        answers.extend(rows);
        if probs_out.is_some() {
            probabilities.extend(found);
        }
    }
    let Way {
        samples,
        seed,
        temperature,
        class_prior,
        calibration,
        ..
    } = answering.way;
    let report = Report {
        samples: samples.max(run.members.len()),
        drawn: if run.members.is_empty() {
            "samples"
        } else {
            "members"
        },
        seed,
        temperature,
        class_prior,
        calibration,
        skipped: skipped.into_iter().map(Skipped::from).collect(),
        images: answers,
    };
    match args.json {
        true => output::json(&report)?,
        false => output::text(&words::describe(&report, classes))?,
    }
    probs_out::write(probs_out, classes, &probabilities)
}
