//! `eval`: the scores of a run on a test set.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Temperature, printable};
use bayeslora::low_level::metrics::{Confusion, Evaluation, Predictions, TEMPERATURE_RANGE};
use bayeslora::low_level::predict::{
    Ensemble, Evaluated, Predictive, Predictor, Samples, Source, evaluate, evaluate_under, ties,
};
use clap::Args;
use serde::Serialize;

use super::class_prior::{ClassPrior, PriorArgs};
use super::context::{Bar, Context};
use super::corruption::{Corrupted, CorruptionArgs};
use super::location::Location;
use super::output::{self, Unkept};
use super::promised::{self, Tested};
use super::run::{Run, RunArgs};
use super::test_set::{ScoredOn, TestArgs};
use super::unfamiliar::{self, Look, Unfamiliar};
use super::{ood, probs_out, tables};

#[derive(Args)]
pub struct EvalArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    test: TestArgs,
    /// Monte Carlo samples of the gates; 0 uses the mean weights
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Seed of the samples, and of the random numbers of a corruption
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    corruption: CorruptionArgs,
    #[command(flatten)]
    prior: PriorArgs,
    /// Fit a temperature to the run's validation split, also score with it, and keep it for `predict
    /// --temperature`
    #[arg(long)]
    temperature: bool,
    /// Keep the temperature even if the validation images are too few for one, or are all classified correctly
    #[arg(long, requires = "temperature")]
    force: bool,
    /// Also score how well images of other classes are told from the test images: those in this set whose class the run does not
    /// know
    #[arg(long, value_name = "D", conflicts_with = "corruption")]
    unfamiliar: Option<Location>,
    /// Also write the class probabilities, without temperature and --class-prior, as a NumPy array [images, classes] of f32: a row
    /// for each image that is scored in the order of the set (a folder's classes by name, their files by name), a column for
    /// each class in the order of the run's classes
    #[arg(long, value_name = "P.npy")]
    probs_out: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The scores under their names, those at the temperature in an object of their own.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    evaluated: Evaluated,
    #[serde(flatten)]
    tempered: Option<Tempered>,
    #[serde(flatten)]
    adjusted: Option<Adjusted>,
    #[serde(flatten)]
    corrupted: Option<Corrupted>,
    #[serde(flatten)]
    promised: Option<Tested>,
    scored_on: ScoredOn,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfamiliar: Option<Unfamiliar>,
}

/// What is scored.
struct Test {
    images: Dataset,
    /// Images of other classes.
    unknown: Option<Dataset>,
    scored_on: ScoredOn,
    corrupted: Option<Corrupted>,
    /// Beside that of training.
    prior: Option<ClassPrior>,
}

#[derive(Serialize)]
struct Tempered {
    temperature: Temperature,
    /// Whether `predict --temperature` finds it.
    kept: bool,
    /// The same scores at that temperature.
    tempered: Evaluation,
    #[serde(skip)]
    log_probs: Vec<f32>,
}

/// The same scores under another prior.
#[derive(Serialize)]
struct Adjusted {
    class_prior: ClassPrior,
    adjusted: Evaluation,
    #[serde(skip)]
    log_probs: Vec<f32>,
}

pub fn run(context: &Context, args: &EvalArgs) -> Result<()> {
    args.prior.refuse_temperature(args.temperature)?;
    probs_out::check(args.probs_out.as_deref())?;
    if !args.temperature {
        args.test.refuse_run_data("--temperature")?;
    }
    let run = args.run.open()?;
    let writer = match args.temperature {
        true => Some(run.lock()?),
        false => None,
    };
    let bar = Bar::default();
    let prior = args.prior.of(&run, &bar)?;
    let (test, scored_on) = args.test.open(&run, &bar)?;
    let held_out = match args.temperature {
        true => {
            let own = || args.test.own_data(&run, &bar);
            Some(run.validation("--temperature", own, &bar)?)
        }
        false => None,
    };
    let unknown = args.unfamiliar.as_ref();
    let unknown = unknown.map(|data| unfamiliar::open(data, &run, &args.test, &bar));
    let unknown = unknown.transpose()?;
    let gpu = context.gpu()?;
    let (test, corrupted) = args.corruption.apply(&gpu, test, args.seed, &bar)?;
    let test = Test {
        images: test,
        unknown,
        scored_on,
        corrupted,
        prior,
    };
    let samples = run.samples(Samples::new(args.samples, args.seed));
    let keep = |fitted: &Temperature| {
        let _lock = writer.transpose()?;
        Ok(fitted.save(run.fitted_dir(), &run.sha256()?)?)
    };
    match run.members.is_empty() {
        true => {
            let predictor = Predictor::new(&gpu, &run.backbone, &run.adapter)?;
            let look = match test.unknown {
                None => None,
                Some(_) => Some(Look {
                    predictor: &predictor,
                    head: &run.adapter.head,
                    detector: ood::kept(&run)?,
                }),
            };
            let on = (&predictor, look.as_ref());
            report(args, &run, on, samples, test, held_out, keep)
        }
        false => {
            let ensemble = Ensemble::new(&gpu, &run.backbone, &run.members)?;
            report(args, &run, (&ensemble, None), samples, test, held_out, keep)
        }
    }
}

