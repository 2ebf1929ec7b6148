//! The page of one run.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use bayeslora::low_level::data::{Dataset, Identity};
use bayeslora::low_level::formats::{
    Adapter, DataManifest, Digest, LayerAdapter, ManifestImages, Temperature, printable,
};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::metrics::Predictions;
use bayeslora::low_level::predict::{Evaluated, Samples, Source, ties};
use bayeslora::low_level::report::{LayerRanks, RunReport, RunResults, Study};
use bayeslora::low_level::study::is_trained;
use bayeslora::low_level::study::measure::epoch_point;
use bayeslora::low_level::train::kl::soft_effective_rank;
use clap::Args;
use serde_json::Value;

use crate::cli::context::{Bar, Context};
use crate::cli::location::Location;
use crate::cli::run::{self, Run};
use crate::cli::test_set::{ScoredArgs, ScoredOn};
use crate::cli::{environment, output, promised, thumbnails};

/// Images that the page names, of those that were left out because they do not decode.
const NAMED: usize = 20;

const SAMPLES: usize = 8;
const SEED: u64 = 1;

/// How a run is scored for its page.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    scored: ScoredArgs,
    /// The frozen backbone: a file of safetensors or PyTorch, or `embedded` [default: the run's own]
    #[arg(long, value_name = "F", requires = "run")]
    backbone: Option<Location>,
    /// Monte Carlo samples of the gates; 0 uses the mean weights
    #[arg(long, value_name = "S", default_value_t = SAMPLES, requires = "run")]
    samples: usize,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = SEED, requires = "run")]
    seed: u64,
}

impl Options {
    /// Of a run that has just told of its images.
    pub fn after_training() -> Self {
        Self {
            scored: ScoredArgs::quietly(),
            backbone: None,
            samples: SAMPLES,
            seed: SEED,
        }
    }
}

/// Scores the run and writes its page, its figures and its wrong answers.
pub fn report(context: &Context, path: &Path, out: Option<&Path>, options: &Options) -> Result<()> {
    let page = out.map_or_else(|| path.join("report.html"), Path::to_owned);
    let run = run::open(path, options.backbone.as_ref())?;
    output::check_place("--out", &page)?;
    let bar = Bar::default();
    let scored = options.scored.as_trained(&run);
    let (images, scored_on) = scored.open(&run, &bar)?;
    let samples = run.samples(Samples::new(options.samples, options.seed));
    let gpu = context.gpu()?;
    let source = Source::images(images, run.adapter.resolution);
    let (images, total) = (&source.dataset, source.dataset.len());
    let mut progress = |done| bar.show("evaluating", done, total);
    let evaluated = run.evaluate(&gpu, &source, samples, &mut progress)?;
    let accuracy = evaluated.scores.accuracy;
    let results = results(&run, &gpu, samples, images, &scored_on, evaluated)?;
    let report = RunReport::new(&results, &page, |image| {
        anyhow::Ok(thumbnails::square(&images.image(image)?, images.side))
    })?;
    report.write_figures(|done, total| bar.show("drawing figures", done, total))?;
    report.write_page()?;
    output::text(&format!(
        "{}\naccuracy {accuracy:.4}\n{}: {}, in {} as SVG, PNG and CSV too; wrong answers in {}",
        scored_on.line(),
        printable(page.display()),
        super::figures(report.figures()),
        printable(report.figures_dir().display()),
        printable(report.mistakes_file().display()),
    ))
}

