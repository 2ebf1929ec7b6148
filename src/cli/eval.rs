//! `eval`: the scores of a run on a test set.

use anyhow::{Context as _, Result};
use bayeslora::data::{self, Dataset, OpenOptions};
use bayeslora::metrics::Predictions;
use bayeslora::predict::{Evaluated, Predictor, Samples, Source, evaluate};
use clap::Args;

use super::context::{self, Bar, Context};
use super::run::RunArgs;
use super::{output, tables};

#[derive(Args)]
pub struct EvalArgs {
    #[command(flatten)]
    run: RunArgs,
    /// `sample`, a directory in CIFAR-10's or CIFAR-100's binary layout or with MNIST's IDX files, or a
    /// folder of class folders
    #[arg(long, value_name = "D")]
    data: String,
    /// Monte Carlo samples of the gates; 0 takes the mean weights
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Use so many test images, as many of each class
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Leave out images that do not decode instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

pub fn run(context: &Context, args: &EvalArgs) -> Result<()> {
    let run = args.run.open()?;
    let bar = Bar::default();
    let options = OpenOptions {
        side: run.adapter.resolution,
        skip_bad_images: args.skip_bad_images,
        limit_test: args.limit_test,
        progress: Some(&|done, total| bar.show("reading images", done, total)),
        ..Default::default()
    };
    let mut test = data::open_test(&args.data, &options).context("--data")?;
    context::report_skipped(&test);
    run.align(&mut test, &args.data)?;
    let gpu = context.gpu()?;
    let predictor = Predictor::new(&gpu, &run.backbone, &run.adapter)?;
    let total = test.len();
    let source = Source::images(test, run.adapter.resolution);
    let evaluated = evaluate(
        &predictor,
        &source,
        Samples::new(args.samples, args.seed),
        run.effective_rank(),
        &mut |done| bar.show("evaluating", done, total),
    )?;
    match args.json {
        true => output::json(&evaluated),
        false => output::text(&describe(args, &source.dataset, &evaluated)?),
    }
}

fn describe(args: &EvalArgs, test: &Dataset, evaluated: &Evaluated) -> Result<String> {
    let classes = test.classes.len();
    let predictions = Predictions::from_log_probs(&evaluated.log_probs, &test.labels, classes)?;
    let samples = match args.samples {
        0 => "mean weights".into(),
        count => format!("{count} gate samples (seed {})", args.seed),
    };
    Ok(format!(
        "{} images, {classes} classes, {samples}, {:.1} s\n{} ranks, effective rank {:.1}, {} \
         adapter parameters\n{}\n\n{}",
        evaluated.scores.n,
        evaluated.seconds,
        evaluated.rank_count,
        evaluated.effective_rank,
        evaluated.adapter_parameters,
        tables::scores(&predictions, &evaluated.scores),
        class_table(&predictions, &test.classes)
    ))
}

/// Accuracy by class and what each is mistaken for, the worst first where there are many.
fn class_table(predictions: &Predictions, names: &[String]) -> String {
    const SHOWN: usize = 20;
    const WORST: usize = 10;
    let classes = names.len();
    // [label, answer]
    let mut counts = vec![vec![0usize; classes]; classes];
    for (row, label) in predictions.rows().zip(predictions.labels()) {
        let best = (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        counts[*label as usize][best] += 1;
    }
    let images = |class: usize| counts[class].iter().sum::<usize>();
    let accuracy = |class: usize| counts[class][class] as f64 / images(class) as f64;
    let mut order: Vec<usize> = (0..classes).filter(|class| images(*class) > 0).collect();
    let many = order.len() > SHOWN;
    if many {
        order.sort_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b)));
        order.truncate(WORST);
    }
    let header = ["class", "images", "accuracy", "most often mistaken for"];
    let mut table = tables::new(&header, &[1, 2]);
    for class in order {
        let others = (0..classes).filter(|other| *other != class);
        let (count, other) = others
            .map(|other| (counts[class][other], std::cmp::Reverse(other)))
            .max()
            .map_or((0, 0), |(count, other)| (count, other.0));
        let mistaken = match count {
            0 => String::new(),
            _ => format!("{} ({count})", names[other]),
        };
        table.add_row([
            names[class].clone(),
            images(class).to_string(),
            format!("{:.3}", accuracy(class)),
            mistaken,
        ]);
    }
    let title = match many {
        true => format!("the {WORST} classes with the lowest accuracy\n"),
        false => String::new(),
    };
    format!("{title}{}", table.trim_fmt())
}