/// Scores the test set and prints that, at a temperature too where there are held-out images to fit one to.
/// That is kept first, so that what is printed of it is so; the scores are printed even where it cannot be kept.
fn report(
    args: &EvalArgs,
    run: &Run,
    (predictor, look): (&impl Predictive, Option<&Look>),
    samples: Samples,
    test: Test,
    held_out: Option<Dataset>,
    keep: impl FnOnce(&Temperature) -> Result<()>,
) -> Result<()> {
    let bar = Bar::default();
    let score = |source: &Source, message: &str| {
        let total = source.dataset.len();
        let mut progress = |done| bar.show(message, done, total);
        let effective_rank = run.effective_rank();
        evaluate(predictor, source, samples, effective_rank, &mut progress)
    };
    let temperature = match held_out {
        None => None,
        Some(dataset) => {
            let source = Source::images(dataset, run.adapter.resolution);
            let evaluated = score(&source, "fitting the temperature")?;
            let fitted = evaluated.fit_temperature(&source.dataset.labels, samples)?;
            let doubt = doubt(&fitted, evaluated.scores.accuracy);
            let is_trusted = doubt.is_none() || args.force;
            if let Some(doubt) = doubt {
                let kept = match is_trusted {
                    true => "to be kept all the same (--force)",
                    false => "not kept; --force keeps it",
                };
                let temperature = fitted.temperature;
                output::note(&format!(
                    "warning: temperature {temperature:.3}: {doubt}; {kept}"
                ));
            }
            Some((fitted, is_trusted))
        }
    };
    let source = Source::images(test.images, run.adapter.resolution);
    let (evaluated, adjusted) = match test.prior {
        None => (score(&source, "evaluating")?, None),
        Some(class_prior) => {
            let total = source.dataset.len();
            let mut progress = |done| bar.show("evaluating", done, total);
            let (rank, shift) = (run.effective_rank(), &class_prior.shift);
            let [plain, adjusted] =
                evaluate_under(predictor, &source, samples, rank, shift, &mut progress)?;
            let adjusted = Adjusted {
                class_prior,
                adjusted: adjusted.scores,
                log_probs: adjusted.log_probs,
            };
            (plain, Some(adjusted))
        }
    };
    let unfamiliar = match (&args.unfamiliar, test.unknown) {
        (Some(data), Some(unknown)) => {
            let unknown = Source::images(unknown, run.adapter.resolution);
            let of_unknown = score(&unknown, "evaluating unfamiliar images")?;
            let (test, unknown) = ((&source, &evaluated), (&unknown, &of_unknown));
            Some(unfamiliar::compare(data, test, unknown, look, &bar)?)
        }
        _ => None,
    };
    let mut saved = Ok(());
    let tempered = match temperature {
        None => None,
        Some((temperature, is_trusted)) => {
            let labels = &source.dataset.labels;
            let at = evaluated.at_temperature(labels, temperature.temperature)?;
            if is_trusted {
                saved = keep(&temperature);
            }
            Some(Tempered {
                kept: is_trusted && saved.is_ok(),
                temperature,
                tempered: at.scores,
                log_probs: at.log_probs,
            })
        }
    };
    let promised = match promised::kept(run, (samples.count, args.seed))? {
        None => None,
        Some(calibration) => {
            let (dataset, classes) = (&source.dataset, run.adapter.classes.len());
            let predictions =
                Predictions::from_log_probs(&evaluated.log_probs, &dataset.labels, classes)?;
            let held = calibration.held(&predictions, &ties(dataset)?);
            Some(Tested { calibration, held })
        }
    };
    let report = Report {
        promised,
        evaluated,
        tempered,
        adjusted,
        corrupted: test.corrupted,
        scored_on: test.scored_on,
        unfamiliar,
    };
    match args.json {
        true => output::json(&report)?,
        false => output::text(&describe(
            args,
            (run.members.len(), samples),
            &source.dataset,
            &report,
        )?)?,
    }
    if let Some(path) = &args.probs_out {
        let each = report.evaluated.log_probs.iter().map(|value| value.exp());
        let classes = source.dataset.classes.len();
        probs_out::write(Some(path), classes, &each.collect::<Vec<_>>())?;
    }
    saved.context(Unkept("the temperature could not be kept".into()))
}

