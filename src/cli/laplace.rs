//! `laplace`: a Laplace approximation around a run's mean weights, and its scores on a test set.

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::formats::LayerAdapter;
use bayeslora::low_level::metrics::Predictions;
use bayeslora::low_level::predict::laplace::{
    Fitted, Laplace, LaplaceConfig, LaplaceStage, LaplaceStructure, Link, PriorPrecision, Wanted,
};
use bayeslora::low_level::predict::{Evaluated, Predictor, Samples, Source};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::context::{Bar, Context};
use super::output::{self, Unkept};
use super::run::{Run, RunArgs};
use super::test_set::{ScoredOn, TestArgs};
use super::train_options::name;
use super::{eval, tables};

/// Of the logits, unasked.
const DRAWS: usize = 64;

#[derive(Args)]
pub struct LaplaceArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The parameters that the posterior is over (the head, A and B, or the gates) and the shape of
    /// its covariance
    #[arg(
        long,
        value_parser = name::<LaplaceStructure>,
        value_name = "last-layer-full|last-layer-kron|adapter-diag|adapter-kron|gates"
    )]
    structure: LaplaceStructure,
    /// Precision of the Gaussian prior: the one with the highest marginal likelihood, the best on the run's validation
    /// split, or a number [default: marglik; validation for gates, whose evidence has no maximum]
    #[arg(long, value_name = "marglik|validation|NUMBER")]
    prior_precision: Option<PriorPrecision>,
    /// Training images that the curvature is estimated on (scaled to all of them), and the most validation images
    /// to use [default: all for the head, else 1000]
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// How the Gaussian of the linearised logits becomes probabilities
    #[arg(long, value_enum, default_value_t)]
    predictive: Predictive,
    /// Draws of the logits, with --predictive mc [default: 64]
    #[arg(long, value_name = "S")]
    samples: Option<usize>,
    /// With a posterior of the head: average its predictive over this many draws of the adapter's gates, instead of the
    /// mean weights alone
    #[arg(long, value_name = "S")]
    gate_samples: Option<usize>,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    test: TestArgs,
    /// Go on even if training or validation images were removed, added or changed, with those still there
    #[arg(long)]
    with_changed_data: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Predictive {
    #[default]
    Probit,
    Mc,
}

/// What `RUN/laplace/STRUCTURE.json` holds too.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    fitted: Fitted,
    predictive: Link,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_samples: Option<usize>,
    #[serde(flatten)]
    evaluated: Evaluated,
    scored_on: ScoredOn,
}

pub fn run(context: &Context, args: &LaplaceArgs) -> Result<()> {
    let run = args.run.open()?;
    refuse_draws(args, &run)?;
    run.refuse_ensemble("`laplace`")?;
    let dir = run.lock()?;
    let bar = Bar::default();
    let config = config(args);
    let size = run.adapter.resolution;
    let (test, scored_on) = args.test.open(&run, &bar)?;
    let (train, validation) = training_sets(args, &run, config.precision, &bar)?;
    let gpu = context.gpu()?;
    // Around the mean weights: of mixed gates' latent ranks nothing is wanted but their draws.
    let mean = run.adapter.mean();
    let adapter = match args.gate_samples {
        Some(_) => &run.adapter,
        None => &mean,
    };
    let predictor = Predictor::new(&gpu, &run.backbone, adapter)?;
    let mut observe = |stage, done, total| {
        let message = match stage {
            LaplaceStage::Fitting => "summing the curvature",
            LaplaceStage::Decomposing => "its eigenvectors",
            LaplaceStage::Choosing => "choosing the precision",
            LaplaceStage::Predicting => "evaluating",
        };
        bar.show(message, done, total);
    };
    let train = Source::images(train, size);
    let validation = validation.map(|dataset| Source::images(dataset, size));
    let laplace = Laplace::fit(
        &predictor,
        &train,
        validation.as_ref(),
        config,
        &mut observe,
    )?;
    let source = Source::images(test, size);
    let report = Report {
        fitted: laplace.fitted(),
        predictive: config.link,
        gate_samples: args.gate_samples,
        evaluated: match args.gate_samples {
            Some(count) => {
                let draws = Samples::new(count, args.seed);
                laplace.evaluate_over_gates(&source, draws, &mut observe)?
            }
            None => laplace.evaluate(&source, &mut observe)?,
        },
        scored_on,
    };
    warn(&report.fitted);
    match args.json {
        true => output::json(&report)?,
        false => output::text(&describe(&source.dataset, &report)?)?,
    }
    let written = dir.and_then(|dir| dir.write_laplace(config.structure.name(), &report));
    let path = written.context(Unkept("the scores could not be kept".into()))?;
    match args.json {
        true => Ok(()),
        false => output::text(&format!("\nwritten to {}", path.display())),
    }
}

