//! `score`: judge predictions that any program has written as `.npy`.

use std::path::PathBuf;

use anyhow::Context;
use bayeslora::low_level::formats::npy;
use bayeslora::low_level::metrics::{Predictions, SampledProbabilities, evaluate};
use clap::Args;

use super::{output, tables};

/// Score predicted probabilities against labels
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Probabilities, .npy, [n, classes] or [samples, n, classes]; samples are averaged
    #[arg(long, value_name = "P.npy")]
    pub probs: PathBuf,
    /// Labels, .npy, [n], integers from 0
    #[arg(long, value_name = "L.npy")]
    pub labels: PathBuf,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Reads both files, scores them and prints to standard output.
///
/// # Errors
/// If a file cannot be read or the two do not make valid predictions; all are bad input.
pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let file = npy::read_probabilities(&args.probs)?;
    let labels = npy::read_labels(&args.labels)?;
    let in_files = || format!("{} with {}", args.probs.display(), args.labels.display());

    let sampled =
        SampledProbabilities::new(&file.values, file.samples, file.examples, file.classes)
            .with_context(in_files)?;
    let mean = sampled.mean();
    let predictions = Predictions::new(&mean, &labels, file.classes).with_context(in_files)?;
    let evaluation = evaluate(&predictions, Some(&sampled.mutual_information()));

    if args.json {
        return output::json(&evaluation);
    }
    output::text(&format!(
        "{} examples, {} classes, {} sample(s)\n{}",
        evaluation.n,
        file.classes,
        file.samples,
        tables::scores((&predictions, &evaluation), None)
    ))
}