/// Why a temperature should not be trusted, if it should not: `accuracy` is that on the validation images.
fn doubt(fitted: &Temperature, accuracy: f64) -> Option<String> {
    const IMAGES: usize = 50;
    let (low, high) = TEMPERATURE_RANGE;
    let images = fitted.images;
    if images < IMAGES {
        return Some(format!(
            "{images} validation images are too few to fit one to, expected {IMAGES} at least"
        ));
    }
    if accuracy == 1.0 {
        return Some(format!(
            "all {images} validation images are classified right, so any more confidence fits them better"
        ));
    }
    let inside = (2.0 * low..0.5 * high).contains(&fitted.temperature);
    (!inside).then(|| format!("the fit ran to the end of its range on {images} validation images"))
}

fn describe(
    args: &EvalArgs,
    (members, samples): (usize, Samples),
    test: &Dataset,
    report: &Report,
) -> Result<String> {
    let classes = test.classes.len();
    let Report {
        evaluated,
        tempered,
        adjusted,
        corrupted,
        promised,
        scored_on,
        unfamiliar,
    } = report;
    let read = |log_probs| Predictions::from_log_probs(log_probs, &test.labels, classes);
    let predictions = read(&evaluated.log_probs)?;
    let other: Option<([String; 2], &Evaluation, &[f32])> = match (tempered, adjusted) {
        (Some(at), _) => {
            let Temperature { temperature, .. } = at.temperature;
            let titles = ["T = 1".into(), format!("T = {temperature:.3}")];
            Some((titles, &at.tempered, &at.log_probs))
        }
        (None, Some(under)) => {
            let titles = ["as trained", "class prior"].map(str::to_owned);
            Some((titles, &under.adjusted, &under.log_probs))
        }
        (None, None) => None,
    };
    let of_other = match &other {
        None => None,
        Some((_, _, log_probs)) => Some(read(log_probs)?),
    };
    let beside = other.zip(of_other.as_ref());
    let beside = beside.map(|((titles, scores, _), predictions)| tables::Beside {
        titles,
        scored: (predictions, scores),
    });
    let samples = match (members, samples.count) {
        (0, 0) if args.samples > 0 => "mean weights (the run has nothing to draw)".into(),
        (0, 0) => "mean weights".into(),
        (0, count) => format!("{count} samples (seed {})", args.seed),
        (members, _) => format!("{members} members"),
    };
    let fitted = tempered.as_ref().map_or(String::new(), |tempered| {
        let Temperature {
            temperature,
            images,
            nll_before,
            nll_after,
            ..
        } = tempered.temperature;
        format!(
            "\ntemperature {temperature:.3} from {images} validation images, NLL there \
             {nll_before:.4} -> {nll_after:.4}; {}",
            match tempered.kept {
                true => "kept for `predict --temperature`",
                false => "not kept",
            }
        )
    });
    let prior = adjusted.as_ref().map_or(String::new(), |adjusted| {
        let counts = test.class_counts();
        format!("\n{}", adjusted.class_prior.in_words(Some(&counts)))
    });
    let corrupted = corrupted.as_ref();
    let corrupted = corrupted.map_or(String::new(), |corrupted| format!(", {corrupted}"));
    Ok(format!(
        "{}\n{} images{corrupted}, {classes} classes, {samples}, {:.1} s\n{} ranks, effective rank {:.1}, {} \
         adapter parameters{fitted}{prior}{}\n{}\n\n{}{}",
        scored_on.line(),
        evaluated.scores.n,
        evaluated.seconds,
        evaluated.rank_count,
        evaluated.effective_rank,
        evaluated.adapter_parameters,
        promised.as_ref().map_or(String::new(), Tested::in_words),
        tables::scores((&predictions, &evaluated.scores), beside),
        class_table(&predictions, &test.classes),
        unfamiliar
            .as_ref()
            .map_or(String::new(), |found| format!("\n\n{}", found.in_words()))
    ))
}

/// Accuracy by class and what each is mistaken for, the worst first where there are many.
pub fn class_table(predictions: &Predictions, names: &[String]) -> String {
    const SHOWN: usize = 20;
    const WORST: usize = 10;
    let confusion = Confusion::of(predictions);
    let accuracy = |class: usize| confusion.rate(class, class);
    let mut order: Vec<usize> = (0..names.len())
        .filter(|class| confusion.images(*class) > 0)
        .collect();
    let many = order.len() > SHOWN;
    if many {
        order.sort_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b)));
        order.truncate(WORST);
    }
    let header = ["class", "images", "accuracy", "most often mistaken for"];
    let mut table = tables::new(&header, &[1, 2]);
    for class in order {
        let mistaken = match confusion.most_mistaken_for(class) {
            None => String::new(),
            Some((other, count)) => format!("{} ({count})", printable(&names[other])),
        };
        table.add_row([
            printable(&names[class]),
            confusion.images(class).to_string(),
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
