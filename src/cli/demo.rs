//! `bayeslora demo`: LoRA and BayesLoRA side by side on the embedded images.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Claim, RunDir};
use bayeslora::low_level::metrics::entropy;
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::predict::Evaluated;
use bayeslora::low_level::train::{self, Method, TrainConfig, Trainer};
use clap::Args;
use image::RgbImage;
use serde::Serialize;
use serde_json::json;

use super::context::{Bar, Context};
use super::epochs::{Subject, run_epochs, start, tell};
use super::run_images::RunImages;
use super::train::{TestResults, test_results, test_source};
use super::train_options::Inputs;
use super::{environment, output, thumbnails};

/// Training images on a software adapter, where all of the sample would take too long.
const SOFTWARE_IMAGES: usize = 2_000;

/// Images shown that the model is least sure of.
const SHOWN: usize = 5;

#[derive(Args)]
pub struct DemoArgs {
    /// The directory to write [default: the first free one of runs/demo-1, runs/demo-2, ...]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object per epoch, then one with the scores of both methods
    #[arg(long)]
    json: bool,
}

pub fn run(context: &Context, args: &DemoArgs) -> Result<()> {
    let gpu = context.tuned_gpu()?;
    let say = |line: String| match args.json {
        true => Ok(()),
        false => output::text(&line),
    };
    say(format!("adapter   {}", environment::adapter_line(&gpu)))?;
    let out = args.out.clone().unwrap_or_else(free_directory);
    let inputs = Inputs {
        data: "sample".into(),
        limit_train: gpu.is_software().then_some(SOFTWARE_IMAGES),
        ..Inputs::default()
    };
    let bar = Bar::default();
    let config = TrainConfig::default();
    let images = RunImages::draw(&inputs, &config, None, &bar)?;
    let backbone = Backbone::embedded()?;
    let data = images.record(&inputs, &backbone);
    let RunImages {
        train,
        validation,
        test: test_images,
        ..
    } = images;
    say(format!(
        "data      {} CIFAR-10 images to train on, {} to watch, {} to test",
        train.len(),
        validation.as_ref().map_or(0, Dataset::len),
        test_images.len()
    ))?;
    say("model     ResNet-18 trained on CIFAR-100 and Tiny-ImageNet, frozen".into())?;

    let mut observe = context.observer();
    let prepared = train::prepare(&gpu, &backbone, &config, train, validation, &mut observe)?;
    let subject = Subject {
        inputs: &inputs,
        data: &data,
        other_images: false,
    };
    let mut rows = Vec::new();
    let mut test = None;
    let methods = [
        (Method::Lora, "rank 8 in every layer, no gates"),
        (Method::BayesLora, "the same with a gate on every rank"),
    ];
    for (method, what) in methods {
        say(format!("\n{}: {what}", method.title()))?;
        let config = TrainConfig {
            method,
            ..config.clone()
        };
        let mut trainer = Trainer::over(prepared.clone(), &backbone, config)?;
        let place = Claim::take(out.join(method.name()))?;
        let run = start(place, subject, &trainer)?;
        run_epochs(context, &run, &mut trainer, tell(args.json, None)?)?;
        if context.interrupted() {
            output::note(&format!(
                "stopped; what was trained is in {}",
                run.path().display()
            ));
            return Ok(());
        }
        let test = match &test {
            Some(test) => test,
            None => test.insert(test_source(&trainer, test_images.clone(), &mut observe)?),
        };
        let results = test_results(&trainer, test, &mut observe)?;
        results.keep(&run)?;
        rows.push(Row::new(method, results, &run)?);
    }
    let test = test.expect("set by the first method");
    let bayes = &rows[rows.len() - 1].scores;
    let least_sure = least_sure(bayes, &test.dataset);
    let strip = write_least_sure(&least_sure, &test.dataset, &out)?;
    let examples = write_examples(&test.dataset, &out)?;
    let run = out.join(Method::BayesLora.name());
    if args.json {
        return output::json(&json!({ "out": out, "methods": rows, "least_sure": least_sure }));
    }
    output::text(&format!(
        "\non {} test images, 8 gate samples (LoRA has none to draw)",
        test_images.len()
    ))?;
    print_table(&rows)?;
    output::text(&format!(
        "\nBayesLoRA is least sure of these ({}):",
        strip.display()
    ))?;
    print_least_sure(bayes, &least_sure, &test.dataset)?;
    let (run, examples) = (run.display(), examples.display());
    output::text(&format!("\nwritten to {}; now try", out.display()))?;
    output::text(&format!("  bayeslora predict --run {run} {examples}"))?;
    output::text(&format!(
        "  bayeslora eval --run {run} --data sample --samples 32"
    ))
}