/// Refuses draws of gates that there are none of, or whose Jacobians the posterior would need.
fn refuse_draws(args: &LaplaceArgs, run: &Run) -> Result<()> {
    if let (Some(count), Predictive::Probit) = (args.samples, args.predictive) {
        bail!(
            "--samples is {count}, but nothing is drawn with --predictive probit; take --predictive mc, or leave it out"
        );
    }
    let Some(count) = args.gate_samples else {
        return Ok(());
    };
    ensure!(
        args.structure.wanted() == Wanted::Features,
        "--gate-samples is {count}, but with --structure {} nothing is averaged over gates: for a posterior of the head take \
         last-layer-full or last-layer-kron",
        args.structure.name()
    );
    let layers = run.adapter.layers.iter();
    let ranks: usize = layers.clone().map(LayerAdapter::rank).sum();
    ensure!(
        ranks > 0 && layers.clone().all(|layer| layer.log_alpha.is_some()),
        "--gate-samples is {count}, but {} has no gates to draw; leave it out",
        run.dir.path().display()
    );
    Ok(())
}

fn config(args: &LaplaceArgs) -> LaplaceConfig {
    let mut config = LaplaceConfig::new(args.structure);
    config.precision = args.prior_precision.unwrap_or(config.precision);
    config.images = args.images.unwrap_or(config.images);
    config.link = match args.predictive {
        Predictive::Probit => Link::Probit,
        Predictive::Mc => Link::MonteCarlo {
            samples: args.samples.unwrap_or(DRAWS),
            seed: args.seed,
        },
    };
    config
}

/// What the run was trained on, and what it has set aside where the precision is chosen on that.
fn training_sets(
    args: &LaplaceArgs,
    run: &Run,
    precision: PriorPrecision,
    bar: &Bar,
) -> Result<(Dataset, Option<Dataset>)> {
    let chosen = precision == PriorPrecision::Validation;
    ensure!(
        !chosen || run.config.validation > 0.0,
        "--prior-precision validation: the run was trained with --validation 0, so there are no \
         held-out images; take marglik or a number"
    );
    let own = run.own(args.test.own_data(run, bar)?, args.with_changed_data.into())?;
    if !chosen {
        let [train] = own.open([Part::Train], bar)?;
        return Ok((run.align(train)?, None));
    }
    let [train, validation] = own.open([Part::Train, Part::Validation], bar)?;
    Ok((run.align(train)?, Some(run.align(validation)?)))
}

fn warn(fitted: &Fitted) {
    if fitted.at_end_of_range {
        output::note(&format!(
            "warning: the prior precision ran to the end of its range, {:.0e}: {}",
            fitted.delta,
            match fitted.delta > 1.0 {
                true => "the posterior is all but the mean weights",
                false => "the prior is all but flat",
            }
        ));
    }
}

fn describe(test: &Dataset, report: &Report) -> Result<String> {
    let Report {
        fitted,
        predictive,
        gate_samples,
        evaluated,
        scored_on,
    } = report;
    let classes = test.classes.len();
    let predictions = Predictions::from_log_probs(&evaluated.log_probs, &test.labels, classes)?;
    let link = match predictive {
        Link::Probit => "probit".into(),
        Link::MonteCarlo { samples, seed } => {
            format!("{samples} draws of the logits (seed {seed})")
        }
    };
    let link = match gate_samples {
        Some(count) => format!("{link} for each of {count} draws of the gates"),
        None => link,
    };
    let chosen = match fitted.prior_precision {
        PriorPrecision::MarginalLikelihood => "by marginal likelihood",
        PriorPrecision::Validation => "on the validation split",
        PriorPrecision::Fixed(_) => "as given",
    };
    let estimate = match fitted.images < fitted.train_images {
        true => format!(", scaled from {} of them", fitted.images),
        false => String::new(),
    };
    Ok(format!(
        "{}\n{} images, {classes} classes, Laplace {} with {link}, {:.1} s\n\
         prior precision {:.4e} {chosen}, log evidence {:.1}, {:.1} of {} parameters determined\n\
         curvature of {} training images{estimate}\n\
         signed gap {:+.4} (confidence - accuracy)\n{}\n\n{}",
        scored_on.line(),
        evaluated.scores.n,
        fitted.structure.name(),
        evaluated.seconds,
        fitted.delta,
        fitted.log_evidence,
        fitted.effective_parameters,
        fitted.parameters,
        fitted.train_images,
        evaluated.scores.signed_gap,
        tables::scores((&predictions, &evaluated.scores), None),
        eval::class_table(&predictions, &test.classes)
    ))
}
