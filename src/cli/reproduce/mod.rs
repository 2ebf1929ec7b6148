//! `reproduce`: the paper's comparison, from training to the report.

mod cuts;
mod features;
mod jobs;
mod laplace;
mod merge;
mod options;
mod sets;
mod timing;
mod workshop;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::RunDir;
use bayeslora::low_level::metrics::log_mean_exp;
use bayeslora::low_level::report::{RESULTS_FILE, Report, Results};
use bayeslora::low_level::study::measure::{Material, measure};
use bayeslora::low_level::study::{
    Chosen, KappaBy, Place, RunSpec, SAMPLES, Settings, Stored, candidates_of, decay_candidates,
    default_multiplicity, lowest, runs,
};
use bayeslora::low_level::train::kl::KlMultiplicity;
use clap::Args;

use super::context::{Bar, Context};
use super::shard::Shard;
use super::{output, tables};
use options::Options;
use workshop::Workshop;

#[derive(Args)]
pub struct ReproduceArgs {
    #[command(flatten)]
    options: options::Arguments,
    /// Do only every n-th run from the i-th on, as one of n jobs; `--merge` joins their results
    #[arg(long, value_name = "i/n", conflicts_with = "merge")]
    shard: Option<Shard>,
    /// First copy the runs in these directories, which --shard has written
    #[arg(long, value_name = "DIR", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// Only time, score and report the runs that are there; train and predict nothing more
    #[arg(long, conflicts_with = "shard")]
    score_only: bool,
}

pub fn run(context: &Context, args: &ReproduceArgs) -> Result<()> {
    let (mut options, _lock) = Options::settle(&args.options)?;
    for other in &args.merge {
        options.join(other)?;
    }
    let mut places = Vec::new();
    for (folder, settings) in options.scale.parts() {
        let within = |place: &Path| match &folder {
            Some(folder) => place.join(folder),
            None => place.to_owned(),
        };
        let place = within(&options.out);
        for other in &args.merge {
            merge::take_runs(&within(other), &place)?;
        }
        if folder.is_some() {
            output::text(&format!("\n{}", place.display()))?;
            if args.score_only && !place.join("runs").exists() {
                output::text("not begun: left out of the report")?;
                continue;
            }
        }
        let workshop = Workshop::open(context, options.clone(), place.clone(), settings)?;
        if !one_study(workshop, args)? {
            return Ok(());
        }
        places.push(place);
    }
    if args.shard.is_some() {
        let out = options.out.display();
        return output::text(&format!(
            "\nthis shard is done; `bayeslora reproduce --out DIR --merge {out} ...` joins it"
        ));
    }
    ensure!(
        !places.is_empty(),
        "--score-only: there is nothing in {} yet; start the study without it",
        options.out.display()
    );
    let report = Report::read(&places)?;
    let bar = Bar::default();
    report.write_figures(|done, total| bar.show("drawing figures", done, total))?;
    let page = options.out.join("report.html");
    report.write_page(&page)?;
    let results = places.iter().map(|place| place.join(RESULTS_FILE));
    let results: Vec<_> = results.map(|path| path.display().to_string()).collect();
    output::text(&format!("\n{} and {}", results.join(", "), page.display()))
}

/// Trains, predicts and scores. False where Ctrl-C stopped it.
fn one_study(mut workshop: Workshop, args: &ReproduceArgs) -> Result<bool> {
    let settings = *workshop.settings();
    let all = Shard::ALL;
    // Every shard needs the answer, and the same seeds give every shard the same one.
    let candidates = candidates_of(&settings, workshop.train_images());
    workshop.check_images(&candidates)?;
    if !args.score_only && !workshop.work_through(&candidates, all)? {
        return Ok(false);
    }
    let decays = decay_candidates(&settings);
    workshop.check_images(&decays)?;
    if !args.score_only && !workshop.work_through(&decays, all)? {
        return Ok(false);
    }
    let chosen = choose(&workshop, &settings, &candidates, &decays)?;
    if let Some(decay) = chosen.weight_decay {
        output::text(&format!(
            "\nweight decay {decay} by tempered validation NLL"
        ))?;
    }
    output::text(&format!(
        "\nkl-multiplicity {} by {}: about {} ranks a layer are left",
        chosen.kl_multiplicity,
        settings.kappa_by.in_words(),
        chosen.rank_per_layer
    ))?;
    let runs = runs(&settings, &chosen);
    workshop.check_images(&runs)?;
    let shard = args.shard.unwrap_or(all);
    if !args.score_only && !workshop.work_through(&runs, shard)? {
        return Ok(false);
    }
    if args.shard.is_some() {
        return Ok(true);
    }
    timing::time(&mut workshop, &runs)?;
    let results = results(&workshop, &chosen, [&candidates, &decays], &runs)?;
    results.write(&workshop.out().join(RESULTS_FILE))?;
    output::text(&format!("\n{}", summary(&results)))?;
    Ok(true)
}