fn free_directory() -> PathBuf {
    (1..)
        .map(|number| PathBuf::from(format!("runs/demo-{number}")))
        .find(|path| !path.exists())
        .expect("numbers do not run out")
}

/// A method's line of the table.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    #[serde(flatten)]
    scores: Evaluated,
    images_per_second: f64,
}

impl Row {
    fn new(method: Method, results: TestResults, run: &RunDir) -> Result<Self> {
        let speeds: Vec<f64> = run
            .read_metrics()?
            .iter()
            .filter_map(|line| line["images_per_second"].as_f64())
            .collect();
        Ok(Self {
            name: method.title(),
            scores: results.samples_8.unwrap_or(results.mean),
            images_per_second: speeds.iter().sum::<f64>() / speeds.len() as f64,
        })
    }
}

fn print_table(rows: &[Row]) -> Result<()> {
    output::text(&format!(
        "\n{:<10} {:>8} {:>7} {:>7} {:>10} {:>6} {:>11} {:>14}",
        "", "accuracy", "NLL", "ECE", "eff. rank", "ranks", "parameters", "train images/s"
    ))?;
    for Row {
        name,
        scores: all,
        images_per_second,
    } in rows
    {
        let scores = &all.scores;
        output::text(&format!(
            "{name:<10} {:>8.4} {:>7.4} {:>7.4} {:>10.1} {:>6} {:>11} {images_per_second:>14.0}",
            scores.accuracy,
            scores.nll,
            scores.ece,
            all.effective_rank,
            all.rank_count,
            all.adapter_parameters,
        ))?;
    }
    Ok(())
}

/// The test images whose predictive has the largest entropy, by their numbers.
fn least_sure(scores: &Evaluated, test: &Dataset) -> Vec<usize> {
    let entropies: Vec<f64> = (0..test.len())
        .map(|index| entropy(&probabilities(scores, test, index)))
        .collect();
    let mut order: Vec<usize> = (0..test.len()).collect();
    order.sort_by(|a, b| entropies[*b].total_cmp(&entropies[*a]));
    order.truncate(SHOWN);
    order
}

/// The predictive of one test image.
fn probabilities(scores: &Evaluated, test: &Dataset, index: usize) -> Vec<f32> {
    let classes = test.classes.len();
    let row = &scores.log_probs[index * classes..][..classes];
    row.iter().map(|value| value.exp()).collect()
}

fn pictures(indices: &[usize], test: &Dataset) -> Result<Vec<RgbImage>> {
    let picture = |index: &usize| Ok(thumbnails::square(&test.image(*index)?, test.side));
    indices.iter().map(picture).collect()
}

fn write_least_sure(indices: &[usize], test: &Dataset, out: &Path) -> Result<PathBuf> {
    let path = out.join("least-sure.png");
    thumbnails::write_strip(&pictures(indices, test)?, &path)?;
    Ok(path)
}

fn print_least_sure(scores: &Evaluated, indices: &[usize], test: &Dataset) -> Result<()> {
    if std::io::stdout().is_terminal() {
        output::text(thumbnails::terminal(&pictures(indices, test)?).trim_end())?;
    }
    for &index in indices {
        let probs = probabilities(scores, test, index);
        let mut ranked: Vec<usize> = (0..probs.len()).collect();
        ranked.sort_by(|a, b| probs[*b].total_cmp(&probs[*a]));
        let guess = |place: usize| {
            let class = ranked[place];
            format!("{} {:.0} %", test.classes[class], 100.0 * probs[class])
        };
        output::text(&format!(
            "  test image {index:<5} {:<11} guesses {}, {}, {}; entropy {:.2} of {:.2} nats",
            test.classes[test.labels[index] as usize],
            guess(0),
            guess(1),
            guess(2),
            entropy(&probs),
            (probs.len() as f64).ln()
        ))?;
    }
    Ok(())
}

/// A few test images as files, to try `predict` on.
fn write_examples(test: &Dataset, out: &Path) -> Result<PathBuf> {
    let directory = out.join("images");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for index in 0..test.classes.len() {
        let class = &test.classes[test.labels[index] as usize];
        let path = directory.join(format!("{class}.png"));
        let image = thumbnails::square(&test.image(index)?, test.side);
        image
            .save(&path)
            .with_context(|| path.display().to_string())?;
    }
    Ok(directory)
}