fn results(
    run: &Run,
    gpu: &Gpu,
    samples: Samples,
    images: &Dataset,
    scored_on: &ScoredOn,
    evaluated: Evaluated,
) -> Result<RunResults> {
    let (records, doubt) = training(run);
    let mut missing: Vec<String> = doubt.into_iter().collect();
    let temperature = match Temperature::load_all(run.fitted_dir(), &run.sha256()?) {
        Ok(all) => all.into_iter().find(|one| one.samples == samples.count),
        Err(error) => {
            missing.push(format!("The temperature cannot be used: {error}."));
            None
        }
    };
    let calibration = match promised::load(run, (samples.count, samples.seed))? {
        Ok(calibration) => calibration,
        Err(doubt) => {
            missing.push(doubt);
            None
        }
    };
    for doubt in &missing {
        output::note(&format!("warning: {doubt}"));
    }
    // Said when the images were opened.
    missing.extend(scored_on.doubt().map(|doubt| format!("{doubt}.")));
    let classes = run.adapter.classes.len();
    let calibration = match calibration {
        None => None,
        Some(calibration) => {
            let predictions =
                Predictions::from_log_probs(&evaluated.log_probs, &images.labels, classes)?;
            let held = calibration.held(&predictions, &ties(images)?);
            Some((calibration, held))
        }
    };
    Ok(RunResults {
        name: name(run),
        method: run.config.method.title().to_owned(),
        family: run.config.method.name().to_owned(),
        about: about(run, gpu, images.len())?,
        scored_on: scored_on.images_seen_from_here(),
        samples: match (run.members.len(), samples.count) {
            (0, 0) => "the mean weights".into(),
            (0, count) => format!(
                "{count} samples of the gates, drawn for each image anew (seed {})",
                samples.seed
            ),
            (members, _) => format!("{members} members"),
        },
        labels: images.labels.clone(),
        log_probs: evaluated.log_probs,
        mutual_information: evaluated.mutual_information,
        places: places(images),
        temperature,
        calibration,
        layers: layers(run),
        training: records
            .iter()
            .map(|record| epoch_point(record["epoch"].as_u64().unwrap_or(0) as usize, &[record]))
            .collect(),
        left_out: left_out(run, images, scored_on),
        missing,
    })
}

/// The epochs of a run, and what is to be said of them.
fn training(run: &Run) -> (Vec<Value>, Option<String>) {
    const WITHOUT: &str = "the page has no training curves";
    let records = match run.dir.read_metrics() {
        Ok(records) => records,
        Err(error) => return (Vec::new(), Some(format!("{error}; {WITHOUT}."))),
    };
    let is_next = |(place, record): (usize, &Value)| record["epoch"] == place + 1;
    if !records.iter().enumerate().all(is_next) {
        let doubt = format!("metrics.jsonl: the lines of some epochs are not there; {WITHOUT}.");
        return (Vec::new(), Some(doubt));
    }
    // A run that was pruned or imported has no checkpoint.
    let trained = run.dir.read_checkpoint();
    let trained = trained.map_or(0, |(checkpoint, _)| checkpoint.epoch);
    let (told, of) = (records.len(), run.config.epochs);
    let doubt = if told < trained {
        Some(format!(
            "metrics.jsonl has {told} of the {trained} epochs that were trained: it was cut or removed; put back a copy of it to see \
             the others."
        ))
    } else if told > 0 && !is_trained(&run.config, &records) {
        Some(format!("Training has done {told} of {of} epochs."))
    } else {
        None
    };
    (records, doubt)
}

/// That of its directory, however it was named.
fn name(run: &Run) -> String {
    let path = run.dir.path();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or(path.as_os_str());
    printable(name.display())
}

fn about(run: &Run, gpu: &Gpu, scored: usize) -> Result<Study> {
    let trained = run.dir.read_environment()?;
    let text = |name: &str| trained[name].as_str().map(printable);
    let program = |version: String| format!("bayeslora {version}");
    let now = program(env!("CARGO_PKG_VERSION").into());
    let machine = match (text("adapter"), text("driver_info"), text("system")) {
        (Some(adapter), Some(driver), Some(system)) => {
            Some(format!("trained on {adapter} ({driver}), {system}"))
        }
        _ => None,
    };
    let here = format!("scored on {}", environment::adapter_line(gpu));
    let images = |part: fn(&DataManifest) -> &ManifestImages| {
        run.data.as_ref().map_or(0, |data| part(data).len())
    };
    Ok(Study {
        commands: text("command")
            .into_iter()
            .chain([printable(environment::command())])
            .map(|command| without_way(&command))
            .collect(),
        program: match text("bayeslora").map(program) {
            Some(then) if then != now => format!("{then} trained it, {now} scored it"),
            _ => now,
        },
        environments: machine.into_iter().chain([here]).collect(),
        date: environment::today(),
        backbone: format!(
            "backbone {}{}",
            run.inputs.backbone.seen_from_here(),
            match run.config.backbone_bits.is_full() {
                true => String::new(),
                false => format!(" with weights of {} bits", run.config.backbone_bits),
            }
        ),
        data: run.inputs.data.seen_from_here(),
        classes: run.adapter.classes.clone(),
        train_images: images(|data| &data.train),
        validation_images: images(|data| &data.validation),
        test_images: scored,
        resolution: run.adapter.resolution,
        epochs: run.config.epochs,
        ..Study::default()
    })
}