/// Scores what the runs have left.
fn results(
    workshop: &Workshop,
    chosen: &Chosen,
    [candidates, decays]: [&[RunSpec]; 2],
    runs: &[RunSpec],
) -> Result<Results> {
    let bar = Bar::default();
    let sets = workshop.sets();
    let validation = workshop.validation_labels(&candidates[0])?;
    let unfamiliar: Vec<String> = sets
        .unfamiliar
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let material = Material {
        out: workshop.out(),
        settings: workshop.settings(),
        chosen,
        candidates,
        decays,
        runs,
        validation_labels: &validation,
        test: &sets.all.test,
        known_labels: &sets.without.test.labels,
        unfamiliar: &unfamiliar,
        held_out: &sets.held_out.classes,
        study: workshop.study(validation.len()),
    };
    let mut progress = |done, total| bar.show("scoring", done, total);
    Ok(measure(&material, &mut progress)?)
}

/// The rows with what matters most.
fn summary(results: &Results) -> String {
    let header = [
        "", "seeds", "images", "accuracy", "NLL", "ECE", "AURC", "ranks",
    ];
    let mut table = tables::new(&header, &[1, 2, 3, 4, 5, 6, 7]);
    for row in &results.rows {
        let score = |name: &str| {
            let score = row.scores.get(name);
            score.map_or(String::new(), |score| format!("{:.4}", score.mean))
        };
        let rank = match row.rank.by_seed.is_empty() {
            true => String::new(),
            false => format!("{:.1}", row.rank.mean),
        };
        table.add_row([
            row.title.clone(),
            row.seeds.len().to_string(),
            row.test_images.to_string(),
            score("accuracy"),
            score("nll"),
            score("ece"),
            score("aurc"),
            rank,
        ]);
    }
    table.trim_fmt()
}

/// Kappa and weight decay from the validation images, as the scale chooses them.
fn choose(
    workshop: &Workshop,
    settings: &Settings,
    candidates: &[RunSpec],
    decays: &[RunSpec],
) -> Result<Chosen> {
    let labels = workshop.validation_labels(&candidates[0])?;
    let mut nll = Vec::new();
    let mut ranks = Vec::new();
    for spec in candidates {
        let place = Place::new(workshop.out(), &spec.name, 1);
        nll.push(validation_nll(&place, SAMPLES, settings.kappa_by, &labels)?);
        let epochs = RunDir::open(&place.run)?.read_metrics()?;
        let rank = epochs.last().and_then(|epoch| epoch["rank"].as_u64());
        ranks.push(rank.context("the last epoch has no rank")? as usize);
    }
    let each: Vec<&[f64]> = nll.iter().map(Vec::as_slice).collect();
    let best = settings.kappa_by.best(&ranks, &each);
    let epochs = RunDir::open(Place::new(workshop.out(), &candidates[0].name, 1).run)?;
    let layers = epochs.read_metrics()?[0]["ranks"]
        .as_object()
        .map_or(1, |ranks| ranks.len());
    Ok(Chosen {
        kl_multiplicity: candidates[best]
            .config
            .kl_multiplicity
            .unwrap_or(KlMultiplicity::Unit),
        default_multiplicity: default_multiplicity(workshop.train_images()),
        weight_decay: choose_decay(workshop, decays, &labels)?,
        rank_per_layer: ((ranks[best] as f64 / layers as f64).round() as usize).min(settings.rank),
    })
}

/// The weight decay with the lowest tempered NLL; `None` where none were compared.
fn choose_decay(
    workshop: &Workshop,
    candidates: &[RunSpec],
    labels: &[u32],
) -> Result<Option<f64>> {
    if candidates.is_empty() {
        return Ok(None);
    }
    let nll = |spec: &RunSpec| {
        let place = Place::new(workshop.out(), &spec.name, 1);
        validation_nll(&place, 0, KappaBy::TemperedNll, labels)
    };
    let nll: Vec<_> = candidates.iter().map(nll).collect::<Result<_>>()?;
    let each: Vec<&[f64]> = nll.iter().map(Vec::as_slice).collect();
    Ok(Some(candidates[lowest(&each)].config.weight_decay))
}

/// The NLL of every validation image that a choice goes by.
fn validation_nll(place: &Place, samples: usize, by: KappaBy, labels: &[u32]) -> Result<Vec<f64>> {
    let found = place
        .read(&Stored::samples("validation", samples))
        .context("kappa and weight decay are chosen by runs that are not there yet")?;
    let log_probs = log_mean_exp(&found.values, found.samples);
    Ok(by.nll_each(&log_probs, labels, found.classes)?)
}