/// A command line, its program by name alone.
fn without_way(command: &str) -> String {
    let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
    let name = Path::new(program).file_name().unwrap_or_default();
    format!("{} {rest}", name.display())
}

/// A file's path below the set's directory, or its place in the arrays.
fn places(images: &Dataset) -> Vec<String> {
    match images.listed() {
        ManifestImages::Files(files) => files.into_iter().map(|file| file.path).collect(),
        ManifestImages::Indexed { .. } => (0..images.len())
            .map(|image| match images.identity(image) {
                Identity::Indexed { index, .. } => format!("image {index}"),
                Identity::Content(content) => content.to_string(),
            })
            .collect(),
    }
}

/// By layer, of all members together.
fn layers(run: &Run) -> Vec<LayerRanks> {
    if run.config.rank == 0 {
        // The head alone is trained; files have the layers all the same.
        return Vec::new();
    }
    let one = [run.adapter.clone()];
    let adapters = match run.members.is_empty() {
        true => &one[..],
        false => &run.members,
    };
    let of = |adapter: &Adapter, layer: &LayerAdapter| LayerRanks {
        name: layer.name.clone(),
        initial: adapter.initial_rank,
        left: layer.rank(),
        effective: match layer.gate_log_variances(adapter.gates) {
            Some(log_alpha) => {
                let log_alpha: Vec<f64> = log_alpha.into_iter().map(f64::from).collect();
                soft_effective_rank(&log_alpha)
            }
            None => layer.rank() as f64,
        },
    };
    let mut all: Vec<LayerRanks> = Vec::new();
    for adapter in adapters {
        for layer in &adapter.layers {
            let ranks = of(adapter, layer);
            match all.iter_mut().find(|known| known.name == ranks.name) {
                None => all.push(ranks),
                Some(known) => {
                    known.initial += ranks.initial;
                    known.left += ranks.left;
                    known.effective += ranks.effective;
                }
            }
        }
    }
    all
}

/// What is known of images that were not used.
fn left_out(run: &Run, images: &Dataset, scored_on: &ScoredOn) -> Vec<String> {
    let mut items: Vec<String> = images.notes.iter().map(printable).collect();
    for skipped in images.skipped.iter().take(NAMED) {
        let place: Location = skipped.path.clone().into();
        let (place, reason) = (place.seen_from_here(), printable(&skipped.reason));
        items.push(format!("{place}, which does not decode: {reason}"));
    }
    if let Some(more) = images.skipped.len().checked_sub(NAMED + 1) {
        items.push(format!("{} more that do not decode", more + 1));
    }
    items.extend(scored_on.left_out());
    let Some(data) = &run.data else {
        items.push(
            "Nothing says which images the run was trained on: any of them may be scored here."
                .into(),
        );
        return items;
    };
    if !data.skipped.is_empty() {
        items.push(format!(
            "at training, {} that did not decode",
            match data.skipped.len() {
                1 => "1 image".to_owned(),
                count => format!("{count} images"),
            }
        ));
    }
    let tested: HashSet<Digest> = match &data.test {
        ManifestImages::Files(files) => files.iter().map(|file| file.content).collect(),
        ManifestImages::Indexed { .. } => HashSet::new(),
    };
    let near = data.near_copies.iter();
    match near.filter(|copy| !tested.contains(copy)).count() {
        0 => {}
        1 => items.push("1 test image that nearly repeats a training image".into()),
        count => items.push(format!(
            "{count} test images that nearly repeat training images"
        )),
    }
    if data.is_limited {
        items.push("at training, images above --limit-train or --limit-test".into());
    }
    let trained_without = printable(data.held_out_classes.join(", "));
    if !trained_without.is_empty() {
        items.push(format!("at training, the classes {trained_without}"));
    }
    items
}
